// @ts-check
/**
 * The lab's buttons, its experiments, and the question that is asked before one of them starts.
 *
 * @typedef {{name: string, title: string, shows: string, question: string, answer: string, digits: Record<string, any>,
 *   toy: Record<string, any>}} LabExperiment  as twist.runs.experiments has them
 */

/** What a person can expect of an experiment: the words of the verdict, and what they mean here. */
const LAB_EXPECTATIONS = {
  "healthy": "healthy",
  "uniform collapse": "uniform: nobody is sure",
  "one-class collapse": "one class takes all",
  "partial collapse": "a few classes take all",
  "inconsistent views": "sure, but views disagree",
};
const LAB_REVEAL_MS = 1500; // so long must the verdict be what the experiment shows before the answer is told

class LabControls {
  /** @param {any} on  what the buttons do, by name  @param {Set<string>} hidden */
  constructor(on, hidden) {
    this.hidden = hidden;
    const button = (name, text, title) => {
      const node = make("button", { type: "button", class: `twist-lab-${name}`, text, title,
        onclick: () => on[name]() });
      node.hidden = hidden.has(name);
      return node;
    };
    this.play = button("play", "▶ Play", "Train on, in all panes");
    this.back = button("back", "‹ Back", "Pause, and be one step before");
    this.step = button("step", "Step ›", "Pause, and take one step of training");
    this.reset = button("reset", "↺ Restart", "Begin anew from the same seed, with the knobs as they are");
    this.undo = button("undo", "Undo", "");
    this.rewind = button("rewind", "Rewind", "");
    this.speed = makeSelect("Speed", { slow: "slow motion", normal: "normal", fast: "fast" }, (name) => on.speed(name));
    this.speed.value = "normal";
    this.speed.hidden = hidden.has("speed");
    this.arrows = make("button", { type: "button", class: "twist-lab-toggle", "aria-pressed": "false", title: "Where " +
      "each term alone would move a few samples, longer the more it pulls (as the root); choose samples with a click",
    onclick: () => on.arrows() },
    makeSvgNode("svg", { viewBox: "0 0 16 10", "aria-hidden": "true" }, makeSvgNode("path", { d: "M0 5h10M9 1l5 4-5 4",
      fill: "none", stroke: "currentColor", "stroke-width": "1.8" })), "Pulls");
    this.arrows.hidden = hidden.has("arrows");
    this.data = make("select", { "aria-label": "Data", onchange: () => on.data(this.data.value) });
    this.data.hidden = hidden.has("data");
    this.seed = make("input", { type: "number", min: 0, max: 2 ** 31 - 1, step: 1, value: 0, "aria-label": "Seed",
      title: "Seed of weights, order and views; another seed is another run of the same recipe.",
      "data-lm-suppress-shortcuts": "true", onkeydown: (event) => event.stopPropagation(), onchange: () => {
        const seed = clamp(Math.round(Number(this.seed.value)) || 0, 0, 2 ** 31 - 1);
        this.seed.value = String(seed);
        on.seed(seed);
      } });
    const seed = make("label", { class: "twist-lab-seed", title: this.seed.title }, "seed ", this.seed);
    seed.hidden = hidden.has("seed");
    this.beside = make("button", { type: "button", class: "twist-lab-toggle", "aria-pressed": "false", text:
      "Side by side", title: "Two experiments from one seed, step by step together", onclick: () => on.beside() });
    this.beside.hidden = hidden.has("beside");
    this.share = button("share", "Share", "Copy a link to this lab as it is set");
    this.said = make("span", { class: "twist-lab-said", role: "status" });
    const group = (name, ...nodes) => make("div", { class: "twist-lab-buttons", role: "group", "aria-label": name },
      ...nodes);
    this.node = make("header", { class: "twist-lab-controls" },
      group("Training", this.play, this.back, this.step, this.reset), group("Turned knobs", this.undo, this.rewind),
      group("Pace", this.speed, this.arrows), this.said, make("span", { class: "twist-gap" }),
      group("Set-up", this.data, seed, this.beside, this.share));
    for (const part of this.node.querySelectorAll(".twist-lab-buttons")) {
      part.hidden = [...part.children].every((child) => child.hidden);
    }
  }

  /** Offer data sets: value to words. */
  offer(/** @type {Record<string, string>} */ sets) {
    this.data.replaceChildren(...Object.entries(sets).map(([value, text]) => make("option", { value, text })));
    if (Object.keys(sets).length < 2) this.data.hidden = true;
  }

  /** Show what can be done now. */
  show({ playing, canBack, canFast, last, undoable, letter, arrows, beside, data, seed }) {
    const text = playing ? "❚❚ Pause" : "▶ Play";
    if (this.play.textContent !== text) this.play.textContent = text;
    this.play.title = playing ? "Hold all panes" : "Train on, in all panes";
    this.back.hidden = this.hidden.has("back") || !canBack;
    for (const option of this.speed.options) if (option.value === "fast") option.hidden = option.disabled = !canFast;
    for (const [button, turn, does] of [[this.undo, undoable, "Turn back from now on"],
      [this.rewind, last, "Be where it was before"]]) {
      button.disabled = !turn;
      button.title = `${does}: ${turn ? `${labTurnWords(turn)}${letter ? ` (${letter})` : ""}`
        : last ? "every turn is taken back" : "no knob was turned"}`;
    }
    this.arrows.setAttribute("aria-pressed", String(arrows));
    this.beside.setAttribute("aria-pressed", String(beside));
    if (document.activeElement !== this.data) this.data.value = data;
    if (document.activeElement !== this.seed) this.seed.value = String(seed);
  }

  /** Say something for a moment. */
  say(/** @type {string} */ words) {
    this.said.textContent = words;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => { this.said.textContent = ""; }, 6000);
  }

  release() {
    clearTimeout(this.saying);
  }
}

class LabExperiments {
  /** @param {LabExperiment[]} experiments  @param {(name: string) => void} choose */
  constructor(experiments, choose) {
    this.buttons = experiments.map((each, k) => make("button", { type: "button", "aria-pressed": "false",
      "data-experiment": each.name, title: each.question, onclick: () => choose(each.name) },
    make("span", { class: "twist-lab-number", "aria-hidden": "true", text: String(k + 1) }), each.title));
    this.target = make("span", { class: "twist-facts" });
    this.node = make("div", { class: "twist-lab-experiments", role: "group", "aria-label": "Experiments" },
      make("strong", { text: "Experiments" }), this.target, ...this.buttons);
  }

  /** Which one a pane shows. */
  show(/** @type {string} */ name, /** @type {string} */ letter) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.experiment === name));
    const words = letter ? `in ${letter}` : "";
    if (this.target.textContent !== words) this.target.textContent = words;
  }
}

/** A question before an experiment starts, and its answer when it shows. */
class LabQuiz {
  /**
   * @param {{question: HTMLElement, answer: HTMLElement, reveal: HTMLElement, headline: HTMLElement}} nodes  where
   *   they are written, the button that tells the answer early, and what all of them lie in
   * @param {string[]} kinds  verdicts that can be expected
   * @param {() => void} start
   */
  constructor({ question, answer, reveal, headline }, kinds, start) {
    Object.assign(this, { question, answer, button: reveal, headline });
    reveal.addEventListener("click", () => this.reveal());
    this.kinds = kinds;
    this.start = start;
    this.experiment = /** @type {LabExperiment | null} */ (null);
    this.end();
  }

  get asking() {
    return this.experiment !== null && !this.started;
  }

  /** Ask; the experiment waits at its start. */
  ask(/** @type {LabExperiment} */ experiment) {
    Object.assign(this, { experiment, expected: "", started: false, revealed: false, shownSince: Infinity });
    this.chips = this.kinds.map((kind) => make("button", { type: "button", "aria-pressed": "false", "data-kind": kind,
      text: LAB_EXPECTATIONS[kind] ?? kind, onclick: () => this.expect(kind) }));
    const begin = make("button", { type: "button", class: "twist-lab-begin", text: "▶ Start", onclick: () =>
      this.begin() });
    this.question.replaceChildren(
      make("p", { class: "twist-lab-big" }, make("strong", { text: "Before you start: " }), experiment.question),
      make("div", { class: "twist-lab-chips", role: "group", "aria-label": "What do you expect?" },
        make("span", { class: "twist-facts", text: "I expect" }), ...this.chips, begin,
        make("span", { class: "twist-facts twist-lab-hint", text: "or click in the plane where it will end" })));
    this.#show();
  }

  expect(/** @type {string} */ kind) {
    this.expected = this.expected === kind ? "" : kind;
    for (const chip of this.chips ?? []) chip.setAttribute("aria-pressed", String(chip.dataset.kind === this.expected));
  }

  begin() {
    if (!this.asking) return;
    this.started = true;
    this.#show();
    this.start();
  }

  /** Nothing is asked any more. */
  end() {
    Object.assign(this, { experiment: null, started: true, revealed: false, shownSince: Infinity, expected: "" });
    this.#show();
  }

  /** Told with every frame: when what the experiment is there to show has shown for a moment, the answer is told. */
  watch(/** @type {string} */ kind, /** @type {string} */ mark) {
    this.mark = mark;
    if (!this.experiment || !this.started || this.revealed) return;
    const now = performance.now();
    if (kind !== this.experiment.shows) this.shownSince = Infinity;
    else if (this.shownSince === Infinity) this.shownSince = now;
    else if (now - this.shownSince > LAB_REVEAL_MS) this.reveal();
  }

  reveal() {
    this.revealed = true;
    this.#show();
  }

  #show() {
    const { experiment, expected } = this;
    const told = experiment !== null && this.started && this.revealed;
    this.question.hidden = !this.asking;
    this.answer.hidden = !told;
    this.button.hidden = !experiment || !this.started || this.revealed;
    this.headline.classList.toggle("twist-lab-asks", this.asking);
    this.headline.classList.toggle("twist-lab-told", told);
    if (!told) return;
    const said = expected ? `✕ You expected: ${LAB_EXPECTATIONS[expected] ?? expected}. ` : "";
    const judged = expected === experiment.shows ? "✓ As you expected. " : said;
    this.answer.replaceChildren(make("strong", { text: judged }), `${experiment.question} ${experiment.answer}` +
      `${this.mark ? ` ${this.mark}` : ""}`);
  }
}
