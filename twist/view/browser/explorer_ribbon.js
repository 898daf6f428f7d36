// @ts-check
/**
 * The ribbon: classes through the checkpoints as stacked bars, and between two checkpoints the images that pass from
 * class to class. Small classes are drawn as one, so that what is drawn can be seen.
 */

const RIBBON_CLASSES = 64; // most classes drawn one by one
const RIBBON_LEAST = 0.002; // flows of a smaller share of the images are left out, unless their class is selected
const RIBBON_HEIGHT = 150;
const RIBBON_EDGE = 8; // half a slider's thumb: the bars stand under the slider's stops

class ExplorerRibbon {
  /** @param {{go(t: number): void, choose(id: number): void}} on */
  constructor(on) {
    this.on = on;
    this.svg = makeSvgNode("svg", { class: "twist-ribbon", role: "img", height: RIBBON_HEIGHT });
    this.words = make("p", { class: "twist-caption twist-ribbon-words", text: EXPLORER_RIBBON_HELP });
    this.node = make("div", { class: "twist-ribbon-panel" }, this.svg, this.words);
    this.sizes = new ResizeObserver(() => this.redraw());
    this.sizes.observe(this.svg);
    this.redraw = coalesce(() => this.#draw());
    this.svg.addEventListener("pointerover", (event) => this.#tell(event.target));
    this.svg.addEventListener("pointerleave", () => this.#tell(null));
    this.svg.addEventListener("click", (event) => this.#click(event));
  }

  /** @param {History} history */
  load(history, numClasses) {
    this.history = history;
    const { assignment } = history;
    const count = assignment[0].length;
    const usage = assignment.map((column) => {
      const counts = new Uint32Array(numClasses);
      for (const id of column) counts[id] += 1;
      return counts;
    });
    const most = Array.from({ length: numClasses }, (_, id) => Math.max(...usage.map((counts) => counts[id])));
    const large = [...most.keys()].filter((id) => most[id]).sort((a, b) => most[b] - most[a]).slice(0, RIBBON_CLASSES);
    this.drawn = new Set(large);
    this.left = most.filter((n, id) => n && !this.drawn.has(id)).length;
    /** Flows between neighbors in time, as `[earlier, later, images]`. */
    this.flows = assignment.slice(1).map((later, t) => {
      const pairs = new Map();
      for (let i = 0; i < count; i++) {
        const key = assignment[t][i] * numClasses + later[i];
        pairs.set(key, (pairs.get(key) || 0) + 1);
      }
      return [...pairs].map(([key, n]) => [Math.floor(key / numClasses), key % numClasses, n])
        .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    });
    Object.assign(this, { usage, count, numClasses });
    this.redraw();
  }

  /** @param {{at: number, chosen: number, colors: string[], nameOf(id: number): string}} state */
  show(state) {
    this.state = state;
    this.redraw();
  }

  #draw() {
    const [width, state] = [this.svg.clientWidth, this.state];
    if (!width || !this.history || !state) return;
    const { chosen, colors } = state;
    const last = this.history.steps.length - 1;
    const bar = clamp((width - 2 * RIBBON_EDGE) / (last + 1) / 4, 3, 10);
    const x = (t) => RIBBON_EDGE + ((width - 2 * RIBBON_EDGE) * t) / (last || 1);
    const tall = RIBBON_HEIGHT - 18;
    const scale = tall / this.count;
    const order = [...this.drawn].sort((a, b) => a - b);
    if (chosen >= 0 && !this.drawn.has(chosen)) order.push(chosen);
    const starts = this.usage.map((counts) => {
      const at = new Map();
      let y = 0;
      for (const id of order) {
        at.set(id, y);
        y += counts[id] * scale;
      }
      at.set(-1, y); // all others
      return at;
    });
    const group = (id) => (starts[0].has(id) ? id : -1);
    const color = (id) => (id < 0 ? "var(--line)" : colors[id]);
    const faint = (...ids) => (chosen < 0 || ids.includes(chosen) ? "" : "twist-faint");
    const parts = [];
    for (let t = 0; t < last; t++) {
      const [out, into] = [new Map(starts[t]), new Map(starts[t + 1])];
      for (const [a, b, n] of this.flows[t]) {
        const [from, to] = [group(a), group(b)];
        const [y0, y1, h] = [out.get(from), into.get(to), n * scale];
        out.set(from, y0 + h);
        into.set(to, y1 + h);
        if (n < RIBBON_LEAST * this.count && ![a, b].includes(chosen)) continue;
        const [x0, x1] = [x(t) + bar / 2, x(t + 1) - bar / 2];
        parts.push(makeSvgNode("path", { class: `twist-flow ${faint(a, b)} ${a === b ? "" : "twist-moves"}`,
          "data-flow": `${t} ${a} ${b} ${n}`, fill: color(from),
          d: explorerBand(x0, y0, x1, y1, h) }));
      }
    }
    starts.forEach((at, t) => {
      for (const [id, y] of at) {
        const n = id < 0 ? this.count - order.reduce((sum, each) => sum + this.usage[t][each], 0) : this.usage[t][id];
        if (n <= 0) continue;
        parts.push(makeSvgNode("rect", { class: faint(id), "data-bar": `${t} ${id} ${n}`, fill: color(id),
          x: (x(t) - bar / 2).toFixed(1), y: y.toFixed(1), width: bar,
          height: Math.max(0.5, n * scale - (n * scale > 3 ? 0.6 : 0)).toFixed(2) }));
      }
    });
    this.history.changes.forEach((change, t) => parts.push(this.#sign(change, t, (x(t) + x(t + 1)) / 2, x(1) - x(0))));
    const here = makeSvgNode("line", { class: "twist-now", x1: x(state.at), x2: x(state.at), y1: 0, y2: tall + 2 });
    this.svg.replaceChildren(...parts, here);
    this.place = (event) => {
      const box = this.svg.getBoundingClientRect();
      return clamp(Math.round(((event.clientX - box.left - RIBBON_EDGE) / (width - 2 * RIBBON_EDGE)) * last), 0, last);
    };
    const told = this.history.changes.map((change, t) => this.#spell(change, t)).filter(Boolean).join("; ");
    this.svg.setAttribute("aria-label", `Classes through ${count(last + 1)} checkpoints: ${
      told || "no class was born, died, split or merged"}`);
  }

  /** Births, deaths, splits and merges between two checkpoints as signs below the bars. */
  #sign(change, t, x, room) {
    const told = [["+", "born", change.born], ["−", "died", change.died], ["<", "split", change.splits],
      [">", "merged", change.merges]].filter(([, , ids]) => ids.length);
    const wide = room > 62 * told.length;
    const signs = told.map(([sign, word, ids]) => (wide ? `${ids.length} ${word}` : `${sign}${ids.length}`));
    if (room < 30 && signs.length) signs.splice(0, signs.length, "•"); // hovering tells
    const fits = signs.slice(0, Math.max(1, Math.floor(room / (wide ? 50 : 22))));
    return makeSvgNode("text", { class: "twist-sign", x: x.toFixed(1), y: RIBBON_HEIGHT - 4, "data-sign": String(t),
      "text-anchor": "middle", text: fits.join(wide ? " · " : " ") + (fits.length < signs.length ? "…" : "") });
  }

  #spell(change, t) {
    const { nameOf } = /** @type {any} */ (this.state);
    const more = (ids) => (ids.length > 6 ? ` and ${ids.length - 6} more` : "");
    const list = (ids) => ids.slice(0, 6).map(nameOf).join(", ") + more(ids);
    const said = [];
    if (change.born.length) said.push(`born: ${list(change.born)}`);
    if (change.died.length) said.push(`died: ${list(change.died)}`);
    for (const [source, ...into] of change.splits.slice(0, 4)) said.push(`${nameOf(source)} split into ${list(into)}`);
    for (const [into, ...from] of change.merges.slice(0, 4)) said.push(`${list(from)} merged into ${nameOf(into)}`);
    return said.length ? `${this.#steps(t)}, ${said.join("; ")}` : "";
  }

  #steps(t) {
    return `step ${count(this.history.steps[t])} to ${count(this.history.steps[t + 1])}`;
  }

  #tell(target) {
    const { nameOf } = this.state ?? {};
    const { flow, bar, sign } = target?.dataset ?? {};
    let words = EXPLORER_RIBBON_HELP;
    if (flow) {
      const [t, a, b, n] = flow.split(" ").map(Number);
      const share = percent(n / this.usage[t][a]);
      const way = a === b ? `Class ${nameOf(a)} keeps` : `From class ${nameOf(a)} to class ${nameOf(b)}:`;
      words = `${way} ${count(n)} images, ${share} of it, ${this.#steps(t)}.`;
    } else if (bar) {
      const [t, id, n] = bar.split(" ").map(Number);
      words = `${id < 0 ? `${count(this.left)} smaller classes` : `Class ${nameOf(id)}`} at step ${
        count(this.history.steps[t])}: ${count(n)} images, ${percent(n / this.count, 1)}.`;
    } else if (sign !== undefined) {
      const told = this.#spell(this.history.changes[Number(sign)], Number(sign));
      if (told) words = `${told[0].toUpperCase()}${told.slice(1)}.`;
    }
    this.words.textContent = words;
  }

  #click(event) {
    const { bar, flow } = event.target.dataset;
    const id = bar ? Number(bar.split(" ")[1]) : -1;
    if (bar && id >= 0 && event.detail === 2) return this.on.choose(id);
    return this.on.go(flow || bar || this.place ? this.place(event) : 0);
  }

  release() {
    this.sizes.disconnect();
    this.redraw.cancel();
  }
}

const EXPLORER_RIBBON_HELP = "Bars are the classes at each checkpoint, bands the images that pass between them. " +
  "Below: + born, − died, < split, > merged. Click goes there, double-click on a bar selects its class.";

/** A band of one height between two places, as the path of an SVG. */
function explorerBand(x0, y0, x1, y1, height) {
  const [left, right, middle] = [x0, x1, (x0 + x1) / 2].map((x) => x.toFixed(1));
  const [from, to, below, under] = [y0, y1, y0 + height, y1 + height].map((y) => y.toFixed(1));
  return `M${left},${from}C${middle},${from} ${middle},${to} ${right},${to}V${under}C${middle},${under} ${middle},${
    below} ${left},${below}z`;
}
