// @ts-check
/** The one selection that map, gallery, table, histogram and ribbon share; it lives in the model's traits. */
class ExplorerSelection {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.samples = new Int32Array(0);
    this.chosen = -1;
    this.torn = [-1, -1];
    this.hidden = /** @type {Set<number>} */ (new Set());
    this.shown = /** @type {ArrayLike<number> & Iterable<number>} */ (new Int32Array(0));
    this.mask = /** @type {Uint8Array | null} */ (null);
  }

  /** The one image that is chosen, -1 when there is none or there are several. */
  get pinned() {
    return this.samples.length === 1 ? this.samples[0] : -1;
  }

  /** Whether anything was selected. */
  get active() {
    return this.samples.length > 0 || this.chosen >= 0 || this.torn[0] >= 0;
  }

  /** Read the traits, and work out which images are shown. Hidden categories are taken out of every selection. */
  read(/** @type {Table} */ table, hiddenOf) {
    const sent = this.model.get("selected_samples");
    const rows = Array.isArray(sent) ? Int32Array.from(sent) : explorerColumn(Int32Array, sent) ?? new Int32Array(0);
    this.samples = rows.filter((i) => i >= 0 && i < table.count);
    const [chosen, torn] = [this.model.get("selected_class"), this.model.get("torn")];
    this.chosen = chosen < table.numClasses ? chosen : -1;
    const between = torn[0] >= 0 && torn[1] >= 0 && torn[0] !== torn[1];
    this.torn = between && torn.every((id) => id < table.numClasses) ? torn : [-1, -1];
    const base = this.samples.length > 1 ? this.samples : this.#base(table);
    this.shown = hiddenOf && this.hidden.size ? base.filter((i) => !this.hidden.has(hiddenOf[i])) : base;
    this.mask = null;
    if (this.shown.length < table.count) {
      this.mask = new Uint8Array(table.count);
      for (const i of this.shown) this.mask[i] = 1;
    }
  }

  /** Images of the two classes, or of the one, or all: what a range of entropies chooses from. */
  #base(table) {
    const [a, b] = this.torn;
    const { assignment: first, second } = table;
    const rows = [];
    for (let i = 0; i < table.count; i++) {
      const kept = a >= 0 ? (first[i] === a && second[i] === b) || (first[i] === b && second[i] === a)
        : this.chosen < 0 || first[i] === this.chosen;
      if (kept) rows.push(i);
    }
    return Int32Array.from(rows);
  }

  /** What is selected, as a title. */
  title(nameOf) {
    if (this.samples.length > 1) return "Chosen";
    if (this.torn[0] >= 0) return `Torn between ${nameOf(this.torn[0])} and ${nameOf(this.torn[1])}`;
    return this.chosen >= 0 ? `Class ${nameOf(this.chosen)}` : "All classes";
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) {
      this.model.set(name, name === "selected_samples" ? new DataView(Int32Array.from(value).buffer) : value);
    }
    this.model.save_changes();
  }

  clear() {
    this.set({ selected_samples: [], selected_class: -1, torn: [-1, -1] });
  }

  /** Select a class; selected already, nothing is. */
  choose(id) {
    this.set({ selected_class: id === this.chosen ? -1 : id, selected_samples: [], torn: [-1, -1] });
  }

  /** An image is pinned and its class selected; beside every point, both are cleared. */
  pick(i, table) {
    this.set({ selected_samples: i < 0 ? [] : [i], selected_class: i < 0 ? -1 : table.assignment[i], torn: [-1, -1] });
  }

  /** An image of what is shown is pinned, or no longer. */
  pin(i) {
    this.set({ selected_samples: this.pinned === i ? [] : [i] });
  }

  /** A lasso: its images alone, or added to what was selected, or taken away from it. */
  lasso(rows, mode) {
    const none = { selected_class: -1, torn: [-1, -1] };
    if (mode !== "add" && mode !== "remove") return this.set({ selected_samples: rows, ...none });
    const before = this.active || mode === "remove" ? this.shown : [];
    const inside = new Set(rows);
    const after = mode === "add" ? [...new Set([...before, ...rows])] : [...before].filter((i) => !inside.has(i));
    return this.set({ selected_samples: after, ...none });
  }

  /** Images of a range of entropies, out of the class that is selected or of all. */
  range(low, high, table) {
    const inside = (i) => table.entropy[i] >= low && table.entropy[i] <= high;
    this.set({ selected_samples: this.#base(table).filter(inside) });
  }

  between(a, b) {
    this.set({ torn: [a, b], selected_samples: [], selected_class: -1, gallery_order: "margin" });
  }
}
