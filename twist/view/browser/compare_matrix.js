// ---------------------------------------------------------------------------------------------------------------------
// A table of counts as a heat map with cells to choose: rows are classes of one run, columns those of the other.

const MATRIX_HUE = [0, 114, 178];

class Matrix {
  /** @param {{choose(row: number, column: number): void, hover(row: number, column: number): void}} on */
  constructor(on) {
    this.on = on;
    this.canvas = make("canvas", { tabindex: "0", role: "application", "aria-label": "table of classes" });
    this.node = make("div", { class: "twist-matrix" }, this.canvas);
    this.cursor = [0, 0];
    this.hovered = null;
    this.redraw = coalesce(() => this.#draw());
    this.canvas.addEventListener("pointermove", (event) => this.#move(this.#at(event)));
    this.canvas.addEventListener("pointerleave", () => this.#move(null));
    this.canvas.addEventListener("click", (event) => {
      const cell = this.#at(event);
      if (cell) this.#take(cell);
    });
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    this.canvas.addEventListener("focus", this.redraw);
    this.canvas.addEventListener("blur", this.redraw);
    this.resized = new ResizeObserver(this.redraw);
    this.resized.observe(this.node);
  }

  /**
   * @param {{rows: number[], columns: number[], counts: Int32Array, rowTitles: string[], columnTitles: string[],
   *   partners: number[], names: string[], letters: string[], hues: string[]}} data
   */
  show(data) {
    this.data = data;
    const totals = data.rows.map((_, r) => data.columns.reduce((sum, _, c) => sum
      + data.counts[r * data.columns.length + c], 0));
    this.totals = totals;
    this.cursor = [Math.min(this.cursor[0], data.rows.length - 1), Math.min(this.cursor[1], data.columns.length - 1)];
    this.redraw();
  }

  choose(cell) {
    this.chosen = cell;
    this.redraw();
  }

  /** Whether cells are large enough for their classes to be named. */
  get named() {
    return this.#layout().cell >= 13;
  }

  countOf([r, c]) {
    return this.data.counts[r * this.data.columns.length + c];
  }

  #take(cell) {
    this.cursor = cell;
    this.on.choose(...cell);
  }

  #move(cell) {
    const key = cell?.join();
    if (key === this.hovered?.join()) return;
    this.hovered = cell;
    this.canvas.style.cursor = cell ? "pointer" : "default";
    this.on.hover(...(cell ?? [-1, -1]));
    this.redraw();
  }

  #key(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    if (!step) return this.#take(this.cursor);
    const { rows, columns } = this.data;
    this.cursor = [clamp(this.cursor[0] + step[0], 0, rows.length - 1),
      clamp(this.cursor[1] + step[1], 0, columns.length - 1)];
    this.on.hover(...this.cursor);
    this.redraw();
  }

  /** Sides in pixels: the margins hold the names of classes while they can be read. */
  #layout() {
    const { rows, columns, rowTitles, columnTitles } = this.data;
    const width = Math.max(200, this.node.clientWidth);
    const longest = (titles) => Math.min(16, Math.max(0, ...titles.map((title) => title.length)));
    let [left, top] = [34, 44];
    let cell = Math.min(40, (width - left - 4) / columns.length, 560 / rows.length);
    if (cell >= 13) {
      left += 12 + 6.2 * longest(rowTitles);
      top += 12 + 6.2 * longest(columnTitles);
      cell = Math.min(40, (width - left - 4) / columns.length, Math.max(360, 560 - top) / rows.length);
    }
    cell = Math.max(2, cell);
    return { left, top, cell, width: left + cell * columns.length + 2, height: top + cell * rows.length + 2 };
  }

  #at(event) {
    if (!this.data) return null;
    const { left, top, cell } = this.#layout();
    const [r, c] = [Math.floor((event.offsetY - top) / cell), Math.floor((event.offsetX - left) / cell)];
    return r >= 0 && c >= 0 && r < this.data.rows.length && c < this.data.columns.length ? [r, c] : null;
  }

  #draw() {
    if (!this.data || !this.node.isConnected) return;
    const { rows, columns, counts, rowTitles, columnTitles, partners, names, letters, hues } = this.data;
    const { left, top, cell, width, height } = this.#layout();
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(this.node);
    const [ink, quiet, line] = [style.color, style.outlineColor, style.borderColor];
    const hue = (side) => hues[side] || ink;
    context.scale(scale, scale);
    context.font = `600 12px ${style.fontFamily}`;
    context.textBaseline = "middle";
    context.fillStyle = hue(1);
    const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
    context.fillText(`${letters[1]}  ${short(names[1], 30)} →`, left, 10);
    context.save();
    context.translate(10, Math.min(height - 4, top + Math.max(cell * rows.length, 120)));
    context.rotate(-Math.PI / 2);
    context.fillStyle = hue(0);
    context.fillText(`← ${short(names[0], 30)}  ${letters[0]}`, 0, 0);
    context.restore();
    const { named } = this;
    context.font = `${Math.min(12, cell)}px ${style.fontFamily}`;
    for (let r = 0; r < rows.length; r++) {
      for (let c = 0; c < columns.length; c++) {
        const n = counts[r * columns.length + c];
        const share = n / this.totals[r];
        const [x, y] = [left + c * cell, top + r * cell];
        context.fillStyle = n ? `rgb(${MATRIX_HUE.join(" ")} / ${0.14 + 0.86 * share ** 0.7})` : "transparent";
        context.fillRect(x, y, cell - (cell > 6 ? 1 : 0), cell - (cell > 6 ? 1 : 0));
        if (cell >= 22 && n) {
          context.fillStyle = share > 0.45 ? "#ffffff" : ink;
          context.textAlign = "center";
          const words = n < 10_000 ? String(n) : `${Math.round(n / 1000)}k`;
          context.font = `${cell >= 32 ? 11 : 9}px ${style.fontFamily}`;
          context.fillText(words, x + cell / 2 - 0.5, y + cell / 2);
        }
      }
      if (partners[r] >= 0 && cell >= 5) { // the matched class, framed: so that color is not alone
        const c = columns.indexOf(partners[r]);
        context.strokeStyle = quiet;
        context.lineWidth = 1;
        context.strokeRect(left + c * cell + 0.5, top + r * cell + 0.5, cell - 2, cell - 2);
      }
    }
    context.textAlign = "right";
    context.font = `11px ${style.fontFamily}`;
    context.fillStyle = ink;
    if (named) {
      /** The number of a class, and in gray the label that most of its images have, away from the cells. */
      const name = (number, label, outward) => {
        context.textAlign = outward < 0 ? "right" : "left";
        context.fillStyle = ink;
        context.font = `600 11px ${style.fontFamily}`;
        context.fillText(String(number), 0, 0);
        const step = context.measureText(String(number)).width + 7;
        context.fillStyle = quiet;
        context.font = `11px ${style.fontFamily}`;
        context.fillText(short(label, 16), outward * step, 0);
      };
      const at = (x, y, turn, write) => {
        context.save();
        context.translate(x, y);
        context.rotate(turn);
        write();
        context.restore();
      };
      rows.forEach((number, r) => at(left - 6, top + (r + 0.5) * cell, 0, () => name(number, rowTitles[r], -1)));
      columns.forEach((number, c) =>
        at(left + (c + 0.5) * cell, top - 6, -Math.PI / 2, () => name(number, columnTitles[c], 1)));
    }
    context.strokeStyle = line;
    context.strokeRect(left - 0.5, top - 0.5, cell * columns.length, cell * rows.length);
    const frame = (at, color, thick) => {
      context.strokeStyle = color;
      context.lineWidth = thick;
      context.strokeRect(left + at[1] * cell, top + at[0] * cell, cell - 1, cell - 1);
    };
    if (this.hovered) frame(this.hovered, ink, 1.5);
    if (document.activeElement === this.canvas
      || this.canvas.getRootNode().activeElement === this.canvas) frame(this.cursor, "#56b4e9", 2);
    if (this.chosen) frame(this.chosen, "#d55e00", 2.5);
  }

  release() {
    this.resized.disconnect();
    this.redraw.cancel();
  }
}
