// @ts-check
/**
 * A gallery to choose one image from, with a search: by label, by class, by number.
 *
 * @typedef {{count: number, tile: number, ids: Float64Array, labels: Int32Array | null, labelNames: string[],
 *   assignment: Int32Array | null, confidence: Float32Array | null, entropy: Float32Array | null, colors: string[]}}
 *   PickerImages
 */

const PICKER_PAGE = 40;
const PICKER_ORDERS = { row: "in their order", most: "most confident first", least: "least confident first",
  entropy: "highest entropy first" };

/** @returns {PickerImages} */
function readPickerImages(images) {
  const numbers = (kind, bytes) => (bytes?.byteLength ? column(kind, bytes) : null);
  return {
    count: images.count,
    tile: images.tile,
    ids: column(Float64Array, images.sample_ids),
    labels: numbers(Int32Array, images.labels),
    labelNames: images.label_names,
    assignment: numbers(Int32Array, images.assignment),
    confidence: numbers(Float32Array, images.confidence),
    entropy: numbers(Float32Array, images.sample_entropy),
    colors: images.colors,
  };
}

/** Which images a search finds (`cat`, `class 3`, `#120`, a label that is a number), or null when it is empty. */
function searchImages(/** @type {PickerImages} */ images, /** @type {string} */ text) {
  const words = text.trim().toLowerCase();
  if (!words) return null;
  const ofClass = words.match(/^(?:class|c)\s*(\d+)$/);
  if (ofClass) return (i) => images.assignment?.[i] === Number(ofClass[1]);
  const ofId = words.match(/^#\s*(\d+)$/);
  if (ofId) return (i) => images.ids[i] === Number(ofId[1]);
  const wanted = words.replace(/^label\s+/, "");
  const exact = images.labelNames.findIndex((name) => name.toLowerCase() === wanted);
  const matching = new Set(exact >= 0 ? [exact]
    : images.labelNames.flatMap((name, k) => (name.toLowerCase().includes(wanted) ? [k] : [])));
  return (i) => matching.has(images.labels?.[i] ?? -1);
}

class Picker {
  /** @param {{choose(row: number): void, ask(rows: number[]): Promise<any>}} on */
  constructor(on) {
    this.on = on;
    this.images = /** @type {PickerImages | null} */ (null);
    this.chosen = this.page = 0;
    this.order = "row";
    this.words = "";
    this.title = make("h3", { text: "Images" });
    this.search = make("input", { type: "search", placeholder: "cat, class 3, #120", "aria-label":
      "Search the images by label, by class, or by number", "data-lm-suppress-shortcuts": "true",
      oninput: () => this.set({ words: this.search.value }), onkeydown: (event) => event.stopPropagation() });
    this.orders = makeSelect("Order of the images", PICKER_ORDERS, (order) => this.set({ order }));
    const turn = (label, text, pages) => make("button", { type: "button", text, "aria-label": label, title: label,
      onclick: () => this.#turn(pages) });
    [this.back, this.forth] = [turn("Previous page", "‹", -1), turn("Next page", "›", 1)];
    this.range = make("span", { class: "twist-facts" });
    this.tiles = make("div", { class: "twist-picks", role: "group", "aria-label": "Images to choose from",
      onkeydown: (event) => this.#walk(event) });
    this.none = make("p", { class: "twist-facts", text: "No image is found: search for a label, for a class as in " +
      "“class 3”, or for an image's number as in “#120”." });
    this.node = make("section", { class: "twist-picker" },
      make("header", {}, this.title, this.search, make("span", { class: "twist-gap" }), this.orders,
        make("span", { class: "twist-pages" }, this.back, this.range, this.forth)), this.tiles, this.none);
  }

  /** Offer other images, or what another snapshot says of the same ones. */
  offer(images) {
    const known = this.images?.count === images.count && this.images?.tile === images.tile;
    this.images = readPickerImages(images);
    if (!known) { // the images of a run stay: only what is known of them changes
      this.thumbnails?.release();
      this.thumbnails = new Thumbnails({ tile: images.tile, columns: 1, per_sheet: 1, sheets: [] }, this.on.ask);
    }
    for (const option of this.orders.options) option.disabled = option.value !== "row" && !this.images.confidence;
    this.#find();
  }

  /** Mark the chosen image; its page is shown when it was chosen elsewhere. */
  select(row) {
    if (row !== this.chosen) {
      this.chosen = row;
      const place = this.found?.indexOf(row) ?? -1;
      if (place >= 0) this.page = Math.floor(place / PICKER_PAGE);
    }
    this.#draw();
  }

  set(changes) {
    Object.assign(this, changes);
    this.page = 0;
    this.#find();
  }

  #find() {
    const images = this.images;
    if (!images) return;
    const matches = searchImages(images, this.words);
    const rows = Array.from({ length: images.count }, (_, i) => i).filter((i) => !matches || matches(i));
    const values = this.order === "entropy" ? images.entropy : images.confidence;
    if (this.order !== "row" && values) {
      const sign = this.order === "least" ? 1 : -1;
      rows.sort((a, b) => sign * (values[a] - values[b]) || a - b);
    }
    this.found = rows;
    this.title.textContent = matches ? `Images · ${count(rows.length)} of ${count(images.count)}`
      : `Images · ${count(images.count)}`;
    this.#draw();
  }

  #turn(pages) {
    this.page += pages;
    this.#draw();
  }

  #draw() {
    const { images, found } = this;
    if (!images || !found) return;
    const first = this.page * PICKER_PAGE;
    const rows = found.slice(first, first + PICKER_PAGE);
    this.range.textContent = rows.length ? `${count(first + 1)}–${count(first + rows.length)}` : "none";
    this.back.disabled = this.page === 0;
    this.forth.disabled = first + PICKER_PAGE >= found.length;
    this.none.hidden = rows.length > 0;
    const key = [images.count, images.assignment, ...rows];
    if (this.drawn?.length !== key.length || key.some((part, k) => part !== this.drawn[k])) {
      this.drawn = key;
      this.tiles.replaceChildren(...rows.map((i) => {
        const tile = make("button", { type: "button", class: "twist-pick", "data-row": i, title: this.describe(i),
          "aria-label": this.describe(i), onclick: () => this.on.choose(i) });
        tile.style.setProperty("--color", images.assignment ? images.colors[images.assignment[i]] : "transparent");
        this.thumbnails?.show(tile, i, this.thumbnails.enlarged(36));
        return tile;
      }));
    }
    for (const tile of this.tiles.children) {
      tile.setAttribute("aria-pressed", String(Number(tile.dataset.row) === this.chosen));
    }
  }

  /** An image in a few words. */
  describe(i) {
    const { ids, labels, labelNames, assignment, confidence } = /** @type {PickerImages} */ (this.images);
    const parts = [`image ${count(ids[i])}`];
    if (labels) parts.push(labels[i] < 0 ? "label unknown" : `label ${labelNames[labels[i]]}`);
    if (assignment && confidence) parts.push(`class ${assignment[i]}, confidence ${percent(confidence[i])}`);
    return parts.join(", ");
  }

  #walk(event) {
    const tiles = [...this.tiles.children];
    const at = tiles.indexOf(document.activeElement);
    const perRow = tiles.filter((tile) => tile.offsetTop === tiles[0]?.offsetTop).length;
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow }[event.key];
    if (at < 0 || !move) return;
    event.preventDefault();
    event.stopPropagation();
    tiles[at + move]?.focus();
  }

  release() {
    this.thumbnails?.release();
  }
}
