// @ts-check
/** One image of a lesson: what it shows, the classes it is given now, and its entropy and class through time. */

const LESSON_SIDE = 96;
const LESSON_BARS = 6;
const LESSON_CHART = { width: 260, height: 112, left: 40, top: 8, bottom: 30 };
const LESSON_DASHES = ["", "5 3"]; // of run A and run B

class LessonInspector {
  constructor(/** @type {LessonRun[]} */ runs, range, /** @type {(run: LessonRun) => any} */ imagesOf, go) {
    this.all = this.runs = runs.filter((run) => run.frames);
    this.range = range;
    this.imagesOf = imagesOf;
    this.go = go;
    this.row = -1;
    this.picture = make("span", { class: "lesson-image", role: "img" });
    this.title = make("h3", {});
    this.note = make("p", { class: "twist-quiet" });
    this.bars = make("div", { class: "lesson-bars" });
    this.chart = makeSvgNode("svg", { class: "lesson-chart", role: "img",
      viewBox: `0 0 ${LESSON_CHART.width} ${LESSON_CHART.height}`, onclick: (event) => this.#click(event) });
    this.key = make("p", { class: "twist-caption" });
    this.node = make("section", { class: "lesson-inspector", "aria-label": "One image" },
      make("div", { class: "lesson-who" }, this.picture, make("div", {}, this.title, this.note, this.bars)),
      make("div", { class: "lesson-through" }, this.chart, this.key));
    this.node.hidden = !this.runs.length;
  }

  /**
   * Show an image.
   * @param {number} row
   * @param {number} step
   * @param {LessonRun | null} of  the run whose row it is; null where it is that of all
   * @param {string} note  why this one
   */
  show(row, step, of, note) {
    const { thumbnails, table } = this.imagesOf(of ?? this.runs[0]);
    if (row !== this.row || (of && of !== this.runs[0])) {
      this.row = row;
      this.runs = of ? [of] : this.all;
      const label = table.labels?.length ? lessonLabel(table, row) : "";
      const id = table.sample_ids ? table.sample_ids[row] : row;
      this.title.textContent = `Image ${count(id)}${label ? ` · ${label}` : ""}`;
      this.picture.setAttribute("aria-label", `image ${id}${label ? `, label ${label}` : ""}`);
      if (table.sheets?.length) thumbnails.show(this.picture, row, LESSON_SIDE);
      this.picture.classList.toggle("lesson-missing", !table.sheets?.length);
      this.node.dataset.row = String(row);
      this.#draw();
    }
    this.note.textContent = note;
    this.#bars(step);
    this.#now(step);
  }

  #bars(step) {
    const nodes = this.runs.map((run) => {
      run.lay(step);
      const seen = run.seen[this.row] >= 0;
      const own = run.distribution(this.row, Math.min(LESSON_BARS, run.frames.kept));
      const rest = 1 - own.reduce((sum, { p }) => sum + p, 0);
      const named = [...own.map(({ c, p }) => [`class ${c}`, p]),
        ...(own.length < run.num_classes ? [[`${run.num_classes - own.length} others`, Math.max(0, rest)]] : [])];
      const lines = seen ? named.map(([text, p]) => {
        const bar = make("i", {});
        bar.style.width = `${100 * p}%`;
        return make("div", { class: "lesson-bar" }, make("span", { text }),
          make("span", { class: "lesson-rail" }, bar), make("span", { text: percent(p) }));
      }) : [make("p", { class: "twist-quiet", text: "Training had not seen it by then." })];
      return make("div", {}, ...(run.letter ? [make("b", { text: run.letter })] : []), ...lines);
    });
    this.bars.replaceChildren(...nodes);
  }

  #x(step) {
    const { width, left } = LESSON_CHART;
    return left + ((step - this.range.first) / Math.max(1, this.range.last - this.range.first)) * (width - left - 6);
  }

  #y(value, log) {
    const { height, top, bottom } = LESSON_CHART;
    return height - bottom - clamp(value / log) * (height - top - bottom);
  }

  #click(event) {
    const box = this.chart.getBoundingClientRect();
    const { width, left } = LESSON_CHART;
    const share = clamp((((event.clientX - box.left) / box.width) * width - left) / (width - left - 6));
    this.go(Math.round(this.range.first + share * (this.range.last - this.range.first)));
  }

  /** Its entropy through time, and a ribbon of its classes. */
  #draw() {
    const { width, height, left, top, bottom } = LESSON_CHART;
    const foot = height - bottom;
    const line = (y, text) => [
      makeSvgNode("line", { x1: left, x2: width - 6, y1: y, y2: y, class: "lesson-rule" }),
      makeSvgNode("text", { x: left - 4, y: y + 4, "text-anchor": "end", class: "lesson-tick", text })];
    const parts = [...line(top, `log ${this.runs[0].num_classes}`), ...line(foot, "0")];
    const told = [];
    this.runs.forEach((run, k) => {
      const log = Math.log(run.num_classes) || 1;
      const { steps } = run.frames;
      let path = "";
      const ribbon = [];
      steps.forEach((step, frame) => {
        const value = run.entropy(this.row, frame);
        if (!Number.isFinite(value)) return;
        path += `${path ? "L" : "M"}${this.#x(step).toFixed(1)} ${this.#y(value, log).toFixed(1)}`;
        const { c } = run.likeliest(this.row, frame);
        if (ribbon.at(-1)?.c === c) ribbon[ribbon.length - 1].until = steps[frame + 1] ?? step;
        else ribbon.push({ c, from: step, until: steps[frame + 1] ?? step });
      });
      const y = foot + 4 + 12 * k;
      for (const { c, from, until } of ribbon) {
        const wide = Math.max(1, this.#x(until) - this.#x(from));
        parts.push(makeSvgNode("rect", { x: this.#x(from), y, width: wide, height: 10,
          class: `lesson-class lesson-class-${c % 4}` }));
        if (wide > 9) parts.push(makeSvgNode("text", { x: this.#x(from) + 2, y: y + 8.5,
          class: `lesson-class-text lesson-on-${c % 4}`, text: String(c) }));
      }
      if (run.letter) parts.push(makeSvgNode("text", { x: left - 4, y: y + 9, "text-anchor": "end",
        class: "lesson-tick", text: run.letter }));
      parts.push(makeSvgNode("path", { d: path, fill: "none", class: "lesson-entropy",
        "stroke-dasharray": LESSON_DASHES[k] }));
      const last = run.entropy(this.row, steps.length - 1);
      const changes = ribbon.length - 1;
      told.push(`${run.letter ? `${run.letter}: ` : ""}ends at ${nats(last)}, after ` +
        `${changes === 1 ? "1 change" : `${changes} changes`} of class`);
    });
    this.head = makeSvgNode("line", { y1: top - 4, y2: foot + 3, class: "lesson-head" });
    this.dots = this.runs.map((_, k) => makeSvgNode("circle", { r: 4, class: `lesson-dot lesson-dot-${k}` }));
    this.chart.replaceChildren(...parts, this.head, ...this.dots);
    this.chart.setAttribute("aria-label", `Entropy of this image through time: ${told.join("; ")}`);
    this.key.textContent = `Its entropy, nats: 0 sure, log ${this.runs[0].num_classes} cannot tell. Below, its class.` +
      (this.runs.length > 1 ? " A solid, B dashed." : this.all.length > 1 ? ` Of ${this.runs[0].letter}.` : "");
  }

  #now(step) {
    const x = String(this.#x(clamp(step, this.range.first, this.range.last)));
    this.head?.setAttribute("x1", x);
    this.head?.setAttribute("x2", x);
    this.runs.forEach((run, k) => {
      const { a, b, share } = run.around(step);
      const [from, to] = [run.entropy(this.row, a), run.entropy(this.row, b)];
      const value = Number.isFinite(to) ? from + share * (to - from) : from;
      const dot = this.dots?.[k];
      dot?.setAttribute("visibility", Number.isFinite(value) ? "visible" : "hidden");
      if (!Number.isFinite(value)) return;
      dot?.setAttribute("cx", this.#x(Math.min(step, run.frames.steps.at(-1))));
      dot?.setAttribute("cy", this.#y(value, Math.log(run.num_classes) || 1));
    });
  }
}

/** The label of an image in words; empty where it has none. */
function lessonLabel(table, /** @type {number} */ row) {
  return table.label_names[table.labels[row]] ?? "unlabeled";
}
