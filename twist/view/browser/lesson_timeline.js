// @ts-check
/**
 * The lesson's time line: for every run its entropies and what could be said of it, flags where knobs were turned, and
 * the native slider below, whose thumb stands where the line through all of them stands.
 */

const LESSON_PAD = 9; // half of the slider's thumb: where its middle can be
const LESSON_LANE = 44;
const LESSON_TIMES = { slow: 40, normal: 18, fast: 8 }; // seconds for the whole way
const LESSON_BANDS = { good: "#00795a", bad: "#b45309", open: "#5d646e" };

class LessonTimeline {
  /**
   * @param {LessonRun[]} runs
   * @param {{first: number, last: number, moments: number[]}} range
   * @param {{go: (step: number) => void, play: (on: boolean) => void}} on
   */
  constructor(runs, range, on) {
    this.runs = runs;
    this.range = range;
    this.on = on;
    this.speed = "normal";
    this.step = range.first;
    this.flags = runs.flatMap((run) => run.turns.map((turn) => ({ ...turn, letter: run.letter })))
      .sort((one, other) => one.step - other.step);
    this.build();
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.strip);
  }

  build() {
    this.strip = makeSvgNode("svg", { class: "lesson-strip", "aria-hidden": "true",
      onpointerdown: (event) => this.#drag(event) });
    this.slider = make("input", { type: "range", class: "lesson-slider", min: String(this.range.first),
      max: String(this.range.last), step: "1", "aria-label": "Step",
      oninput: () => this.on.go(this.slider.valueAsNumber),
      onkeydown: (event) => this.key(event) });
    this.playing = make("button", { class: "lesson-play", onclick: () => this.on.play(!this.isPlaying) });
    this.told = make("output", { class: "lesson-told" });
    const step = (by, text, label) => make("button", { text, title: label, "aria-label": label,
      onclick: () => this.on.go(this.beside(by)) });
    const speed = makeSelect("Speed", { slow: "slow", normal: "normal speed", fast: "fast" }, (value) => {
      this.speed = value;
    });
    speed.value = "normal";
    this.ticks = make("div", { class: "lesson-ticks", "aria-hidden": "true" });
    this.chips = make("div", { class: "lesson-chips", role: "group", "aria-label": "Turned knobs" });
    this.flags.forEach((flag, k) => {
      const who = flag.letter ? `${flag.letter}, ` : "";
      this.chips.append(make("button", { class: "lesson-chip", onclick: () => this.on.go(flag.step) },
        make("b", { text: String(k + 1) }), ` ${who}step ${count(flag.step)}: ${flag.words}`));
    });
    this.chips.hidden = !this.flags.length;
    this.node = make("section", { class: "lesson-time", "aria-label": "Time" },
      make("div", { class: "lesson-keys" }, this.playing, step(-1, "‹", "One recorded moment back"),
        step(1, "›", "One recorded moment on"), speed, this.told,
        make("span", { class: "twist-gap" }), ...["diversity", "sharpness"].map((term) => make("span",
          { class: "lesson-legend" }, makeSvgNode("svg", { width: 26, height: 10, "aria-hidden": "true" },
            makeSvgNode("path", { d: "M1 5H25", class: `lesson-curve lesson-${term}` })), term)),
        make("span", { class: "twist-quiet", text: "0 to log C" })),
      make("div", { class: "lesson-line" }, this.strip, this.slider, this.ticks), this.chips);
    this.isPlaying = false;
    this.show(this.step, false);
  }

  /** Seconds for the whole way. */
  get seconds() {
    return LESSON_TIMES[this.speed];
  }

  /** The recorded moment before or after. */
  beside(/** @type {number} */ by) {
    const { moments } = this.range;
    const here = lessonUpTo(moments, this.step); // moments up to now
    if (by > 0) return moments[Math.min(moments.length - 1, here + by - 1)];
    const exact = moments[here - 1] === Math.round(this.step) ? 1 : 0;
    return moments[clamp(here + by - exact, 0, moments.length - 1)];
  }

  /** Keys of the slider: by recorded moments, not by steps, of which there may be a million. */
  key(/** @type {KeyboardEvent} */ event) {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    this.on.go(this.beside(by));
  }

  #drag(event) {
    const to = (each) => {
      const box = this.strip.getBoundingClientRect();
      const share = clamp((each.clientX - box.left - LESSON_PAD) / Math.max(1, box.width - 2 * LESSON_PAD));
      this.on.go(Math.round(this.range.first + share * (this.range.last - this.range.first)));
    };
    this.strip.setPointerCapture(event.pointerId);
    to(event);
    this.strip.addEventListener("pointermove", to);
    this.strip.addEventListener("lostpointercapture", () => this.strip.removeEventListener("pointermove", to),
      { once: true }); // also when the browser takes the pointer away
  }

  /** Show a step. */
  show(/** @type {number} */ step, /** @type {boolean} */ playing) {
    this.step = step;
    this.isPlaying = playing;
    const whole = Math.floor(step);
    this.slider.value = String(whole);
    const said = this.runs.map((run) => {
      const found = run.verdict(step);
      return `${run.letter ? `${run.letter}: ` : ""}${found ? found.title : "nothing to say yet"}`;
    }).join("; ");
    this.slider.setAttribute("aria-valuetext", `step ${count(whole)} of ${count(this.range.last)}. ${said}`);
    this.playing.textContent = playing ? "❚❚ Pause" : step >= this.range.last ? "↺ Play again" : "▶ Play";
    this.told.replaceChildren("step ", make("b", { text: count(whole) }), ` of ${count(this.range.last)}`);
    this.#mark();
  }

  #mark() {
    const x = this.#x(this.step);
    this.head?.setAttribute("x1", x);
    this.head?.setAttribute("x2", x);
    const late = 0.04 * (this.range.last - this.range.first);
    [...this.chips.children].forEach((chip, k) => {
      const { step } = this.flags[k];
      chip.classList.toggle("lesson-done", step <= this.step);
      chip.classList.toggle("lesson-now", step <= this.step && this.step - step <= late);
    });
  }

  #x(step) {
    const width = this.strip.clientWidth || this.strip.getBoundingClientRect().width;
    const share = (step - this.range.first) / Math.max(1, this.range.last - this.range.first);
    return LESSON_PAD + share * Math.max(0, width - 2 * LESSON_PAD);
  }

  draw() {
    const height = this.runs.length * LESSON_LANE + (this.flags.length ? 16 : 2);
    const width = this.strip.clientWidth || this.strip.getBoundingClientRect().width;
    if (!width) return;
    this.strip.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.strip.style.height = `${height}px`;
    const top = this.flags.length ? 16 : 2;
    const parts = this.runs.flatMap((run, k) => this.#lane(run, top + k * LESSON_LANE));
    this.flags.forEach((flag, k) => {
      const x = this.#x(flag.step);
      const before = this.flags.slice(0, k).some((each) => Math.abs(this.#x(each.step) - x) < 15);
      parts.push(makeSvgNode("line", { x1: x, x2: x, y1: 12, y2: height, class: "lesson-flag" }),
        makeSvgNode("circle", { cx: x, cy: 8, r: 7.5, class: "lesson-flag-dot" }));
      if (!before) parts.push(makeSvgNode("text", { x, y: 12, class: "lesson-flag-text", text: String(k + 1) }));
    });
    this.head = makeSvgNode("line", { y1: top - 2, y2: height, class: "lesson-head" });
    this.strip.replaceChildren(...parts, this.head);
    this.#tick(width);
    this.#mark();
  }

  /** One run: what could be said of it as a band, its two entropies above. */
  #lane(run, top) {
    const parts = [];
    const foot = top + LESSON_LANE - 15;
    const curve = top + 2;
    const end = this.#x(run.newest);
    parts.push(makeSvgNode("rect", { x: LESSON_PAD, y: curve, width: Math.max(0, end - LESSON_PAD),
      height: foot - curve - 1, class: "lesson-paper" }));
    for (let k = 0; k < run.verdicts.length;) {
      let last = k;
      while (last + 1 < run.verdicts.length && run.verdicts[last + 1].kind === run.verdicts[k].kind) last += 1;
      const { step, level, sign, kind } = run.verdicts[k];
      const next = run.verdicts[last + 1];
      const [x, until] = [this.#x(step), next ? this.#x(next.step) : end];
      parts.push(makeSvgNode("rect", { x, y: foot, width: Math.max(1.5, until - x), height: 12, rx: 2,
        fill: LESSON_BANDS[level], class: "lesson-band" }));
      const words = `${sign} ${kind}`;
      const text = until - x > 6.2 * words.length ? words : until - x > 14 ? sign : "";
      if (text) parts.push(makeSvgNode("text", { x: x + 4, y: foot + 9.5, class: "lesson-band-text", text }));
      k = last + 1;
    }
    const log = Math.log(run.num_classes) || 1;
    for (const term of ["sharpness", "diversity"]) {
      const { step } = run.way;
      const stride = Math.max(1, Math.floor(step.length / 500));
      let path = "";
      for (let k = 0; k < step.length; k += stride) {
        const y = foot - 2 - clamp(run.way[term][k] / log) * (foot - curve - 4);
        if (Number.isFinite(y)) path += `${path ? "L" : "M"}${this.#x(step[k]).toFixed(1)} ${y.toFixed(1)}`;
      }
      parts.push(makeSvgNode("path", { d: path, fill: "none", class: `lesson-curve lesson-${term}` }));
    }
    if (run.letter) parts.push(makeSvgNode("text", { x: LESSON_PAD + 4, y: curve + 12, class: "lesson-letter",
      text: run.letter }));
    return parts;
  }

  #tick(width) {
    const { first, last } = this.range;
    const about = (last - first) / Math.max(2, width / 130);
    const unit = 10 ** Math.floor(Math.log10(Math.max(1, about)));
    const gap = [1, 2, 5, 10].map((k) => k * unit).find((each) => each >= about) ?? unit;
    const nodes = [];
    for (let step = Math.ceil(first / gap) * gap; step <= last; step += gap) {
      const node = make("span", { text: count(step) });
      node.style.left = `${this.#x(step)}px`;
      nodes.push(node);
    }
    this.ticks.replaceChildren(...nodes);
  }

  release() {
    this.sized.disconnect();
  }
}
