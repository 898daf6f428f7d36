// @ts-check
/**
 * The class explorer: a map of the watch images, the learned classes and a gallery, linked.
 *
 * Python sends tables once (see classes.py); every hover, color and page is answered here, so this one file serves
 * JupyterLab, Voilà and an HTML page without a kernel. State lives in the model's traits: events set traits, traits
 * redraw the parts. Names of runs and labels enter the page as text nodes only, never as markup.
 *
 * @typedef {object} Table  Everything known of M images, C classes and L labels.
 * @property {number} count  M.
 * @property {number} numClasses  C.
 * @property {Int32Array} assignment  Class of each image.
 * @property {Float32Array} confidence
 * @property {Float32Array} entropy  Nats, 0 to log C.
 * @property {Int32Array | null} labels  -1 where unknown.
 * @property {string[]} labelNames
 * @property {Float64Array} sampleIds
 * @property {number} topK
 * @property {Int32Array} topClasses  M rows of topK.
 * @property {Float32Array} topProbs
 *
 * @typedef {{id: number, count: number, confidence: number, entropy: number, label: number, purity: number}} ClassRow
 */

const PAGE = 96; // tiles of one gallery page
const ORDERS = { most: "most confident first", least: "least confident first", entropy: "highest entropy first" };
const COLORS = { class: "class", label: "label", entropy: "sample entropy", confidence: "confidence" };
const CAPTIONS = {
  umap:
    "Reading this UMAP: images side by side look alike to the network. How far clusters lie apart, how large and how " +
    "dense they are means little, and even noise can look grouped. Trust the entropies and the gallery more.",
  pca:
    "Reading this PCA: the two directions in which the features vary most. Classes that overlap here can be apart in " +
    "the full feature space.",
};

// ---------------------------------------------------------------------------------------------------------------------
// Tables

/** @returns {Table} */
function readTable(watch, snapshot) {
  return {
    count: watch.count,
    numClasses: snapshot.num_classes,
    assignment: column(Int32Array, snapshot.assignment),
    confidence: column(Float32Array, snapshot.confidence),
    entropy: column(Float32Array, snapshot.sample_entropy),
    topK: snapshot.top_k,
    topClasses: column(Int32Array, snapshot.top_classes),
    topProbs: column(Float32Array, snapshot.top_probs),
    labels: watch.labels.byteLength ? column(Int32Array, watch.labels) : null,
    labelNames: watch.label_names,
    sampleIds: column(Float64Array, watch.sample_ids),
  };
}

/** One row per class: its size, means, and the label most of its images carry. @returns {ClassRow[]} */
function summarize(/** @type {Table} */ table) {
  const { labels, numClasses } = table;
  const rows = Array.from({ length: numClasses }, (_, id) => (
    { id, count: 0, confidence: 0, entropy: 0, label: -1, purity: 0, known: 0, tally: new Map() }
  ));
  for (let i = 0; i < table.count; i++) {
    const row = rows[table.assignment[i]];
    row.count += 1;
    row.confidence += table.confidence[i];
    row.entropy += table.entropy[i];
    if (labels && labels[i] >= 0) {
      row.known += 1;
      row.tally.set(labels[i], (row.tally.get(labels[i]) || 0) + 1);
    }
  }
  for (const row of rows) {
    row.confidence /= row.count;
    row.entropy /= row.count;
    for (const [label, n] of row.tally) {
      if (n / row.known > row.purity) [row.label, row.purity] = [label, n / row.known];
    }
  }
  return rows;
}

/** For each group its size, and the member nearest to its median: a place for its name that lies on the group. */
function anchorsOf(group, numGroups, xy) {
  const members = Array.from({ length: numGroups }, () => /** @type {number[]} */ ([]));
  group.forEach((g, i) => g >= 0 && Number.isFinite(xy[2 * i]) && members[g].push(i));
  return members.map((list) => {
    if (!list.length) return { anchor: -1, size: 0 };
    const middle = (axis) => list.map((i) => xy[2 * i + axis]).sort((a, b) => a - b)[list.length >> 1];
    const [x, y] = [middle(0), middle(1)];
    const distance = (i) => (xy[2 * i] - x) ** 2 + (xy[2 * i + 1] - y) ** 2;
    return { anchor: list.reduce((best, i) => (distance(i) < distance(best) ? i : best)), size: list.length };
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// The explorer

const TRAITS = ["status", "watch", "snapshot", "placement", "palette", "selected_class", "selected_samples", "color_by",
  "gallery_order", "map_view"];

/** All parts of one view of one model. */
class Explorer {
  constructor(/** @type {Model} */ model, /** @type {HTMLElement} */ el) {
    this.model = model;
    this.seen = new Map();
    this.table = /** @type {Table | null} */ (null);
    this.rows = /** @type {ClassRow[]} */ ([]);
    this.hovered = -1;
    this.page = 0;
    this.listOrder = "id";
    this.build(el);
    this.update = coalesce(() => this.#update());
    TRAITS.forEach((name) => model.on(`change:${name}`, this.update));
    this.themes = new MutationObserver(() => this.map.redraw());
    this.themes.observe(document.body, { attributes: true });
    this.lighting = matchMedia("(prefers-color-scheme: dark)");
    this.relight = () => this.map.redraw();
    this.lighting.addEventListener("change", this.relight);
    this.#update();
  }

  build(el) {
    const set = (name) => (value) => this.set({ [name]: value });
    this.map = new Scatter({
      hover: (i, byKey) => this.hover(i, byKey),
      pick: (i) => this.pick(i),
      lasso: (rows) => this.set({ selected_samples: [...rows], selected_class: -1 }),
      moved: (view) => this.set({ map_view: view }),
      drawn: () => {
        this.root.dataset.zoom = this.map.view[2].toFixed(2);
        this.moveCard();
      },
    });
    this.title = make("strong", { class: "twist-title" });
    this.facts = make("span", { class: "twist-facts" });
    this.colorBy = makeSelect("Color of the points", COLORS, set("color_by"));
    const refresh = make("button", { type: "button", text: "Newest snapshot",
      title: "Follow the run to its newest snapshot", onclick: () => this.model.send?.({ type: "refresh" }) });
    refresh.hidden = !this.model.send;
    this.note = make("p", { class: "twist-note", role: "status" });
    this.card = make("div", { class: "twist-card", hidden: "" });
    const button = (text, label, onclick) =>
      make("button", { type: "button", text, "aria-label": label, title: label, onclick });
    const zoom = make("div", { class: "twist-zoom" },
      button("+", "Zoom in", () => this.map.zoom(1.6)),
      button("−", "Zoom out", () => this.map.zoom(1 / 1.6)),
      button("⤢", "Show all points", () => this.map.look([0, 0, 1])));
    this.legend = make("div", { class: "twist-legend" });
    this.caption = make("p", { class: "twist-caption" });
    const keys = make("p", { class: "twist-caption", text: "Drag moves, wheel zooms, double click shows all; click " +
      "selects, Shift-drag draws a lasso, Esc clears; arrow keys walk from image to image." });
    const classTitle = make("h3", { text: "Classes" });
    const sort = makeSelect("Order of the classes", { id: "by number", count: "largest first",
      confidence: "least confident first", entropy: "highest entropy first" }, (value) => {
      this.listOrder = value;
      this.drawClasses();
    });
    this.list = make("div", { class: "twist-classes", role: "group", "aria-label": "Classes",
      onkeydown: (event) => this.walk(event) });
    this.galleryTitle = make("h3", {});
    this.galleryOrder = makeSelect("Order of the images", ORDERS, set("gallery_order"));
    this.clear = button("Clear", "Clear the selection", () => this.set({ selected_class: -1, selected_samples: [] }));
    this.range = make("span", { class: "twist-facts" });
    this.oddHint = make("span", { class: "twist-hint", text: "label differs from its class's main label" });
    this.back = button("‹", "Previous page", () => this.turn(-1));
    this.forth = button("›", "Next page", () => this.turn(1));
    this.tiles = make("div", { class: "twist-tiles", role: "group", "aria-label": "Images",
      onpointerleave: () => this.hover(-1) });
    this.spoken = make("p", { class: "twist-spoken", "aria-live": "polite" });
    this.body = make("div", { class: "twist-body" },
      make("section", { class: "twist-left" }, make("div", { class: "twist-stage" }, this.map.node, zoom, this.card),
        this.legend),
      make("section", { class: "twist-right" },
        make("header", {}, classTitle, make("span", { class: "twist-gap" }), sort), this.list, this.caption, keys),
      make("section", { class: "twist-gallery" },
        make("header", {}, this.galleryTitle, this.clear, make("span", { class: "twist-gap" }), this.oddHint,
          this.galleryOrder, make("span", { class: "twist-pages" }, this.back, this.range, this.forth)), this.tiles));
    this.root = make("div", { class: "twist twist-explorer", onkeydown: (event) => {
      if (event.key === "Escape") this.set({ selected_class: -1, selected_samples: [] });
    } }, make("header", {}, this.title, this.facts, make("span", { class: "twist-gap" }),
      make("label", {}, "Color ", this.colorBy), refresh), this.note, this.body, this.spoken);
    el.append(this.root);
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }

  /** Whether traits hold other objects than when last asked. */
  fresh(...names) {
    const changed = names.filter((name) => this.seen.get(name) !== this.model.get(name));
    changed.forEach((name) => this.seen.set(name, this.model.get(name)));
    return changed.length > 0;
  }

  #update() {
    const status = this.model.get("status");
    const [watch, snapshot, placement] = ["watch", "snapshot", "placement"].map((name) => this.model.get(name));
    const complete = Boolean(watch.count && snapshot.assignment && placement.xy);
    Object.assign(this.root.dataset, { state: status.state, placement: placement.method ?? "" });
    this.note.textContent = status.text;
    this.note.hidden = !status.text;
    this.title.textContent = status.run ?? "";
    this.body.hidden = !complete;
    if (!complete) return;
    if (this.fresh("watch")) {
      this.map.thumbnails?.release();
      this.map.thumbnails = this.thumbnails = new Thumbnails(watch);
      this.seen.delete("snapshot");
    }
    if (this.fresh("snapshot")) {
      this.table = readTable(watch, snapshot);
      this.rows = summarize(this.table);
      this.seen.delete("placement");
    }
    if (this.fresh("placement")) {
      this.map.place(column(Float32Array, placement.xy));
      this.caption.textContent = `${CAPTIONS[placement.method]} ${placement.made ? `Made as: ${placement.made}.` : ""}`;
      this.anchored = "";
    }
    if (this.fresh("map_view")) this.map.look(this.model.get("map_view"), false);
    if (this.fresh("selected_class", "selected_samples", "gallery_order")) this.page = 0;
    const used = this.rows.filter((row) => row.count).length;
    this.root.dataset.step = snapshot.step;
    this.facts.textContent = `step ${count(snapshot.step)} · epoch ${+snapshot.epoch.toFixed(1)} · ` +
      `${count(watch.count)} images · ${count(used)} of ${count(snapshot.num_classes)} classes in use`;
    this.draw();
  }

  /** Draw what follows from the table and the selection. */
  draw() {
    const table = /** @type {Table} */ (this.table);
    const samples = this.model.get("selected_samples").filter((i) => i >= 0 && i < table.count);
    const chosen = this.model.get("selected_class");
    this.chosen = chosen < table.numClasses ? chosen : -1;
    this.pinned = samples.length === 1 ? samples[0] : -1;
    const everyone = Array.from({ length: table.count }, (_, i) => i);
    this.shown = samples.length > 1 ? samples
      : this.chosen >= 0 ? everyone.filter((i) => table.assignment[i] === this.chosen) : everyone;
    this.shownTitle = samples.length > 1 ? "Chosen" : this.chosen >= 0 ? `Class ${this.chosen}` : "All classes";
    this.clear.hidden = !samples.length && this.chosen < 0;
    this.root.dataset.selectedClass = String(this.chosen);
    this.root.dataset.shown = String(this.shown.length);
    this.map.marks.setAttribute("aria-label", `Map of ${count(table.count)} images in ${this.rows.length} classes, ` +
      `${count(this.shown.length)} highlighted. Arrow keys walk from image to image, Enter selects.`);
    this.paint();
    this.drawClasses();
    this.drawGallery();
    this.hover(this.hovered);
  }

  /** Colors, names and legend of the map. */
  paint() {
    const table = /** @type {Table} */ (this.table);
    const { classes, labels, ramp: anchors } = this.model.get("palette");
    let by = this.model.get("color_by");
    this.colorBy.querySelector("[value=label]").disabled = !table.labels;
    if (!(by in COLORS) || (by === "label" && !table.labels)) by = "class";
    this.colorBy.value = this.root.dataset.colorBy = by;
    const continuous = by === "entropy" || by === "confidence";
    const top = Math.log(table.numClasses);
    const low = by === "confidence" ? 1 / table.numClasses : 0;
    const scale = by === "confidence" ? 1 - low : top;
    const values = by === "confidence" ? table.confidence : table.entropy;
    const palette = continuous ? ramp(anchors) : by === "label" ? [...labels, "#8A8F98"] : classes;
    let colorOf = /** @type {ArrayLike<number>} */ (table.assignment);
    const shade = (value) => Math.round(clamp((value - low) / scale || 0) * (palette.length - 1));
    if (continuous) colorOf = values.map(shade);
    if (by === "label") colorOf = table.labels.map((label) => (label < 0 ? labels.length : label));
    const grouping = by === "label" ? table.labels : table.assignment;
    const names = by === "label" ? table.labelNames : this.rows.map((row) => String(row.id));
    if (this.anchored !== by) {
      this.anchored = by;
      this.groups = anchorsOf(grouping, names.length, this.map.target)
        .map(({ anchor, size }, k) => ({ anchor, size, name: names[k], color: palette[k] }));
    }
    let selected = null;
    if (this.shown.length < table.count) {
      selected = new Uint8Array(table.count);
      this.shown.forEach((i) => (selected[i] = 1));
    }
    this.map.paint({ colorOf, palette, selected, groups: this.groups });
    this.map.mark(this.hovered, this.pinned);
    this.legend.replaceChildren();
    if (continuous) this.drawRamp(palette, by, top, low);
    else this.drawChips(by);
  }

  drawRamp(palette, by, top, low) {
    const bar = make("div", { class: "twist-ramp" });
    bar.style.background = `linear-gradient(to right, ${palette.join(",")})`;
    const ends = by === "entropy"
      ? ["0 nats", `${(top / 2).toFixed(2)} nats · 50 % of log ${this.rows.length}`, `${top.toFixed(2)} nats · 100 %`]
      : [`${percent(low)} = 1/${this.rows.length}`, percent((1 + low) / 2), "100 %"];
    const ticks = make("div", { class: "twist-ticks" }, ...ends.map((text) => make("span", { text })));
    this.legend.append(make("span", { text: COLORS[by] }), make("div", { class: "twist-bar" }, bar, ticks));
  }

  drawChips(by) {
    const groups = this.groups.filter((group) => group.size);
    const most = 24;
    this.legend.append(make("span", { text: by }), ...groups.slice(0, most).map(({ name, size, color }) =>
      make("span", { class: "twist-chip" }, swatch(color), make("b", { text: name }), ` ${count(size)}`)));
    if (groups.length > most) this.legend.append(`and ${count(groups.length - most)} more`);
  }

  drawClasses() {
    const { classes } = this.model.get("palette");
    const key = { id: (row) => row.id, count: (row) => -row.count, confidence: (row) => row.confidence,
      entropy: (row) => -row.entropy }[this.listOrder];
    const rows = [...this.rows].sort((a, b) => Number(!a.count) - Number(!b.count) || key(a) - key(b) || a.id - b.id);
    const largest = Math.max(...rows.map((row) => row.count));
    const labeled = Boolean(this.table?.labels);
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.class : null;
    const heads = ["", "class", "images", "mean confidence", "entropy, nats", ...(labeled ? ["main label", ""] : [])];
    this.list.classList.toggle("twist-labeled", labeled);
    this.list.replaceChildren(make("div", { class: "twist-head", "aria-hidden": "true" },
      ...heads.map((text) => make("span", { text }))), ...rows.map((row) => {
      const label = row.label < 0 ? "" : this.table?.labelNames[row.label];
      const facts = [make("span", { class: "twist-dead-word", text: "dead: no image" })];
      let words = "dead, no image";
      if (row.count) {
        const bar = make("span", { class: "twist-count", text: count(row.count) });
        bar.style.setProperty("--share", String(row.count / largest));
        const means = [percent(row.confidence), row.entropy.toFixed(2)];
        facts.splice(0, 1, bar, ...means.map((text) => make("span", { text })));
        words = `${count(row.count)} images, mean confidence ${means[0]}, mean entropy ${nats(row.entropy)}`;
        if (labeled) {
          facts.push(make("span", { class: "twist-name", text: label || "unlabeled" }),
            make("span", { text: label ? percent(row.purity) : "" }));
          words += label ? `, mostly ${label} (${percent(row.purity)})` : ", unlabeled";
        }
      }
      return make("button", { type: "button", class: `twist-class ${row.count ? "" : "twist-dead"}`,
        "data-class": row.id, "aria-pressed": String(row.id === this.chosen), "aria-label": `Class ${row.id}: ${words}`,
        onclick: () => this.choose(row.id) }, swatch(classes[row.id]), make("b", { text: row.id }), ...facts);
    }));
    if (focused !== null) this.list.querySelector(`[data-class="${focused}"]`)?.focus({ preventScroll: true });
  }

  /** Up and down between the classes. */
  walk(event) {
    const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (!next) return;
    event.preventDefault();
    document.activeElement?.[next]?.focus();
  }

  choose(id) {
    this.set({ selected_class: id === this.chosen ? -1 : id, selected_samples: [] });
  }

  /** A click on the map: the image is pinned and its class selected; beside every point, both are cleared. */
  pick(i) {
    this.set({ selected_samples: i < 0 ? [] : [i], selected_class: i < 0 ? -1 : this.table.assignment[i] });
  }

  turn(pages) {
    this.page += pages;
    this.drawGallery();
  }

  drawGallery() {
    const table = /** @type {Table} */ (this.table);
    const order = this.model.get("gallery_order");
    this.galleryOrder.value = order in ORDERS ? order : "most";
    const values = order === "entropy" ? table.entropy : table.confidence;
    const sign = order === "least" ? 1 : -1;
    const key = (i) => (Number.isFinite(values[i]) ? sign * values[i] : Infinity);
    const sorted = [...this.shown].sort((a, b) => key(a) - key(b) || a - b);
    const page = sorted.slice(this.page * PAGE, (this.page + 1) * PAGE);
    this.galleryTitle.textContent = `${this.shownTitle} · ${count(sorted.length)} of ${count(table.count)} images`;
    const first = this.page * PAGE;
    this.range.textContent = sorted.length ? `${count(first + 1)}–${count(first + page.length)}` : "none";
    this.back.disabled = this.page === 0;
    this.forth.disabled = (this.page + 1) * PAGE >= sorted.length;
    const { classes } = this.model.get("palette");
    this.oddHint.hidden = !page.some((i) => this.isOdd(i));
    const drawn = [this.seen.get("watch"), this.seen.get("snapshot"), ...page];
    if (this.drawn?.length !== drawn.length || drawn.some((part, k) => part !== this.drawn[k])) {
      this.drawn = drawn;
      this.tiles.replaceChildren(...page.map((i) => {
        const tile = make("button", { type: "button", class: `twist-tile ${this.isOdd(i) ? "twist-odd" : ""}`,
          "data-sample": i, "aria-label": this.describe(i), onpointerenter: () => this.hover(i),
          onfocus: () => this.hover(i), onblur: () => this.hover(-1),
          onclick: () => this.set({ selected_samples: this.pinned === i ? [] : [i] }) });
        tile.style.setProperty("--color", classes[table.assignment[i]]);
        this.thumbnails.show(tile, i, this.thumbnails.enlarged(48));
        return tile;
      }));
    }
    for (const tile of this.tiles.children) {
      tile.setAttribute("aria-pressed", String(Number(tile.dataset.sample) === this.pinned));
    }
  }

  /** Whether an image's label differs from the main label of its class. */
  isOdd(i) {
    const label = this.table.labels?.[i] ?? -1;
    return label >= 0 && label !== this.rows[this.table.assignment[i]].label;
  }

  /** An image in one sentence. */
  describe(i) {
    const { sampleIds, assignment, labels, labelNames, confidence, entropy } = this.table;
    const label = labels ? `, label ${labels[i] < 0 ? "unknown" : labelNames[labels[i]]}` : "";
    return `image ${count(sampleIds[i])}: class ${assignment[i]}${label}, confidence ${percent(confidence[i], 1)}, ` +
      `entropy ${nats(entropy[i])}`;
  }

  hover(i, byKey = false) {
    this.hovered = i;
    this.root.dataset.hovered = String(i);
    this.map.mark(i, this.pinned);
    this.fillCard(i >= 0 ? i : this.pinned);
    if (byKey && i >= 0) this.spoken.textContent = this.describe(i);
  }

  fillCard(i) {
    this.card.hidden = i < 0;
    this.card.dataset.sample = String(i);
    if (i < 0) return;
    const table = this.table;
    const { classes } = this.model.get("palette");
    const c = table.assignment[i];
    const picture = make("div", { class: "twist-picture", role: "img", "aria-label": this.describe(i) });
    this.thumbnails.show(picture, i, this.thumbnails.enlarged(96));
    const facts = [make("div", {}, swatch(classes[c]), make("b", { text: `class ${c}` }))];
    if (table.labels) {
      const name = table.labels[i] < 0 ? "unknown" : table.labelNames[table.labels[i]];
      facts.push(make("div", { text: `label ${name}`, class: this.isOdd(i) ? "twist-odd-word" : "" }));
    }
    const share = `${percent(table.entropy[i] / Math.log(table.numClasses))} of log ${table.numClasses}`;
    facts.push(make("div", { text: `confidence ${percent(table.confidence[i], 1)}` }),
      make("div", { text: `entropy ${nats(table.entropy[i])}` }),
      make("div", { class: "twist-facts", text: `${share} · image ${count(table.sampleIds[i])}` }));
    const bars = Array.from({ length: table.topK }, (_, k) => {
      const [id, prob] = [table.topClasses[i * table.topK + k], table.topProbs[i * table.topK + k]];
      const bar = make("i", {});
      bar.style.cssText = `width: ${100 * clamp(prob || 0)}%; background: ${classes[id]}`;
      return make("div", { class: "twist-prob" }, make("b", { text: id }), make("span", {}, bar), percent(prob, 1));
    });
    this.card.replaceChildren(picture, make("div", {}, ...facts), make("div", { class: "twist-probs" }, ...bars));
    this.moveCard();
  }

  /** Keep the card beside its point, inside the map. */
  moveCard() {
    const i = Number(this.card.dataset.sample ?? -1);
    if (this.card.hidden || i < 0 || 2 * i >= this.map.xy.length) return;
    const [x, y] = this.map.at(i);
    const [width, height] = [this.card.offsetWidth, this.card.offsetHeight];
    const left = x + width + 22 < this.map.width ? x + 16 : x - width - 16;
    this.card.style.left = `${clamp(left, 4, Math.max(4, this.map.width - width - 4))}px`;
    this.card.style.top = `${clamp(y - height / 2, 4, Math.max(4, this.map.height - height - 4))}px`;
  }

  release() {
    TRAITS.forEach((name) => this.model.off(`change:${name}`, this.update));
    this.update.cancel();
    this.themes.disconnect();
    this.lighting.removeEventListener("change", this.relight);
    this.map.release();
    this.thumbnails?.release();
    this.root.remove();
  }
}

/** Draw a model into an element; returns what ends it. */
function render({ model, el }) {
  const explorer = new Explorer(model, el);
  return () => explorer.release();
}
