// @ts-check
/** The histogram of sample entropies: of all images in gray, of the selection in color; a drag selects a range. */
class ExplorerHistogram {
  /** @param {{range(low: number, high: number): void}} on */
  constructor(on) {
    this.on = on;
    this.bins = 48;
    this.brush = /** @type {[number, number] | null} */ (null); // bins, both ends included
    this.dragging = false;
    this.svg = makeSvgNode("svg", { class: "twist-hist", viewBox: "0 0 480 84", preserveAspectRatio: "none",
      tabindex: "0", role: "application", "aria-roledescription": "histogram",
      onkeydown: (event) => this.#key(event) });
    this.svg.dataset.lmSuppressShortcuts = "true";
    this.ticks = make("div", { class: "twist-ticks" });
    this.words = make("span", { class: "twist-facts" });
    this.node = make("section", { class: "twist-hist-panel" },
      make("header", {}, make("h3", { text: "Sample entropy" }), make("span", { class: "twist-gap" }), this.words),
      this.svg, this.ticks);
    this.#listen();
  }

  draw(/** @type {Table} */ table, mask, active) {
    Object.assign(this, { table, top: Math.log(table.numClasses) || 1, mask });
    const [all, mine] = [new Uint32Array(this.bins), new Uint32Array(this.bins)];
    let selected = 0;
    for (let i = 0; i < table.count; i++) {
      const bin = this.#bin(table.entropy[i] / this.top);
      if (bin < 0) continue;
      all[bin] += 1;
      if (mask?.[i]) {
        mine[bin] += 1;
        selected += 1;
      }
    }
    const [from, to] = this.brush ? [Math.min(...this.brush), Math.max(...this.brush)] : [0, 0];
    const others = mine.some((n, k) => n && (k < from || k > to)); // something else was selected since
    if (!this.dragging && (!active || others)) this.brush = null;
    const bars = (counts, total, height, name) => Array.from(counts, (n, k) => {
      const tall = n ? Math.max(1, (78 * n) / total / height) : 0;
      return makeSvgNode("rect", { class: name, x: (480 * k) / this.bins + 0.5, y: 82 - tall,
        width: 480 / this.bins - 1, height: tall });
    });
    const tallest = Math.max(Math.max(...all) / table.count, mask ? Math.max(...mine) / (selected || 1) : 0) || 1;
    this.band = makeSvgNode("rect", { class: "twist-brush", y: 0, height: 84 });
    this.svg.replaceChildren(this.band, ...bars(all, table.count, tallest, "twist-all"),
      ...(mask ? bars(mine, selected || 1, tallest, "twist-mine") : []));
    const ticks = ["0", (this.top / 2).toFixed(2), `log ${table.numClasses} = ${this.top.toFixed(2)} nats`];
    this.ticks.replaceChildren(...ticks.map((text) => make("span", { text })));
    const mean = nats(explorerMeanOfAll(table.entropy));
    this.svg.setAttribute("aria-label", `Sample entropies of ${count(table.count)} images, mean ${mean}; arrow keys ` +
      "move a range, Shift widens it, Enter selects it");
    this.#mark();
  }

  #bin(share) {
    return Number.isFinite(share) ? Math.floor(clamp(share, 0, 0.99999) * this.bins) : -1;
  }

  #span() {
    const [a, b] = /** @type {[number, number]} */ (this.brush);
    const width = this.top / this.bins;
    return [Math.min(a, b) * width, (Math.max(a, b) + 1) * width];
  }

  /** Show the range, and say what it holds. */
  #mark() {
    this.band.setAttribute("visibility", this.brush ? "visible" : "hidden");
    if (!this.brush) {
      this.words.textContent = this.mask ? "shares of all (gray) and of the selection" : "drag to select a range";
      return;
    }
    const [low, high] = this.#span();
    this.band.setAttribute("x", String((480 * low) / this.top));
    this.band.setAttribute("width", String((480 * (high - low)) / this.top));
    this.words.textContent = `${low.toFixed(2)} to ${nats(high)}`;
  }

  #select() {
    if (!this.brush) return;
    const [low, high] = this.#span();
    const last = Math.max(...this.brush) === this.bins - 1;
    const first = Math.min(...this.brush) === 0;
    this.on.range(first ? -Infinity : low, last ? Infinity : high - 1e-9);
  }

  #listen() {
    const at = (event) => {
      const box = this.svg.getBoundingClientRect();
      return this.#bin((event.clientX - box.left) / box.width);
    };
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.table) return;
      this.svg.setPointerCapture(event.pointerId);
      this.dragging = true;
      this.brush = [at(event), at(event)];
      this.#mark();
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (!this.dragging || !this.brush) return;
      this.brush[1] = at(event);
      this.#mark();
    });
    this.svg.addEventListener("pointerup", () => {
      if (this.dragging) this.#select();
      this.dragging = false;
    });
    this.svg.addEventListener("pointercancel", () => (this.dragging = false));
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const [a, b] = this.brush ?? [-1, -1];
      const next = clamp(b + step, 0, this.bins - 1);
      this.brush = event.shiftKey && this.brush ? [a, next] : [next, next];
      this.#mark();
    } else if (event.key === "Enter") this.#select();
    else return;
    event.preventDefault();
  }
}
