// @ts-check
/** The explorer's head (colors, shapes, trust, export) and the rules of reading its map. */

const EXPLORER_RULES = {
  umap: [
    "Side by side means alike: neighbors on the map mostly have similar features. This is what it was made to keep.",
    "The size of a group and how dense it looks mean nothing: UMAP evens out densities.",
    "The distance between two groups that lie apart means little; only near and not near can be read.",
    "Noise can look grouped: believe a group when its entropies, its gallery and its trust say the same.",
    "Other neighbors or another seed draw another map of the same features. Classes and entropies do not come from it.",
  ],
  pca: ["This map is a PCA: the two directions in which the features vary most. Classes that overlap here can be " +
    "apart in the full feature space."],
};
const EXPLORER_KEYS = "Drag moves, wheel zooms, double click shows all. Click selects; Shift-drag draws a lasso, " +
  "with Ctrl it adds, with Alt it takes away; Esc clears. Arrow keys walk from image to image, Enter selects.";
const EXPLORER_EXPORTS = { "": "Export …", csv: "assignments, CSV", parquet: "assignments, parquet",
  folders: "images, a folder per class", atlas: "Embedding Atlas, parquet", png: "map, PNG", svg: "map, SVG" };

class ExplorerTools {
  /**
   * @param {{set(values: object): void, refresh(): void, export(kind: string): void}} on
   * @param {boolean} alive  Whether there is a kernel.
   */
  constructor(on, alive) {
    this.title = make("strong", { class: "twist-title" });
    this.facts = make("span", { class: "twist-facts" });
    this.live = make("span", { class: "twist-live", text: "live",
      title: "The run is being trained; what is new appears here" });
    this.color = makeSelect("Color of the points", EXPLORER_COLORS, (value) => on.set({ color_by: value }));
    this.shape = makeSelect("Shape of the points", { none: "none", odd: "label ≠ main label", label: "label" },
      (value) => on.set({ shape_by: value }));
    this.trust = make("input", { type: "checkbox", onchange: () => on.set({ trust_overlay: this.trust.checked }) });
    const says = "Draw images faintly whose place on the map says little of their features";
    this.trustLabel = make("label", { title: says }, this.trust, " trust");
    const kinds = alive ? EXPLORER_EXPORTS : { "": EXPLORER_EXPORTS[""], csv: EXPLORER_EXPORTS.csv,
      png: EXPLORER_EXPORTS.png, svg: EXPLORER_EXPORTS.svg };
    this.export = makeSelect("Export", kinds, (value) => {
      this.export.value = "";
      if (value) on.export(value);
    });
    this.refresh = make("button", { type: "button", text: "Newest", title: "Go to the run's newest snapshot",
      "aria-label": "Newest snapshot", onclick: () => on.refresh() });
    this.refresh.hidden = !alive;
    this.node = make("header", { class: "twist-tools" }, this.title, this.live, this.facts,
      make("span", { class: "twist-controls" }, make("label", {}, "Color ", this.color),
        make("label", {}, "Shape ", this.shape), this.trustLabel, this.export, this.refresh));
    this.rules = make("details", { class: "twist-rules" }, make("summary", { text: "How to read this map" }));
    this.caption = make("p", { class: "twist-caption" });
    this.foot = make("div", { class: "twist-foot" }, this.caption, this.rules);
  }

  /** @param {{status: any, table: Table, rows: ClassRow[], added: Record<string, any>, lacks(name: string): string,
   *   color: string, shape: string, trust: boolean, placement: any, made: string}} state */
  draw(state) {
    const { status, table, rows, added } = state;
    const used = rows.filter((row) => row.count).length;
    this.title.textContent = status.run ?? "";
    this.live.hidden = !status.live;
    const when = status.frozen ? "frozen features" : `step ${count(table.step)} · epoch ${+table.epoch.toFixed(1)}`;
    this.facts.textContent = `${when} · ` +
      `${count(table.count)} images · ${count(used)} of ${count(table.numClasses)} classes in use`;
    const names = [...Object.keys(EXPLORER_COLORS), ...Object.keys(added)];
    if (this.listed !== names.join("\n")) {
      this.listed = names.join("\n");
      this.color.replaceChildren(...names.map((value) =>
        make("option", { value, text: EXPLORER_COLORS[value] ?? value })));
    }
    for (const option of this.color.options) {
      const lack = added[option.value] ? "" : state.lacks(option.value);
      option.disabled = Boolean(lack);
      option.title = lack;
    }
    this.color.value = state.color;
    this.shape.value = state.shape;
    this.shape.disabled = !table.labels;
    this.shape.querySelector("[value=label]").disabled = table.labelNames.length > EXPLORER_SHAPES.length;
    this.trust.checked = state.trust;
    this.trust.disabled = Boolean(state.lacks("trust"));
    this.trustLabel.classList.toggle("twist-quiet", this.trust.disabled);
    const rules = EXPLORER_RULES[state.placement.method] ?? EXPLORER_RULES.pca;
    if (this.ruled !== rules) {
      this.ruled = rules;
      const list = make("ol", {}, ...rules.map((text) => make("li", { text })));
      this.rules.replaceChildren(this.rules.firstElementChild, list, make("p", { text: EXPLORER_KEYS }));
    }
    this.caption.textContent = state.made;
  }
}

/** A CSV of the images at the checkpoint that is shown, for pages without a kernel. */
function explorerCsv(/** @type {Table} */ table, rows, nameOf) {
  const cell = (value) => {
    const text = /^[=+\-@\t\r]/.test(value) && typeof value === "string" ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const heads = ["row", "sample_id", "assignment", "class_name", "label", "confidence", "sample_entropy", "margin"];
  const lines = [...rows].map((i) => {
    const [id, label] = [table.assignment[i], table.labels?.[i] ?? -1];
    const name = nameOf(id) === String(id) ? "" : nameOf(id);
    return [i, table.sampleIds[i], id, name, label < 0 ? "" : table.labelNames[label], table.confidence[i],
      table.entropy[i], table.margin[i]].map(cell).join(",");
  });
  return [heads.join(","), ...lines, ""].join("\n");
}

/** Hand a file to the person. */
function explorerDownload(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
