// @ts-check
/**
 * The class explorer: map, gallery, inspector, histogram, class table and slider, all of one selection.
 *
 * Python sends tables once (see explorer_tables.py); every hover, color, page and checkpoint is answered here, so the
 * same parts serve JupyterLab, Voilà and an HTML page without a kernel. State lives in the model's traits: events set
 * traits, traits redraw the parts. Names of runs, classes and labels enter the page as text nodes only.
 */

const EXPLORER_TRAITS = ["status", "watch", "snapshot", "placement", "history", "motion", "palette", "extra_columns",
  "class_names", "selected_class", "selected_samples", "torn", "color_by", "shape_by", "trust_overlay", "gallery_order",
  "shown_step", "map_view"];

class Explorer {
  constructor(/** @type {Model} */ model, /** @type {HTMLElement} */ el) {
    this.model = model;
    this.alive = Boolean(model.send);
    this.seen = new Map();
    this.hovered = -1;
    this.selection = new ExplorerSelection(model);
    this.asks = new ExplorerAsks(model, { answered: () => this.draw(), tell: (words) => this.tell(words) });
    this.tiles = tilesOf(model);
    this.build(el);
    this.update = coalesce(() => this.#update());
    this.drawPanels = coalesce(() => this.#drawPanels());
    EXPLORER_TRAITS.forEach((name) => model.on(`change:${name}`, this.update));
    this.themes = new MutationObserver(() => this.map.redraw());
    for (const node of [document.documentElement, document.body]) this.themes.observe(node, { attributes: true });
    this.lighting = matchMedia("(prefers-color-scheme: dark)");
    this.relight = () => this.map.redraw();
    this.lighting.addEventListener("change", this.relight);
    this.#update();
  }

  build(el) {
    const { selection } = this;
    const pin = (i) => selection.pin(i);
    const hover = (i) => this.hover(i);
    const choose = (id) => selection.choose(id);
    this.map = new Scatter({
      hover: (i, byKey) => this.hover(i, byKey),
      pick: (i) => selection.pick(i, this.table),
      lasso: (rows, mode) => selection.lasso(rows, mode),
      moved: (view) => selection.set({ map_view: view }),
      drawn: () => {
        this.root.dataset.zoom = this.map.view[2].toFixed(2);
        this.card.move();
      },
    });
    this.tools = new ExplorerTools({ set: (values) => selection.set(values), refresh: () => this.refresh(),
      export: (kind) => this.export(kind) }, this.alive);
    this.legend = new ExplorerLegend({ hide: (hidden) => {
      selection.hidden = hidden;
      this.draw();
    } });
    this.classes = new ExplorerClasses({ choose });
    this.inspector = new ExplorerInspector({ pin, choose, hover, step: (step) => this.goto(step) });
    this.histogram = new ExplorerHistogram({ range: (low, high) => selection.range(low, high, this.table) });
    this.gallery = new ExplorerGallery({ order: (name) => selection.set({ gallery_order: name }), hover, pin,
      clear: () => selection.clear(), between: (a, b) => selection.between(a, b),
      name: (id, values) => this.model.send?.({ type: "name", class: id, ...values }) }, this.alive);
    this.time = new ExplorerTime({ show: (t) => this.showCheckpoint(t), frame: (at) => this.showFrame(at), choose });
    this.note = make("p", { class: "twist-note", role: "status" });
    this.told = make("p", { class: "twist-told", role: "status", hidden: "" });
    this.card = new ExplorerCard(this.map);
    this.spoken = make("p", { class: "twist-spoken", "aria-live": "polite" });
    const button = (text, label, onclick) =>
      make("button", { type: "button", text, "aria-label": label, title: label, onclick });
    this.lasso = button("◌", "Draw a lasso: a drag selects", () => {
      this.map.lassoMode = !this.map.lassoMode;
      this.lasso.setAttribute("aria-pressed", String(this.map.lassoMode));
    });
    this.lasso.setAttribute("aria-pressed", "false");
    const zoom = make("div", { class: "twist-zoom" },
      button("+", "Zoom in", () => this.map.zoom(1.6)),
      button("−", "Zoom out", () => this.map.zoom(1 / 1.6)),
      button("⤢", "Show all points", () => this.map.look([0, 0, 1])), this.lasso);
    this.body = make("div", { class: "twist-body" },
      make("section", { class: "twist-left" },
        make("div", { class: "twist-stage" }, this.map.node, zoom, this.card.node), this.legend.node, this.time.node,
        this.tools.foot),
      make("section", { class: "twist-right" }, this.inspector.node, this.histogram.node, this.classes.node),
      this.gallery.node);
    this.root = make("div", { class: "twist twist-explorer", onkeydown: (event) => {
      if (event.key === "Escape") selection.clear();
    } }, this.tools.node, this.note, this.told, this.body, this.spoken);
    el.append(this.root);
  }

  /** Whether traits hold other objects than when last asked. */
  fresh(...names) {
    const changed = names.filter((name) => this.seen.get(name) !== this.model.get(name));
    changed.forEach((name) => this.seen.set(name, this.model.get(name)));
    return changed.length > 0;
  }

  #update() {
    const get = (name) => this.model.get(name);
    const status = get("status");
    const [watch, snapshot, placement] = ["watch", "snapshot", "placement"].map(get);
    const complete = Boolean(watch.count && snapshot.assignment && placement.xy);
    Object.assign(this.root.dataset, { state: status.state, placement: placement.method ?? "" });
    this.note.textContent = status.text;
    this.note.hidden = !status.text;
    this.tools.title.textContent = status.run ?? "";
    this.body.hidden = !complete;
    this.root.classList.toggle("twist-bare", !complete);
    if (!complete) return;
    if (this.fresh("watch")) {
      this.thumbnails?.release();
      this.thumbnails = new Thumbnails(watch, watch.pictures ? this.tiles : undefined);
      this.thumbnails.arrived = () => this.map.redraw();
      this.map.thumbnails = watch.pictures ? this.thumbnails : null;
      this.seen.delete("snapshot");
    }
    const renewed = this.fresh("snapshot");
    if (renewed) {
      this.home = explorerTable(watch, snapshot);
      this.seen.delete("history");
    }
    if (this.fresh("history")) {
      this.history = explorerHistory(get("history"), watch.count);
      this.time.load(this.history, snapshot.num_classes);
      this.seen.delete("shown_step");
      this.seen.delete("motion");
    }
    const moved = [this.fresh("placement"), this.fresh("motion")].some(Boolean);
    if (moved || renewed) this.#place(placement);
    if (this.fresh("shown_step") || renewed) this.#show(get("shown_step"));
    if (this.fresh("map_view")) this.map.look(get("map_view"), false);
    if (this.fresh("selected_class", "selected_samples", "torn", "gallery_order")) this.gallery.restart();
    if (this.fresh("class_names", "palette")) this.anchored = "";
    this.draw();
  }

  /** New places: of every checkpoint where they were aligned, else of one map that all checkpoints share. */
  #place(placement) {
    const motion = this.model.get("motion");
    const frames = explorerFrames(motion, this.home.count);
    this.frames = frames && this.history && String(frames.steps) === String(this.history.steps) ? frames : null;
    if (this.frames) this.map.frames(this.frames.xy, this.time.at, { normalized: true });
    else this.map.place(column(Float32Array, placement.xy));
    this.trust = explorerColumn(Float32Array, placement.trust);
    this.asks.place(placement);
    this.anchored = "";
    const { history } = this;
    const [done, total] = motion.progress ?? [];
    const waits = total ? `Aligning the maps of all checkpoints: ${count(done)} of ${count(total)}.` : "";
    const stays = `Places are those of step ${count(placement.step)} at every checkpoint; classes, entropies and the ` +
      "gallery move.";
    const one = history && !this.frames ? motion.problem ?? stays : "";
    this.time.say(history?.said ?? "", waits || one);
  }

  /** Show the table of a checkpoint; -1 is the one that the explorer was opened at. */
  #show(step) {
    const { history, home } = this;
    const at = history ? history.steps.indexOf(step < 0 ? home.step : step) : -1;
    this.table = history && at >= 0 && history.steps[at] !== home.step ? explorerTableAt(home, history, at) : home;
    this.rows = explorerClassRows(this.table);
    this.gallery.forget();
    this.anchored = "";
    if (history && at >= 0) this.time.set(at);
  }

  showCheckpoint(t) {
    const step = this.history.steps[t];
    this.selection.set({ shown_step: step === this.home.step ? -1 : step });
  }

  goto(step) {
    if (!this.history) return;
    const gaps = this.history.steps.map((each) => Math.abs(each - step));
    this.time.go(gaps.indexOf(Math.min(...gaps)));
  }

  showFrame(at) {
    if (this.frames) this.map.frame(at);
  }

  refresh() {
    this.selection.set({ shown_step: -1 });
    this.model.send?.({ type: "refresh" });
  }

  nameOf = (/** @type {number} */ id) => {
    const name = this.model.get("class_names")[String(id)]?.name;
    return name ? `${id} ${name}` : String(id);
  };

  /** Draw what follows from the table and the selection. */
  draw() {
    const { table, selection, model } = this;
    const palette = model.get("palette");
    const added = model.get("extra_columns");
    const trust = this.frames?.trust?.[this.time.t] ?? this.trust;
    const lacks = (name) => explorerLacks(name, table, trust);
    let by = model.get("color_by");
    if (!(by in EXPLORER_COLORS || by in added) || (by in EXPLORER_COLORS && lacks(by))) by = "class";
    const channel = explorerChannel(by, table, palette, added[by], trust, this.nameOf);
    if (this.hides !== by) {
      this.hides = by;
      selection.hidden = new Set();
      this.legend.reset();
    }
    selection.read(table, channel.kind === "category" ? channel.values : null);
    const shape = explorerShape(model.get("shape_by"), table, this.isOdd);
    const { pinned, chosen, shown } = selection;
    const [title, active] = [selection.title(this.nameOf), selection.active];
    const order = model.get("gallery_order");
    const colors = palette.classes;
    Object.assign(this.root.dataset, { selectedClass: String(chosen), shown: String(shown.length), colorBy: by,
      step: String(table.step), torn: selection.torn.join() });
    this.map.marks.setAttribute("aria-label", `Map of ${count(table.count)} images in ${this.rows.length} classes, ` +
      `${count(shown.length)} highlighted. Arrow keys walk from image to image, Enter selects.`);
    this.#paint(channel, shape, trust, palette);
    const common = { table, shown, title, active, pinned, chosen, colors, nameOf: this.nameOf, isOdd: this.isOdd,
      describe: this.describe, thumbnails: this.thumbnails, channel, history: this.history };
    const closeness = pinned >= 0 ? this.asks.closeness(pinned, table, order === "close") : null;
    this.gallery.draw({ ...common, torn: selection.torn, order, names: model.get("class_names"), closeness });
    this.hover(this.hovered);
    this.later = { common, shape, lacks, trust, palette, added };
    this.drawPanels();
  }

  /** What may come a frame later than map and gallery. */
  #drawPanels() {
    const { common, shape, lacks, trust, palette, added } = this.later;
    const { table, channel, pinned, chosen, colors } = common;
    const { selection, model, asks } = this;
    this.tools.draw({ status: model.get("status"), table, rows: this.rows, added, lacks, color: channel.name,
      shape: shape ? model.get("shape_by") : "none", trust: model.get("trust_overlay"),
      placement: model.get("placement"), made: this.#made(trust) });
    this.legend.draw(channel, shape);
    if (pinned >= 0) {
      this.inspector.drawImage(pinned, { ...common, neighbors: asks.near(pinned, table),
        curve: asks.curve(pinned, this.history, this.home) });
    } else {
      const warning = asks.warning(selection, table);
      this.inspector.drawSelection({ ...common, labelColors: palette.labels, warning });
    }
    this.histogram.draw(table, selection.mask, selection.mask !== null);
    if (this.history) this.time.ribbon.show({ at: this.time.t, chosen, colors, nameOf: this.nameOf });
    const names = model.get("class_names");
    this.classes.draw(this.rows, table, colors, chosen, this.nameOf, names); // last: the room left for it is known now
  }

  /** Colors, names and shapes of the map. */
  #paint(channel, shape, trust, palette) {
    const { table, map } = this;
    const category = channel.kind === "category";
    const [group, names] = category ? [channel.values, channel.names]
      : [table.assignment, palette.classes.map((_, id) => this.nameOf(id))];
    const key = `${channel.name} ${this.time.t}`;
    if (this.anchored !== key) {
      this.anchored = key;
      this.groups = explorerAnchors(group, names.length, map.target).map((place, k) => ({ ...place, name: names[k] }));
    }
    const overlay = this.model.get("trust_overlay") && trust;
    const alphaOf = overlay ? Float32Array.from(trust, (value) => 0.12 + 0.88 * (value || 0)) : undefined;
    map.paint({ colorOf: channel.colorOf, palette: channel.palette, selected: this.selection.mask, groups: this.groups,
      shapeOf: shape?.shapes, alphaOf });
    map.mark(this.hovered, this.selection.pinned);
  }

  #made(trust) {
    const placement = this.model.get("placement");
    const made = this.frames?.made || placement.made;
    const mean = this.frames && trust ? explorerMeanOfAll(trust) : NaN;
    const stands = placement.method === "umap" ? "" : "PCA stands in for the map.";
    const near = `Trust here: ${percent(mean)} of an image's nearest in feature space are near it on the map.`;
    return [this.model.get("status").aside, stands, made ? `Made as: ${made}.` : "", Number.isFinite(mean) ? near : ""]
      .filter(Boolean).join(" ");
  }

  /** Whether an image's label differs from the main label of its class. */
  isOdd = (/** @type {number} */ i) => {
    const label = this.table.labels?.[i] ?? -1;
    return label >= 0 && label !== this.rows[this.table.assignment[i]].label;
  };

  /** An image in one sentence. */
  describe = (/** @type {number} */ i) => {
    const { sampleIds, assignment, labels, labelNames, confidence, entropy } = this.table;
    const label = labels ? `, label ${labels[i] < 0 ? "unknown" : labelNames[labels[i]]}` : "";
    return `image ${count(sampleIds[i])}: class ${this.nameOf(assignment[i])}${label}, confidence ${
      percent(confidence[i], 1)}, entropy ${nats(entropy[i])}`;
  };

  async export(kind) {
    const { selection, table } = this;
    const name = `${this.model.get("status").run}-step${table.step}`.replace(/[^\w.-]+/g, "-");
    if (kind === "png" || kind === "svg") {
      const line = this.model.get("provenance").replace(/step [\d,]+/, `step ${count(table.step)}`);
      explorerDownload(await this.map.picture(kind, line), `${name}-map.${kind}`);
    } else if (!this.alive) {
      const rows = selection.active ? selection.shown : table.entropy.map((_, i) => i);
      explorerDownload(new Blob([explorerCsv(table, rows, this.nameOf)], { type: "text/csv" }), `${name}-classes.csv`);
    } else {
      this.tell("Exporting …");
      this.model.send({ type: "export", kind, only_selection: selection.active, id: `export ${performance.now()}` });
    }
  }

  tell(words) {
    this.told.textContent = words;
    this.told.hidden = false;
    clearTimeout(this.telling);
    this.telling = setTimeout(() => (this.told.hidden = true), 12_000);
  }

  hover(i, byKey = false) {
    this.hovered = i;
    this.root.dataset.hovered = String(i);
    const { pinned } = this.selection;
    this.map.mark(i, pinned);
    const shown = i === pinned ? -1 : i; // the inspector tells of the pinned one
    this.card.fill(shown, shown < 0 ? null : { table: this.table, colors: this.model.get("palette").classes,
      nameOf: this.nameOf, isOdd: this.isOdd, describe: this.describe, thumbnails: this.thumbnails });
    if (byKey && i >= 0) this.spoken.textContent = this.describe(i);
  }

  release() {
    EXPLORER_TRAITS.forEach((name) => this.model.off(`change:${name}`, this.update));
    this.asks.release();
    this.update.cancel();
    this.drawPanels.cancel();
    clearTimeout(this.telling);
    this.themes.disconnect();
    this.lighting.removeEventListener("change", this.relight);
    this.tiles.release();
    this.time.release();
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
