// @ts-check
/**
 * The collapse lab: one or two experiments that train while their knobs are turned, for a widget and for a page alone.
 *
 * @typedef {object} LabFrame  the newest state of an experiment
 * @property {number} step
 * @property {number} numClasses  C
 * @property {number} batchSize  N of the batch that the terms are of
 * @property {"batch" | "none"} finalNorm
 * @property {number} temperature
 * @property {number} consistency  nats, of the newest batch, as the following two
 * @property {number} sharpness
 * @property {number} diversity
 * @property {number} total
 * @property {number} agreement  0..1
 * @property {number} classPerplexity
 * @property {number} count  M dots
 * @property {Float32Array} probs  [M*C], the newest distribution of every sample, mean of its two views
 * @property {Int32Array} visited  [M], the step it is of; −1 never
 * @property {Uint8Array | null} labels  ground truth, for color and shape only
 * @property {string[] | null} labelNames
 * @property {Int32Array} batch  rows of the newest batch
 * @property {Float32Array} views  [2*B*C], both views' distributions of it, view-major
 * @property {Float32Array | null} points  [2*M], where the toy's samples lie
 *
 * @typedef {object} Bench  what runs an experiment: ToyBench in the page, DigitsBench behind the kernel
 * @property {"toy" | "digits"} kind
 * @property {"starting" | "running" | "paused" | "finished" | "failed"} state
 * @property {string} message  words for a person
 * @property {Record<string, any>} knobs
 * @property {Record<string, any>} defaults  the healthy setting
 * @property {LabTurn[]} turns
 * @property {LabTurn | null} [undoable]  the one that undo takes back, where it may be another than the last
 * @property {PlaneTrail} trail
 * @property {LabFrame | null} frame
 * @property {LabWords | null} verdict
 * @property {LabWords | null} runVerdict
 * @property {() => void} play
 * @property {() => void} pause
 * @property {() => void} stepOnce
 * @property {(changes?: Record<string, any>, experiment?: string) => void} restart
 * @property {(changes: Record<string, any>) => void} turn
 * @property {() => void} undo  takes the last turn back
 * @property {() => void} rewind  back to the state before the last turn
 * @property {() => void} close
 * @property {(callback: () => void) => () => void} subscribe  told at most once a frame; returns what ends it
 * @property {(xy: Float32Array) => {probs: Float32Array}} [classify]  toy
 * @property {(row: number) => any} image  digits: {url, x, y, width, height, sheetWidth}, or a promise of it; else null
 * @property {(points: number[]) => void} [setPoints]  toy
 * @property {ArrayLike<number>} [drawn]  toy
 * @property {(speed: number) => void} [setSpeed]  toy
 * @property {() => void} [stepBack]  toy
 *
 * @typedef {{pane: "a" | "b", seed: number, data: string, knobs: Record<string, any>, experiment: string,
 *   points?: number[]}} BenchOptions  `data` is "digits" or the name of a toy's set; `knobs` those that are not healthy
 *
 * @typedef {object} LabOptions
 * @property {{toy?: (options: BenchOptions) => any, digits?: (options: BenchOptions) => any}} benches  how a bench of a
 *   kind is made; only kinds that are there are offered
 * @property {LabExperiment[]} experiments
 * @property {string[]} [hide]  controls to leave out, see LAB_HIDEABLE
 * @property {SharedLab & {play?: boolean}} [start]  what is set up first, see lab_share.js; `play: false` waits
 * @property {(state: SharedLab) => string | Promise<string>} [share]  called by the button Share; returns what is said
 * @property {(state: SharedLab) => void} [onchange]  told when what a link would say has changed
 * @property {Model} [model]  the widget's
 */

/** What a teacher can hide; besides these every knob, by its field name. A short name may stand for several. */
const LAB_HIDEABLE = { knobs: [], sentence: [], experiments: [], regions: [], simplex: [], plane: [], play: [],
  back: [], step: [], reset: [], undo: ["undo", "rewind"], speed: [], arrows: [], data: [], seed: [], beside: [],
  share: [], numbers: [], captions: [], weights: LAB_LIVE.slice(0, 3).map((knob) => knob.field),
  consistency: [LAB_LIVE[0].field],
  sharpness: [LAB_LIVE[1].field], diversity: [LAB_LIVE[2].field], temperature: [LAB_LIVE[3].field],
  rate: [LAB_LIVE[4].field], views: [LAB_LIVE[5].field], norm: [LAB_FROM_START[0].field],
  classes: [LAB_FROM_START[1].field], batch: [LAB_FROM_START[2].field],
  restart: LAB_FROM_START.map((knob) => knob.field) };
const LAB_LETTERS = ["A", "B"];
const LAB_TOY_SPEEDS = { slow: 1.5, normal: 60, fast: 240 };
const LAB_SLOW_MS = 800;
const LAB_MOST_LEAD = 30; // steps that one of two runs may be ahead of the other
const LAB_OWN = new Set(["seed", "data.source"]); // knobs of the whole lab, not of a pane

class LabView {
  /** @param {HTMLElement} el  @param {LabOptions} options */
  constructor(el, options) {
    this.options = options;
    this.hidden = new Set((options.hide ?? []).flatMap((name) =>
      [name, ...(Object.hasOwn(LAB_HIDEABLE, name) ? LAB_HIDEABLE[name] : [])]));
    const start = options.start ?? {};
    const kinds = options.benches;
    const data = start.data === "toy" || !start.data ? (kinds.toy ? "blobs" : "digits") : start.data;
    this.data = (data === "digits" ? kinds.digits : kinds.toy) ? data : kinds.toy ? "blobs" : "digits";
    this.seed = start.seed ?? 0;
    this.points = (start.points ?? []).flatMap(([x, y]) => [x, y]);
    this.panes = /** @type {LabPane[]} */ ([]);
    this.controls = new LabControls({ play: () => this.togglePlay(), back: () => this.stepBack(),
      step: () => this.step(), reset: () => this.reset(), undo: () => this.active.bench.undo(),
      rewind: () => this.active.bench.rewind(), speed: (name) => this.setSpeed(name),
      arrows: () => this.showArrows(!this.arrows), data: (name) => this.setData(name),
      seed: (seed) => this.setSeed(seed), beside: () => this.setBeside(this.panes.length < 2),
      share: () => this.share() }, new Set([...this.hidden, ...(options.share ? [] : ["share"])]));
    this.controls.offer(this.#sets());
    this.experiments = new LabExperiments(options.experiments, (name) => this.experiment(name));
    this.experiments.node.hidden = this.hidden.has("experiments") || !options.experiments.length;
    this.grid = make("div", { class: "twist-lab-panes" });
    this.numbers = new LabNumbers();
    this.numbers.node.hidden = this.hidden.has("numbers");
    this.numbers.node.addEventListener("toggle", () => this.numbers.show(this.panes));
    this.note = make("p", { class: "twist-caption twist-lab-note", hidden: "" });
    this.root = make("div", { class: "twist twist-lab" }, this.controls.node, this.experiments.node, this.grid,
      this.numbers.node, this.note);
    this.root.classList.toggle("twist-lab-no-captions", this.hidden.has("captions"));
    el.append(this.root);
    this.speed = "normal";
    this.arrows = false;
    const panes = start.panes?.length ? start.panes.slice(0, 2) : [{ knobs: {} }];
    panes.forEach((pane) => this.#add(pane));
    this.active = this.panes[0];
    this.#letters();
    this.refresh();
    const goesOn = this.panes.some((pane) => pane.bench.continues); // another view has it play or pause already
    if (start.play !== false && !goesOn && !this.panes.some((pane) => pane.quiz.asking)) this.play();
  }

  get kind() {
    return this.data === "digits" ? "digits" : "toy";
  }

  #sets() {
    const { benches } = this.options;
    const sets = /** @type {Record<string, string>} */ ({});
    if (benches.digits) sets.digits = "Digits (real training)";
    if (benches.toy) {
      for (const [name, set] of Object.entries(TOY_SETS)) sets[name] = set.title;
      sets.drawn = "Draw your own";
    }
    return sets;
  }

  // -- panes ---------------------------------------------------------------------------------------------------------

  /** An experiment of a name, or null. */
  named(name) {
    return this.options.experiments.find((each) => each.name === name) ?? null;
  }

  #make(index, { knobs = {}, experiment = "" }) {
    const make = /** @type {any} */ (this.options.benches[this.kind]);
    return make({ pane: LAB_LETTERS[index].toLowerCase(), seed: this.seed, data: this.data, experiment,
      knobs: { ...this.named(experiment)?.[this.kind], ...knobs }, points: this.points });
  }

  #add(/** @type {{experiment?: string, knobs?: Record<string, any>}} */ state) {
    const index = this.panes.length;
    const bench = this.#make(index, state);
    const pane = new LabPane("", bench, {
      turn: (from, changes) => this.#guard(() => from.bench.turn(changes)),
      restart: (from, changes) => this.#guard(() => this.restart(from, changes)),
      drawn: (points) => this.draw(points),
      guess: (from, place) => { from.guess = place; from.refresh(); },
      use: (from) => this.use(from),
      refreshed: (from) => this.#refreshed(from),
      showArrows: (shown) => this.showArrows(shown),
    }, this.hidden);
    pane.quiz = new LabQuiz(pane, Object.keys(LAB_EXPECTATIONS), () => this.#begin(pane));
    pane.experiment = this.named(state.experiment)?.name ?? "";
    bench.setSpeed?.(LAB_TOY_SPEEDS[this.speed ?? "normal"]);
    this.panes.push(pane);
    this.grid.append(pane.node);
    const asked = this.named(pane.experiment);
    if (asked && !bench.continues) this.#ask(pane, asked);
  }

  /** Letters and ghosts: only two panes need them. */
  #letters() {
    const two = this.panes.length === 2;
    this.root.dataset.panes = String(this.panes.length);
    this.panes.forEach((pane, k) => {
      pane.twin = two ? this.panes[1 - k] : null;
      pane.node.dataset.pane = LAB_LETTERS[k].toLowerCase();
      pane.rename(two ? LAB_LETTERS[k] : "");
      pane.refresh();
    });
  }

  /** The pane that experiments, undo and rewind are of: the one last touched. */
  use(/** @type {LabPane} */ pane) {
    if (pane === this.active) return;
    this.active = pane;
    this.refresh();
  }

  setBeside(/** @type {boolean} */ beside) {
    if (beside === this.panes.length > 1) return;
    if (beside) {
      const first = this.panes[0];
      const source = first.bench.knobs["data.source"];
      this.#add({ knobs: { ...this.#changes(first), ...(source ? { "data.source": source } : {}) } });
      this.panes[1].experiment = first.experiment;
      this.controls.say("Both begin anew from the same seed.");
      first.bench.restart();
    } else {
      this.panes.pop()?.release();
    }
    this.held = null;
    this.active = this.panes[this.panes.length - 1];
    this.#letters();
    this.options.model?.set("side_by_side", beside);
    this.options.model?.save_changes();
    this.changed();
    if (!this.panes.some((pane) => pane.quiz.asking)) this.play();
  }

  /** Knobs of a pane that differ from the healthy setting. */
  #changes(pane) {
    const { knobs, defaults = {} } = pane.bench;
    return Object.fromEntries(Object.entries(knobs).filter(([name, value]) =>
      !LAB_OWN.has(name) && name in defaults && defaults[name] !== value));
  }

  // -- time ----------------------------------------------------------------------------------------------------------

  get playing() {
    return this.ticking !== undefined || this.panes.some(({ bench, quiz }) => !quiz?.asking &&
      (bench.state === "running" || bench.state === "starting"));
  }

  togglePlay() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    for (const pane of this.panes) pane.quiz.begin();
    this.#go();
    this.refresh();
  }

  #go() {
    if (this.speed === "slow" && !this.panes[0].bench.setSpeed) {
      this.ticking ??= setInterval(() => this.panes.forEach(({ bench }) => bench.stepOnce()), LAB_SLOW_MS);
    } else this.panes.forEach(({ bench }) => bench.play());
  }

  pause() {
    clearInterval(this.ticking);
    this.ticking = undefined;
    this.held = null;
    this.panes.forEach(({ bench }) => bench.pause());
    this.refresh();
  }

  step() {
    for (const pane of this.panes) pane.quiz.begin();
    this.pause();
    this.showArrows(true);
    for (const pane of this.panes) pane.bench.stepOnce();
  }

  stepBack() {
    this.pause();
    this.showArrows(true);
    this.panes.forEach(({ bench }) => bench.stepBack?.());
  }

  setSpeed(/** @type {string} */ speed) {
    const playing = this.playing;
    if (playing) this.pause();
    this.speed = speed;
    this.panes.forEach(({ bench }) => bench.setSpeed?.(LAB_TOY_SPEEDS[speed]));
    if (speed === "slow") this.showArrows(true);
    if (speed === "fast") this.showArrows(false);
    if (playing) this.#go();
    this.refresh();
  }

  /** Two runs go together: one that is far ahead waits. */
  #together() {
    const [a, b] = this.panes.map((pane) => pane.bench.frame?.step ?? 0);
    if (this.panes.length < 2 || this.panes[0].bench.setSpeed || this.ticking !== undefined) return;
    const first = this.panes[a > b ? 0 : 1];
    const lead = Math.abs(a - b);
    if (!this.held && lead > LAB_MOST_LEAD && this.panes.every(({ bench }) => bench.state === "running")) {
      this.held = first;
      first.bench.pause();
    } else if (this.held && (lead < LAB_MOST_LEAD / 4 || first !== this.held)) {
      this.held.bench.play();
      this.held = null;
    }
  }

  // -- what a person sets --------------------------------------------------------------------------------------------

  /** A knob out of its range is said, not thrown. */
  #guard(work) {
    try {
      work();
    } catch (error) {
      this.controls.say(error instanceof Error ? error.message : String(error));
    }
    this.changed();
  }

  restart(/** @type {LabPane} */ pane, /** @type {Record<string, any>} */ changes) {
    this.#unask(pane);
    const playing = this.playing;
    pane.bench.restart(changes, pane.experiment);
    const twin = pane.twin;
    if (twin) twin.bench.restart(); // both from the start, or their steps mean nothing
    if (playing) this.#go();
    this.refresh();
  }

  reset() {
    const playing = this.playing;
    for (const pane of this.panes) {
      pane.guess = null;
      pane.bench.restart();
      if (pane.quiz.asking) pane.bench.pause(); // its question waits for an answer, or for play
    }
    if (playing) this.#go();
    this.refresh();
  }

  /** Set an experiment up in the active pane, and ask what will happen. */
  experiment(/** @type {string} */ name) {
    const found = this.named(name);
    if (!found) return;
    const pane = this.active;
    this.pause();
    pane.experiment = name;
    const healthy = Object.entries(pane.bench.defaults ?? {}).filter(([field]) => !LAB_OWN.has(field));
    const points = this.kind === "toy" ? { "data.source": this.data } : {}; // an experiment may bring its own
    pane.bench.restart({ ...Object.fromEntries(healthy), ...points, ...found[this.kind] }, name);
    if (pane.twin) pane.twin.bench.restart();
    this.#ask(pane, found);
    this.pause();
    this.changed();
  }

  #ask(pane, experiment) {
    pane.guess = null;
    pane.quiz.ask(experiment);
    pane.plane.picture.pick(true);
    pane.bench.pause();
    pane.refresh();
  }

  /** Nothing is asked of it any more. */
  #unask(pane) {
    pane.guess = null;
    pane.quiz.end();
    pane.plane.picture.pick(false);
  }

  #begin(pane) {
    pane.plane.picture.pick(false);
    if (!this.panes.some(({ quiz }) => quiz.asking)) this.#go();
    this.refresh();
  }

  setData(/** @type {string} */ data) {
    const other = (data === "digits") !== (this.kind === "digits");
    this.data = data;
    if (other) {
      this.pause();
      this.panes.forEach((pane, k) => {
        this.#unask(pane);
        pane.attach(this.#make(k, { experiment: pane.experiment }));
        pane.bench.setSpeed?.(LAB_TOY_SPEEDS[this.speed]);
      });
    } else {
      const playing = this.playing;
      for (const pane of this.panes) { // with other points it is not the experiment that brought its own
        if ((this.named(pane.experiment)?.toy["data.source"] ?? data) !== data) pane.experiment = "";
        pane.bench.restart({ "data.source": data });
      }
      if (playing && data !== "drawn") this.#go();
    }
    if (other) {
      if (this.speed === "fast" && !this.active.bench.setSpeed) this.setSpeed(this.controls.speed.value = "normal");
      this.#go();
      this.options.model?.set("data", this.kind);
      this.options.model?.save_changes();
    }
    this.changed();
  }

  setSeed(/** @type {number} */ seed) {
    this.seed = seed;
    this.#guard(() => this.panes.forEach(({ bench }) => bench.restart({ seed })));
  }

  draw(/** @type {number[]} */ points) {
    this.points = points;
    this.#guard(() => this.panes.forEach(({ bench }) => bench.setPoints(points)));
    if (points.length >= 40 && !this.panes.some(({ quiz }) => quiz.asking)) this.#go();
  }

  showArrows(/** @type {boolean} */ shown) {
    this.arrows = shown && !this.hidden.has("arrows");
    for (const pane of this.panes) {
      if (this.arrows && !pane.arrows) pane.spread = null; // others are worth looking at by now
      pane.arrows = this.arrows;
      pane.refresh();
    }
    this.refresh();
  }

  // -- what is shown -------------------------------------------------------------------------------------------------

  #refreshed(pane) {
    const { frame, verdict } = pane.bench;
    pane.quiz.watch(verdict?.kind ?? "", labGuessWords(pane.guess, frame));
    // The plane does not show that views disagree; the views of a few samples do.
    const apart = verdict?.kind === "inconsistent views";
    if (apart && !pane.apart) this.showArrows(true);
    pane.apart = apart;
    this.#together();
    this.refresh();
    if (this.numbers.node.open) this.numbers.show(this.panes);
  }

  refresh() {
    const { active } = this;
    if (!active) return;
    this.root.dataset.playing = String(this.playing);
    for (const pane of this.panes) {
      pane.node.classList.toggle("twist-lab-active", pane === active && this.panes.length > 1);
    }
    const { turns, undoable, stepBack, setSpeed } = active.bench;
    const last = turns[turns.length - 1] ?? null;
    this.controls.show({ playing: this.playing, canBack: Boolean(stepBack), canFast: Boolean(setSpeed), last,
      undoable: undoable === undefined ? last : undoable, letter: active.letter, arrows: this.arrows,
      beside: this.panes.length > 1, data: active.bench.knobs["data.source"] ?? this.data, seed: this.seed });
    this.experiments.show(active.experiment, active.letter);
  }

  /** The lab as a link would have it. @returns {SharedLab} */
  state() {
    const points = [];
    for (let k = 0; k < this.points.length; k += 2) points.push([this.points[k], this.points[k + 1]]);
    return { data: this.data, seed: this.seed, hide: this.options.hide ?? [],
      points: this.data === "drawn" ? points : undefined,
      panes: this.panes.map((pane) => {
        const own = this.named(pane.experiment)?.[this.kind] ?? {};
        const { knobs, defaults = {} } = pane.bench;
        const base = { ...defaults, ...own };
        return { experiment: pane.experiment || undefined, knobs: Object.fromEntries(Object.entries(knobs).filter(
          ([name, value]) => !LAB_OWN.has(name) && name in base && base[name] !== value)) };
      }) };
  }

  changed() {
    this.refresh();
    this.options.onchange?.(this.state());
  }

  async share() {
    const words = await this.options.share?.(this.state());
    if (words) this.controls.say(words);
  }

  /** Words of the widget about what it did beside training. */
  setNote(/** @type {string} */ words) {
    this.note.textContent = words;
    this.note.hidden = !words;
  }

  /** Draws and milliseconds of every picture, to measure. */
  get cost() {
    return this.panes.map((pane) => pane.cost);
  }

  close() {
    clearInterval(this.ticking);
    this.controls.release();
    this.panes.forEach((pane) => pane.release());
    this.root.remove();
  }
}

/** The numbers behind the pictures, for who cannot see them. */
class LabNumbers {
  constructor() {
    this.body = make("div", { class: "twist-lab-tables" });
    this.node = make("details", { class: "twist-lab-numbers" }, make("summary", { text: "All numbers as a table" }),
      this.body);
    this.shownAt = -Infinity;
  }

  show(/** @type {LabPane[]} */ panes) {
    if (performance.now() - this.shownAt < 500) return;
    this.shownAt = performance.now();
    this.body.replaceChildren(...panes.filter((pane) => pane.bench.frame).map((pane) => {
      const { frame, knobs, defaults = {} } = pane.bench;
      const share = [...pane.simplex.picture.shares].map((each) => percent(each)).join(", ");
      const facts = [["step", count(frame.step)], ["consistency", labNats(frame.consistency)],
        ["sharpness H(Y|X)", labNats(frame.sharpness)], ["diversity H(Y)", labNats(frame.diversity)],
        ["information I = H(Y) − H(Y|X)", labNats(frame.diversity - frame.sharpness)], ["loss", labNats(frame.total)],
        ["views agree", percent(frame.agreement)], ["classes in use (perplexity)",
          `${frame.classPerplexity.toFixed(1)} of ${frame.numClasses}`], ["samples per class", share],
        ["log C", nats(Math.log(frame.numClasses))],
        ["knobs that differ from healthy", Object.keys(knobs).filter((name) => name in defaults &&
          defaults[name] !== knobs[name]).map((name) => `${name} = ${labNumber(knobs[name])}`).join(", ") || "none"],
        ["turned while it trained", pane.bench.turns.map((turn) =>
          `step ${count(turn.step)}: ${labTurnWords(turn)}`).join("; ") || "none"]];
      return make("table", {}, make("caption", { text: pane.letter ? `Experiment ${pane.letter}` : "Experiment" }),
        make("tbody", {}, ...facts.map(([name, value]) => make("tr", {}, make("th", { scope: "row", text: name }),
          make("td", { text: value })))));
    }));
  }
}

/** How far a guess lies from where the point is. */
function labGuessWords(guess, frame) {
  if (!guess || !frame) return "";
  const gap = Math.hypot(guess.sharpness - frame.sharpness, guess.diversity - frame.diversity);
  return `Your mark is ${nats(gap)} away.`;
}

/** Draw a lab into an element; returns it, with `close()` and `state()`. */
function renderLab(/** @type {HTMLElement} */ el, /** @type {LabOptions} */ options) {
  return new LabView(el, options);
}

/** The toy's bench, as `renderLab` wants it. @param {BenchOptions} options */
function labToyBench({ seed, data, knobs, points }) {
  return new ToyBench({ seed, data, knobs, points: points?.length ? points : undefined });
}

/** The widget. */
function render({ model, el }) {
  const digits = model.get("data") === "digits";
  const own = Object.fromEntries(Object.entries(model.get("knobs") ?? {}).filter(([name]) => !LAB_OWN.has(name)));
  const pane = { experiment: model.get("experiment") || undefined, knobs: own };
  let view = /** @type {LabView | null} */ (null);
  const say = (/** @type {string} */ words) => view?.controls.say(words);
  view = renderLab(el, {
    benches: { digits: (options) => new DigitsBench(model, { ...options, say }), toy: labToyBench },
    experiments: model.get("experiments") ?? [],
    hide: model.get("hide") ?? [],
    start: { data: digits ? "digits" : "blobs", seed: model.get("seed") ?? 0, hide: [],
      panes: model.get("side_by_side") ? [pane, { ...pane }] : [pane] },
    share: (state) => digitsExport(model, state),
    model,
  });
  view.controls.share.title = "Write this experiment as one HTML file that opens in any browser, offline";
  const onNote = () => view.setNote(model.get("note") ?? "");
  onNote();
  model.on("change:note", onNote);
  const onBeside = () => view.setBeside(Boolean(model.get("side_by_side")));
  model.on("change:side_by_side", onBeside);
  const endPython = digitsHearPython(model, (name) => view.panes[name === "b" ? 1 : 0]?.bench);
  const endLighting = watchLighting(model, el);
  return () => {
    endLighting();
    endPython();
    model.off("change:note", onNote);
    model.off("change:side_by_side", onBeside);
    view.close();
  };
}
