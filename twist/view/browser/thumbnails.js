// @ts-check
/**
 * Thumbnails of images: from contact sheets that came with the view, or asked for when they are first needed.
 *
 * What is needed at once comes as one contact sheet. `ask` answers with it, or with null when an image cannot be had;
 * such an image stays a gray tile. Without an answer it is asked for again when it is needed again.
 *
 * @typedef {{bytes: BlobPart, columns: number, tile: number, mime: string}} Sheet
 * @typedef {{picture: HTMLCanvasElement, url: string}} Tile
 */

const TILES_KEPT = 4000;
const TILES_AT_ONCE = 256;

class Thumbnails {
  /** @param {(rows: number[]) => Promise<Sheet | null>} [ask] */
  constructor(watch, ask) {
    Object.assign(this, { tile: watch.tile, columns: watch.columns, perSheet: watch.per_sheet });
    this.urls = watch.sheets.map((bytes) => URL.createObjectURL(new Blob([bytes], { type: watch.sheet_type })));
    this.sheets = this.urls.map((url) => Object.assign(new Image(), { src: url }));
    this.ask = this.sheets.length ? null : ask ?? null;
    this.tiles = /** @type {Map<number, Tile | null>} */ (new Map());
    this.wanted = /** @type {Map<number, Set<Function>>} */ (new Map());
    this.asked = new Set();
    this.arrived = () => {}; // the owner may draw again
  }

  /** Sheet of image i and the tile's column and row on it. */
  find(i) {
    const k = i % this.perSheet;
    return [Math.floor(i / this.perSheet), k % this.columns, Math.floor(k / this.columns)];
  }

  /** A whole multiple of the tile, at least `side`, so that enlarged pixels stay square. */
  enlarged(side) {
    return this.tile > 0 ? this.tile * Math.max(1, Math.ceil(side / this.tile)) : side;
  }

  /** Show image i as the background of an element; at once, or when it arrives if the element still waits for it. */
  show(node, i, side) {
    node.style.width = node.style.height = `${side}px`;
    if (!this.ask) {
      const [sheet, x, y] = this.find(i);
      if (!this.urls[sheet]) return;
      node.style.backgroundImage = `url(${this.urls[sheet]})`;
      node.style.backgroundSize = `${this.columns * side}px auto`;
      node.style.backgroundPosition = `${-x * side}px ${-y * side}px`;
      return;
    }
    node.dataset.image = String(i);
    const put = () => {
      const tile = this.tiles.get(i);
      if (!tile || node.dataset.image !== String(i)) return;
      tile.url ||= tile.picture.toDataURL();
      Object.assign(node.style, { backgroundImage: `url(${tile.url})`, backgroundPosition: "center",
        backgroundRepeat: "no-repeat", backgroundSize: "contain" });
      node.dataset.shown = String(i);
    };
    node.style.backgroundImage = "none";
    if (this.#tile(i)) put();
    else this.#want(i, put);
  }

  /** Draw image i centered on a point; false while it is not there yet (a gray tile is drawn). */
  draw(context, i, x, y, side) {
    context.imageSmoothingEnabled = side < this.tile;
    const [left, top] = [x - side / 2, y - side / 2];
    if (!this.ask) {
      const [sheet, column, row] = this.find(i);
      if (!this.sheets[sheet]?.naturalWidth) return false;
      const t = this.tile;
      context.drawImage(this.sheets[sheet], column * t, row * t, t, t, left, top, side, side);
      return true;
    }
    const tile = this.#tile(i);
    if (tile) {
      context.drawImage(tile.picture, left, top, side, side);
      return true;
    }
    context.fillStyle = "#8a8f9866";
    context.fillRect(left, top, side, side);
    if (tile === undefined) this.#want(i);
    return true; // `arrived` says when to draw again
  }

  /** A tile that is there, now the last to be dropped; null when the image cannot be had. */
  #tile(i) {
    const tile = this.tiles.get(i);
    if (tile === undefined) return undefined;
    this.tiles.delete(i);
    this.tiles.set(i, tile);
    return tile;
  }

  #want(i, then) {
    if (this.tiles.get(i) === null) return;
    if (!this.wanted.has(i)) this.wanted.set(i, new Set());
    if (then) this.wanted.get(i)?.add(then);
    if (this.asked.has(i) || this.gathering) return;
    this.gathering = true; // what one draw or one gallery needs is one question
    queueMicrotask(() => {
      this.gathering = false;
      this.#send();
    });
  }

  /** Ask for what is wanted; one question at a time, so that a fast pointer waits for the last image only. */
  async #send() {
    if (this.asked.size || this.released) return;
    const rows = [...this.wanted.keys()].slice(-TILES_AT_ONCE);
    if (!rows.length) return;
    this.asked = new Set(rows);
    const sheet = await this.ask(rows).catch(() => undefined);
    const image = sheet ? await decoded(sheet) : null;
    if (this.released) return;
    if (sheet !== undefined) rows.forEach((row, k) => this.tiles.set(row, image ? cut(image, sheet, k) : null));
    image?.close();
    this.tile ||= sheet?.tile ?? 0;
    for (const old of this.tiles.keys()) {
      if (this.tiles.size <= TILES_KEPT) break;
      this.tiles.delete(old);
    }
    this.asked = new Set();
    const waiting = rows.flatMap((row) => [...(this.wanted.get(row) ?? [])]);
    rows.forEach((row) => this.wanted.delete(row));
    waiting.forEach((then) => then());
    this.arrived();
    if (this.wanted.size) this.#send();
  }

  release() {
    this.released = true;
    this.urls.forEach((url) => URL.revokeObjectURL(url));
  }
}

/** The picture of a sheet, null when it is none. */
async function decoded(/** @type {Sheet} */ sheet) {
  try {
    return await createImageBitmap(new Blob([sheet.bytes], { type: sheet.mime }));
  } catch {
    return null;
  }
}

/** Tile k of a sheet as a picture of its own. @returns {Tile} */
function cut(image, { columns, tile }, k) {
  const picture = make("canvas");
  picture.width = picture.height = tile;
  picture.getContext("2d")
    .drawImage(image, (k % columns) * tile, Math.floor(k / columns) * tile, tile, tile, 0, 0, tile, tile);
  return { picture, url: "" };
}

/** Ask a model for tiles, as its Python side answers `{type: "tiles", id, rows}`; other messages go by. */
function tilesOf(/** @type {Model} */ model, patience_ms = 60_000) {
  const waiting = new Map();
  let last = 0;
  const hear = (message, buffers) => {
    if (message?.type !== "tiles" || !waiting.has(message.id)) return;
    const bytes = buffers?.[0];
    ask.problem = message.problem ?? "";
    waiting.get(message.id)(bytes ? { ...message, bytes } : null);
  };
  model.on("msg:custom", hear);
  /** @returns {Promise<Sheet | null>} */
  const ask = (rows) => new Promise((done, fail) => {
    const id = `${Math.random()}-${(last += 1)}`; // several views of one model hear every answer
    const end = (sheet) => {
      clearTimeout(late);
      waiting.delete(id);
      done(sheet);
    };
    const late = setTimeout(() => {
      waiting.delete(id);
      fail(new Error("no answer"));
    }, patience_ms);
    waiting.set(id, end);
    model.send?.({ type: "tiles", id, rows });
  });
  ask.problem = ""; // what the last answer says against it
  ask.release = () => model.off("msg:custom", hear);
  return ask;
}
