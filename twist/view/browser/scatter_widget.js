// @ts-check
/**
 * A scatter with its tools, card, time slider and legend: the browser's half of `TwistScatter` (see scatter.py).
 *
 * State lives in the model's traits: what a person does sets traits, traits redraw the parts. Nothing here waits for
 * the kernel, except a thumbnail that was never shown. Names and values enter the page as text nodes only.
 */

const SCATTER_TRAITS = ["points", "coloring", "columns", "markers", "moments", "thumbnails", "selection", "hovered",
  "frame", "map_view", "links", "height", "title"];
const MOST_CHIPS = 24;
const MOST_NAMES = 40; // categories that are also named on the map
const FRAMES_PER_SECOND = 2; // of the time slider's whole steps while it plays
const TELL_MS = 120; // between two messages about where the pointer or the slider is
const KEYS_TOLD = "Drag moves, wheel zooms, double click shows all; Shift-drag draws a lasso, Ctrl adds, Alt " +
  "removes, Esc clears; arrow keys walk from point to point, Enter pins.";

/** A number with four digits that mean something. */
function short(/** @type {number} */ value) {
  if (!Number.isFinite(value)) return "not finite";
  if (Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-3)) return value.toExponential(2);
  return fourDigits(value);
}
const fourDigits = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 }).format;

/** An icon of one path on a square of 16. */
function icon(/** @type {string} */ path) {
  const space = "http://www.w3.org/2000/svg";
  const [svg, line] = [document.createElementNS(space, "svg"), document.createElementNS(space, "path")];
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  for (const [name, value] of Object.entries({ d: path, fill: "none", stroke: "currentColor", "stroke-width": "1.5",
    "stroke-linecap": "round", "stroke-linejoin": "round" })) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}
const LASSO = "M5 10C2 9 1 7 2 5C3 2 8 1 11 2C15 3 15 7 13 9C11 11 8 10.5 6.5 10.2M5 10A1.5 1.5 0 1 0 6.5 11.5" +
  "C6.5 13 5 14.5 3.5 15";
const PLAY = "M4 2.5L13 8L4 13.5Z";
const PAUSE = "M5 3V13M11 3V13";
const BOX = "M2 5V2H5M11 2H14V5M14 11V14H11M5 14H2V11M7 2H9M7 14H9M2 7V9M14 7V9";

class ScatterWidget {
  constructor(/** @type {Model} */ model, /** @type {HTMLElement} */ el) {
    this.model = model;
    this.seen = new Map();
    this.hovered = this.pinned = -1;
    this.count = 0;
    this.ask = tilesOf(model);
    this.channel = new AbortController();
    this.build(el);
    this.update = coalesce(() => this.#update());
    SCATTER_TRAITS.forEach((name) => model.on(`change:${name}`, this.update));
    this.themes = new MutationObserver(() => this.map.redraw());
    this.themes.observe(document.body, { attributes: true });
    const { signal } = this.channel;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.map.redraw(), { signal });
    document.addEventListener("twist-scatter", (event) => this.hear(event), { signal });
    this.#update();
  }

  build(el) {
    this.map = new Scatter({
      hover: (i, byKey) => this.hover(i, byKey),
      pick: (i, event) => this.pick(i, event),
      lasso: (rows, effect, path) => this.choose(rows, effect, path.map((place) => this.dataOf(place))),
      moved: (view) => this.set({ map_view: view }),
      drawn: () => {
        Object.assign(this.root.dataset, { zoom: this.map.view[2].toFixed(2), number: this.drawnNumber ?? "" });
        this.moveCard();
      },
    });
    const button = (content, label, onclick, attributes = {}) => {
      const node = make("button", { type: "button", "aria-label": label, title: label, onclick, ...attributes });
      node.append(content);
      return node;
    };
    const tool = (content, label, mode) =>
      button(content, label, () => this.use(this.map.lassoMode === mode ? false : mode), { "aria-pressed": "false" });
    this.title = make("strong", { class: "twist-title" });
    this.facts = make("span", { class: "twist-facts" });
    this.clear = button("Clear", "Clear the selection (Esc)", () => this.choose([], "set"));
    this.lasso = tool(icon(LASSO), "Choose points with a lasso (Shift-drag)", true);
    this.box = tool(icon(BOX), "Choose points with a box", "box");
    this.saved = makeSelect("Save the picture", { "": "Save …", png: "PNG", svg: "SVG" }, (kind) => this.save(kind));
    const tools = make("span", { class: "twist-tools", role: "group", "aria-label": "Tools" }, this.lasso, this.box,
      button("+", "Zoom in", () => this.map.zoom(1.6)), button("−", "Zoom out", () => this.map.zoom(1 / 1.6)),
      button("⤢", "Show all points", () => this.map.look([0, 0, 1])), this.saved);
    this.note = make("p", { class: "twist-note", role: "status", hidden: "" });
    this.card = make("div", { class: "twist-card", hidden: "" });
    this.problem = make("p", {}); // why an image cannot be had
    this.play = button(icon(PLAY), "Play", () => this.run(!this.playing));
    this.slider = make("input", { type: "range", min: "0", step: "any", "aria-label": "Time",
      oninput: () => {
        this.run(false);
        this.show(Number(this.slider.value));
      },
      onkeydown: (event) => {
        const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
        if (!way) return;
        event.preventDefault();
        this.run(false);
        this.show(clamp(Math.round(this.at + way), 0, this.last));
      } });
    this.slider.dataset.lmSuppressShortcuts = "true";
    this.moment = make("output", { "aria-live": "off" }); // the slider says it; a film would not stop talking
    this.time = make("div", { class: "twist-time", hidden: "" }, this.play, this.slider, this.moment);
    this.legend = make("div", { class: "twist-legend", role: "group", "aria-label": "Legend" });
    this.spoken = make("p", { class: "twist-spoken", "aria-live": "polite" });
    this.body = make("div", {}, make("div", { class: "twist-stage" }, this.map.node, this.card), this.time, this.legend,
      make("p", { class: "twist-caption", text: KEYS_TOLD }));
    this.root = make("div", { class: "twist twist-scatter", onkeydown: (event) => {
      if (event.key !== "Escape") return;
      this.pinned = -1;
      this.choose([], "set");
    } }, make("header", {}, this.title, this.facts, this.clear, make("span", { class: "twist-gap" }), tools), this.note,
    this.body, this.spoken);
    el.append(this.root);
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }

  /** Set what is told often at most every so often: the newest wins. */
  tell(values) {
    this.untold = { ...this.untold, ...values };
    this.telling ??= setTimeout(() => {
      this.telling = undefined;
      this.set(this.untold);
      this.untold = {};
    }, TELL_MS);
  }

  /** Whether traits hold other objects than when last asked. */
  fresh(...names) {
    const changed = names.filter((name) => this.seen.get(name) !== this.model.get(name));
    changed.forEach((name) => this.seen.set(name, this.model.get(name)));
    return changed.length > 0;
  }

  #update() {
    const { model, map } = this;
    const points = model.get("points");
    this.count = points.count;
    this.root.dataset.state = this.count ? "ready" : "empty";
    this.body.hidden = this.note.hidden = !this.count;
    this.note.hidden = this.count > 0;
    this.note.textContent = this.count ? "" : "No points: the scatter was given none.";
    this.title.textContent = model.get("title");
    this.title.hidden = !model.get("title");
    this.root.style.setProperty("--height", `${model.get("height")}px`);
    if (this.fresh("thumbnails")) {
      this.pictures?.release();
      this.pictures = null;
      if (model.get("thumbnails") && model.send) {
        this.pictures = new Thumbnails({ sheets: [], tile: 0, columns: 1, per_sheet: 1 }, this.ask);
        this.pictures.arrived = () => {
          if (map.node.dataset.drawn === "images") map.draw();
          this.problem.textContent = this.ask.problem;
        };
      }
      map.thumbnails = this.pictures;
    }
    if (this.fresh("points", "moments")) this.#place(points, model.get("moments"));
    if (this.fresh("map_view")) map.look(model.get("map_view"), false);
    if (this.fresh("frame") && this.last > 0 && !this.playing && this.untold?.frame === undefined) {
      this.show(model.get("frame"), false);
    }
    if (this.fresh("columns")) this.columns = model.get("columns").map(readColumn);
    const chosen = this.fresh("selection");
    if (chosen) this.selection = column(Int32Array, model.get("selection"));
    if (this.fresh("coloring", "markers") || chosen) this.#paint();
    if (this.fresh("hovered") && this.untold?.hovered === undefined) this.mark(model.get("hovered"));
    this.share(chosen);
    this.#say();
  }

  #place(points, moments) {
    this.drawnNumber = points.number;
    this.last = Math.max(0, (moments.count ?? 1) - 1);
    this.time.hidden = !moments.count;
    this.slider.max = String(this.last);
    this.anchored = null;
    if (moments.count) {
      const all = column(Float32Array, moments.xy);
      const frames = Array.from({ length: moments.count }, (_, k) =>
        all.subarray(2 * k * this.count, 2 * (k + 1) * this.count));
      this.map.frames(frames, this.model.get("frame"), { normalized: true });
      this.show(this.model.get("frame"), false);
    } else this.map.place(column(Float32Array, points.xy), { normalized: true });
    let placed = 0;
    for (let i = 0; i < this.count; i++) placed += Number(Number.isFinite(this.map.target[2 * i]));
    this.unplaced = this.count - placed;
  }

  /** A place on the drawn scale in the data's units. */
  dataOf([x, y]) {
    const { center, scale } = this.model.get("points");
    return [x / scale[0] + center[0], y / scale[1] + center[1]];
  }

  #say() {
    const chosen = this.selection.length;
    const parts = [`${count(this.count)} points`];
    if (this.unplaced) parts.push(`${count(this.unplaced)} without a place`);
    if (chosen) parts.push(`${count(chosen)} selected`);
    this.facts.textContent = parts.join(" · ");
    this.clear.hidden = !chosen;
    this.root.dataset.selected = String(chosen);
    this.map.marks.setAttribute("aria-label", `Map of ${parts.join(", ")}. Arrow keys walk from point to point.`);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Colors and legend

  #paint() {
    const coloring = this.model.get("coloring");
    if (this.colored !== coloring) {
      this.colored = coloring;
      this.colors = readColors(coloring, this.count);
      this.anchored = null;
    }
    const marks = this.model.get("markers");
    const { colorOf, palette } = this.colors;
    this.anchored ??= coloring.names && coloring.names.length <= MOST_NAMES
      ? namesOf(colorOf, coloring.names, this.map.target) : [];
    let selected = null;
    if (this.selection.length) {
      selected = new Uint8Array(this.count);
      for (const row of this.selection) selected[row] = 1;
    }
    const shapeOf = marks.shape && column(Uint8Array, marks.shape);
    const sizeOf = marks.size && column(Float32Array, marks.size);
    this.map.paint({ colorOf, palette, selected, groups: this.anchored, shapeOf, sizeOf });
    this.#drawLegend(coloring, palette);
  }

  #drawLegend(coloring, palette) {
    const key = [coloring, this.selection];
    if (key.every((part, k) => part === this.legendOf?.[k])) return;
    this.legendOf = key;
    const focused = [...this.legend.children].indexOf(/** @type {any} */ (document.activeElement));
    this.legend.replaceChildren();
    this.legend.hidden = coloring.kind === "none";
    this.legend.append(make("span", { text: coloring.name }));
    if (coloring.kind === "numbers") this.#drawRamp(coloring, palette);
    if (coloring.kind !== "categories") return;
    const inside = new Uint32Array(coloring.names.length);
    for (const row of this.selection) inside[this.colors.colorOf[row]] += 1;
    const there = coloring.names.map((name, k) => ({ name, k, size: coloring.counts[k] })).filter(({ size }) => size);
    const chips = there.length > MOST_CHIPS ? [...there].sort((a, b) => b.size - a.size).slice(0, MOST_CHIPS) : there;
    for (const { name, k, size } of chips) {
      const held = this.selection.length ? `${count(inside[k])} / ${count(size)}` : count(size);
      this.legend.append(make("button", { type: "button", class: "twist-chip", title: `Choose ${name}`,
        "aria-pressed": String(inside[k] === size), onclick: (event) => this.chooseCategory(k, event) },
      swatch(palette[k]), make("b", { text: name }), ` ${held}`));
    }
    /** @type {HTMLElement | undefined} */ (this.legend.children[focused])?.focus({ preventScroll: true });
    if (there.length > chips.length) this.legend.append(`and ${count(there.length - chips.length)} smaller ones`);
    const missing = this.count - coloring.counts.reduce((sum, size) => sum + size, 0);
    if (missing) this.legend.append(make("span", { class: "twist-facts" }, swatch(NO_COLOR), `none ${count(missing)}`));
  }

  #drawRamp({ low, high, unit, signed }, palette) {
    const bar = make("div", { class: "twist-ramp" });
    bar.style.background = `linear-gradient(to right, ${palette.join(",")})`;
    const ends = signed ? [low, 0, high] : [low, (low + high) / 2, high];
    const ticks = make("div", { class: "twist-ticks" },
      ...ends.map((value) => make("span", { text: `${short(value)} ${unit}`.trim() })));
    this.legend.append(make("div", { class: "twist-bar" }, bar, ticks));
    if (this.colors.missing) {
      const words = `not finite ${count(this.colors.missing)}`;
      this.legend.append(make("span", { class: "twist-facts" }, swatch(NO_COLOR), words));
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Choosing

  use(mode) {
    this.map.lassoMode = mode;
    this.lasso.setAttribute("aria-pressed", String(mode === true));
    this.box.setAttribute("aria-pressed", String(mode === "box"));
    if (mode) this.root.dataset.tool = mode === "box" ? "box" : "lasso";
    else delete this.root.dataset.tool;
  }

  /** Choose rows, beside or out of those chosen before; `polygon` in the data's units. */
  choose(rows, effect = "set", polygon = []) {
    let chosen = new Int32Array(rows);
    if (effect !== "set") {
      const mask = new Uint8Array(this.count);
      for (const row of this.selection) mask[row] = 1;
      for (const row of rows) mask[row] = Number(effect === "add");
      let size = 0;
      const list = new Int32Array(this.count);
      for (let i = 0; i < this.count; i++) if (mask[i]) list[size++] = i;
      chosen = list.slice(0, size);
    }
    this.spoken.textContent = `${count(chosen.length)} of ${count(this.count)} points selected`;
    this.set({ selection: new DataView(chosen.buffer), selected_polygon: polygon });
  }

  chooseCategory(k, event) {
    const rows = [];
    this.colors.colorOf.forEach((code, i) => code === k && rows.push(i));
    const only = this.selection.length === rows.length && rows.every((row, at) => row === this.selection[at]);
    const effect = lassoEffect(event);
    this.choose(only && effect === "set" ? [] : rows, effect);
  }

  /** A click pins a point's card; with Ctrl it adds the point to the selection, or takes it out. */
  pick(i, event) {
    if (i >= 0 && (event.ctrlKey || event.metaKey)) {
      return this.choose([i], this.selection.includes(i) ? "remove" : "add");
    }
    this.pinned = i === this.pinned ? -1 : i;
    this.mark(this.hovered);
  }

  hover(i, byKey = false) {
    if (byKey && i >= 0) this.spoken.textContent = this.describe(i).map((parts) => parts.join(" ")).join(", ");
    if (i === this.hovered) return;
    this.mark(i);
    this.tell({ hovered: i });
  }

  mark(i) {
    this.hovered = i < this.count ? i : -1;
    this.root.dataset.hovered = String(this.hovered);
    this.map.mark(this.hovered, this.pinned);
    this.fillCard(this.hovered >= 0 ? this.hovered : this.pinned);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The card

  /** What is known of a point: pairs of a name and a value. @returns {[string, string][]} */
  describe(i) {
    const { kind, name, names, unit } = this.model.get("coloring");
    const facts = /** @type {[string, string][]} */ ([["row", count(i)]]);
    if (kind === "categories") facts.push([name, names[this.colors.colorOf[i]] ?? "none"]);
    if (kind === "numbers") facts.push([name, `${short(this.colors.raw[i])} ${unit}`.trim()]);
    for (const { name: title, read } of this.columns) facts.push([title, read(i)]);
    if (!this.model.get("points").equal) {
      const [x, y] = this.dataOf([this.map.xy[2 * i], this.map.xy[2 * i + 1]]);
      facts.push(["x", short(x)], ["y", short(y)]);
    }
    return facts;
  }

  fillCard(i) {
    this.card.hidden = i < 0;
    this.card.dataset.sample = String(i);
    if (i < 0) return;
    const list = make("div", { class: "twist-known" }); // no dl: JupyterLab has a look of its own for it
    this.describe(i).forEach(([name, value], k) => {
      const shown = make("span", {});
      const { colorOf, palette } = this.colors;
      if (k === 1 && palette.length > 1) shown.append(swatch(palette[colorOf[i]] ?? NO_COLOR));
      shown.append(value);
      list.append(make("span", { class: "twist-facts", text: name }), shown);
    });
    this.card.replaceChildren(list);
    if (this.pictures) {
      const picture = make("div", { class: "twist-picture", role: "img", "aria-label": `image of row ${count(i)}` });
      this.pictures.show(picture, i, this.pictures.enlarged(96));
      this.card.prepend(picture);
      this.problem.textContent = "";
      this.card.append(this.problem);
    }
    this.moveCard();
  }

  /** Keep the card beside its point, inside the map. */
  moveCard() {
    const i = Number(this.card.dataset.sample ?? -1);
    if (this.card.hidden || i < 0 || i >= this.count) return;
    const [x, y] = this.map.at(i);
    if (!Number.isFinite(x)) return;
    const [width, height] = [this.card.offsetWidth, this.card.offsetHeight];
    const left = x + width + 22 < this.map.width ? x + 16 : x - width - 16;
    this.card.style.left = `${clamp(left, 4, Math.max(4, this.map.width - width - 4))}px`;
    this.card.style.top = `${clamp(y - height / 2, 4, Math.max(4, this.map.height - height - 4))}px`;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Time

  /** Show a time between the frames; told to the model when a person or the play button did it. */
  show(at, tell = true) {
    this.at = clamp(at, 0, this.last);
    this.map.frame(this.at);
    this.slider.value = String(this.at);
    const { names } = this.model.get("moments");
    this.moment.textContent = names?.[Math.round(this.at)] ?? "";
    this.slider.setAttribute("aria-valuetext", this.moment.textContent);
    if (tell) this.tell({ frame: this.at });
  }

  run(playing) {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.play.replaceChildren(icon(playing ? PAUSE : PLAY));
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    if (!playing) return;
    if (this.at >= this.last) this.show(0);
    let before = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = (/** @type {number} */ now) => {
      const wanted = this.at + ((now - before) / 1000) * FRAMES_PER_SECOND;
      if (!still || wanted >= Math.floor(this.at) + 1) {
        before = now;
        this.show(still ? Math.floor(wanted) : wanted);
      }
      if (this.at >= this.last) return this.run(false);
      this.playing = requestAnimationFrame(step);
    };
    this.playing = requestAnimationFrame(step);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Links and pictures

  /** Tell linked scatters on this page what changed here. */
  share(chosen) {
    const { model } = this;
    const links = model.get("links");
    if (!links.length) return;
    const now = { hovered: this.hovered, map_view: this.map.view, selected_polygon: model.get("selected_polygon") };
    for (const { group, traits } of links) {
      const values = {};
      if (chosen) values.selection = model.get("selection");
      Object.assign(values, now);
      for (const name of Object.keys(values)) if (!traits.includes(name)) delete values[name];
      document.dispatchEvent(new CustomEvent("twist-scatter", { detail: { group, from: this, values } }));
    }
  }

  hear(event) {
    const { group, from, values } = event.detail;
    if (from.model === this.model || !this.model.get("links").some((link) => link.group === group)) return;
    const differs = Object.entries(values).filter(([name, value]) => !sameValue(value, this.model.get(name)));
    if (differs.length) this.set(Object.fromEntries(differs));
  }

  async save(kind) {
    this.saved.value = "";
    if (!kind) return;
    const title = this.model.get("title");
    const caption = this.model.get("caption") || [title, this.facts.textContent].filter(Boolean).join(" · ");
    const picture = await this.map.picture(kind, caption).catch(() => null);
    if (!picture) {
      this.spoken.textContent = this.facts.textContent = "This browser cannot save the picture: take a screenshot.";
      return;
    }
    const url = URL.createObjectURL(picture);
    make("a", { href: url, download: `${title || "scatter"}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  release() {
    SCATTER_TRAITS.forEach((name) => this.model.off(`change:${name}`, this.update));
    cancelAnimationFrame(this.playing);
    clearTimeout(this.telling);
    this.update.cancel();
    this.themes.disconnect();
    this.channel.abort();
    this.ask.release();
    this.map.release();
    this.pictures?.release();
    this.root.remove();
  }
}

/** Whether two values of a trait say the same; bytes are compared one by one. */
function sameValue(a, b) {
  if (!ArrayBuffer.isView(a) || !ArrayBuffer.isView(b)) return JSON.stringify(a) === JSON.stringify(b);
  const [one, two] = [a, b].map((bytes) => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return one.length === two.length && one.every((byte, k) => byte === two[k]);
}

/** A further column as its name and what it says of a row. @returns {{name: string, read(i: number): string}} */
function readColumn({ name, kind, values, codes, words }) {
  if (kind === "text") {
    const found = column(Uint32Array, codes);
    return { name, read: (i) => words[found[i]] };
  }
  const found = column(kind === "whole" ? Float64Array : Float32Array, values);
  return { name, read: (i) => (kind === "whole" ? count(found[i]) : short(found[i])) };
}

/** Palette index of every point, and the values themselves. */
function readColors(coloring, size) {
  const { kind, low, high } = coloring;
  const { palette: colors } = coloring;
  if (kind === "none") return { palette: colors, colorOf: new Uint8Array(size) };
  if (kind === "categories") return { palette: colors, colorOf: column(Uint16Array, coloring.codes) };
  const raw = column(Float32Array, coloring.values);
  const colorOf = new Int16Array(size);
  let missing = 0;
  for (let i = 0; i < size; i++) {
    const known = Number.isFinite(raw[i]);
    colorOf[i] = known ? Math.round(255 * clamp((raw[i] - low) / (high - low || 1))) : -1;
    missing += Number(!known);
  }
  return { palette: ramp(colors, 256), colorOf, raw, missing };
}

/** Every category's name, to stand on the member nearest to the middle of a few hundred of them. */
function namesOf(codes, names, xy) {
  const members = names.map(() => /** @type {number[]} */ ([]));
  const sizes = new Uint32Array(names.length);
  const step = Math.max(1, Math.floor(codes.length / (400 * names.length)));
  for (let i = 0; i < codes.length; i++) {
    if (codes[i] >= names.length || !Number.isFinite(xy[2 * i])) continue;
    sizes[codes[i]] += 1;
    if (sizes[codes[i]] % step === 1 || step === 1) members[codes[i]].push(i);
  }
  return names.map((name, k) => {
    const list = members[k];
    const middle = (axis) => list.map((i) => xy[2 * i + axis]).sort((a, b) => a - b)[list.length >> 1];
    const [x, y] = [middle(0), middle(1)];
    const distance = (i) => (xy[2 * i] - x) ** 2 + (xy[2 * i + 1] - y) ** 2;
    const anchor = list.reduce((best, i) => (best < 0 || distance(i) < distance(best) ? i : best), -1);
    return { anchor, size: anchor < 0 ? 0 : sizes[k], name };
  });
}

/** Draw a model into an element; returns what ends it. */
function render({ model, el }) {
  const widget = new ScatterWidget(model, el);
  return () => widget.release();
}
