// @ts-check
/** What only the kernel knows, or the neighbors that came with the map: each is asked for once. */
class ExplorerAsks {
  /** @param {Model} model @param {{answered(): void, tell(words: string): void}} on */
  constructor(model, on) {
    this.model = model;
    this.on = on;
    this.alive = Boolean(model.send);
    this.asked = new Map();
    this.neighbors = /** @type {Int32Array | null} */ (null);
    this.K = 0;
    this.step = -1; // of the neighbors
    this.hear = (message, buffers) => this.#hear(message, buffers);
    model.on("msg:custom", this.hear);
  }

  /** The neighbors that a map came with. */
  place(placement) {
    this.neighbors = placement.num_neighbors ? explorerColumn(Int32Array, placement.neighbors) : null;
    this.K = placement.num_neighbors;
    this.step = placement.step;
  }

  /** Ask the kernel once for each question; the answer redraws. */
  #ask(key, message) {
    if (!this.alive || this.asked.has(key)) return this.asked.get(key) ?? null;
    if (this.asked.size > 50) this.asked.clear();
    this.asked.set(key, null);
    this.model.send({ ...message, id: key });
    return null;
  }

  #hear(message, buffers) {
    const { type, id } = message ?? {};
    if (type === "closest" && buffers?.length) {
      this.asked.set(id, column(Float32Array, buffers[0]));
      this.on.answered();
    } else if (type === "closest") {
      this.problem = message.problem;
      this.asked.set(id, new Float32Array(0));
      this.on.answered();
    } else if (type === "history" && message.steps) {
      this.asked.set(id, { ...message, entropy: message.entropy.map((value) => value ?? NaN) });
      this.on.answered();
    } else if (type === "export") {
      this.on.tell(message.problem ? `Not exported: ${message.problem}` : `Written to ${message.written}.`);
    } else if (type === "name" && message.problem) this.on.tell(`Not kept: ${message.problem}`);
  }

  /** Closeness of every image to one, or of its stored neighbors alone; null while it is not known. */
  closeness(i, /** @type {Table} */ table, wanted) {
    const found = wanted ? this.#ask(`close ${table.step} ${i}`, { type: "closest", row: i }) : null;
    if (found?.length) return found;
    const { neighbors, K } = this;
    if (!neighbors) return this.alive ? new Float32Array(table.count) : null;
    const stored = new Float32Array(table.count).fill(NaN);
    stored[i] = 1;
    for (let k = 0; k < K; k++) if (neighbors[i * K + k] >= 0) stored[neighbors[i * K + k]] = 1 - (k + 1) / (K + 1);
    return stored;
  }

  /** The nearest images in feature space, where they are known. */
  near(i, /** @type {Table} */ table) {
    const { neighbors, K } = this;
    if (neighbors) {
      const rows = [...neighbors.subarray(i * K, (i + 1) * K)].filter((j) => j >= 0).slice(0, 12);
      return { rows, step: this.step, reason: "It is alone in feature space." };
    }
    const reason = "Nearest images need the kernel, or a map that kept them.";
    if (!this.alive) return { rows: [], step: table.step, reason };
    const found = this.#ask(`close ${table.step} ${i}`, { type: "closest", row: i });
    if (!found) return null;
    const order = [...found.keys()].filter((j) => j !== i).sort((a, b) => found[b] - found[a]);
    const why = found.length ? "It is alone in feature space." : this.problem;
    return { rows: order.slice(0, 12), step: table.step, reason: why };
  }

  /** An image through the checkpoints; of all snapshots where the kernel tells them. */
  curve(i, /** @type {History | null} */ history, /** @type {Table} */ home) {
    if (!history) return null;
    const told = history.thinned ? this.#ask(`history ${home.step} ${i}`, { type: "history", row: i }) : null;
    if (told) return told;
    const top = Math.log(home.numClasses);
    return { steps: history.steps, assignment: history.assignment.map((column_) => column_[i]),
      entropy: history.entropy.map((column_) => column_[i] * top) };
  }

  /** What a person must know of a selection that the map alone holds together. */
  warning(/** @type {ExplorerSelection} */ { shown, samples, mask }, /** @type {Table} */ table) {
    const { neighbors, K } = this;
    const n = shown.length;
    if (!neighbors || samples.length < 10 || n > 0.4 * table.count) return "";
    const chance = (2 * K * n) / table.count; // twice as many neighbors inside as chance alone would give
    let apart = 0;
    for (const i of shown) {
      let inside = 0;
      for (let k = 0; k < K; k++) inside += Number(mask?.[neighbors[i * K + k]] === 1);
      if (inside < Math.max(1, chance)) apart += 1;
    }
    return apart <= n / 2 ? "" : `${percent(apart / n)} of these images have hardly any of their nearest in feature ` +
      "space among them: what holds this group together may be the map, not the features.";
  }

  release() {
    this.model.off("msg:custom", this.hear);
  }
}
