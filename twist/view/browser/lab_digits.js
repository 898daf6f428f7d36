// @ts-check
/**
 * Digits as a bench of the collapse lab: a run of the real code behind the kernel, watched and turned from here.
 *
 * What a pane is comes as the model's trait `panes`; what its pictures see comes as frames, of which only what is new
 * travels: rows visited since the frame before, and the way since then. Each is acknowledged when it was drawn.
 *
 * @typedef {{step: number[], sharpness: number[], diversity: number[], consistency: number[], agreement: number[]}}
 *   DigitsTrail
 */

/** Milliseconds between two turns that are sent while a hand drags; without a word after which the kernel is missed. */
const DIGITS_TURN_MS = 90, DIGITS_SILENT_MS = 7000;
/** Milliseconds between two words of a page that it is there: a run at which nobody looks is held. */
const DIGITS_HERE_MS = 10_000;
/** Points of the way that are kept; of more, every other goes. */
const DIGITS_MOST_POINTS = 8000;
/** Knobs that act at the next step; any other begins anew. */
const DIGITS_LIVE = new Set(["objective.consistency_weight", "objective.sharpness_weight",
  "objective.diversity_weight", "objective.temperature", "optim.learning_rate", "views.strength"]);

class DigitsBench {
  /**
   * @param {Model} model
   * @param {{pane?: string, seed?: number, knobs?: Record<string, any>, experiment?: string,
   *   say?: (words: string) => void}} [options]  `say` is told what could not be done
   */
  constructor(model, { pane = "a", seed, knobs = {}, experiment = "", say = () => {} } = {}) {
    if (seed !== undefined) knobs = { ...knobs, seed };
    this.kind = "digits";
    this.model = model;
    this.pane = pane;
    this.view = crypto.randomUUID?.() ?? String(Math.random());
    this.defaults = Object.freeze({ ...model.get("defaults") });
    this.knobs = { ...this.defaults, ...knobs };
    this.turns = /** @type {{step: number, changes: Record<string, any>, before: Record<string, any>}[]} */ ([]);
    this.trail = digitsTrail();
    this.frame = /** @type {any} */ (null);
    this.run = "";
    this.problem = "";
    this.runVerdict = /** @type {any} */ (null);
    this.say = say;
    this.continues = Boolean(model.get("panes")?.[pane]?.run); // it was there before this view
    this.callbacks = /** @type {Set<Function>} */ (new Set());
    this.ticket = 0;
    this.answered = 0;
    this.wishes = /** @type {Record<string, any>} */ ({});
    this.judged = /** @type {any} */ (null);
    this.heardAt = performance.now();
    this.silent = false;
    this.hereAt = NaN;
    this.undrawn = 0;
    this.foot = this.#makeFoot();
    this.notify = coalesce(() => this.#notify());
    this.onPanes = () => this.#hearState();
    this.onMessage = (message, buffers) => this.#hear(message, buffers);
    this.onBeat = () => this.#heard();
    model.on("change:panes", this.onPanes);
    model.on("change:beat", this.onBeat);
    model.on("msg:custom", this.onMessage);
    this.watch = setInterval(() => this.#listen(), 1000);
    this.#hearState();
    this.#send("open", { knobs, experiment, ...PAGE_LOAD });
  }

  // -- what it is ----------------------------------------------------------------------------------------------------

  get told() {
    return this.model.get("panes")?.[this.pane] ?? {};
  }

  /** @returns {"starting" | "running" | "paused" | "finished" | "failed"} */
  get state() {
    if (this.silent || this.closed) return "failed";
    return this.told.state ?? "starting";
  }

  get message() {
    if (this.silent) {
      const seconds = Math.round((performance.now() - this.heardAt) / 1000);
      return `Nothing was heard from the kernel for ${seconds} s. While a cell computes, it goes on after that; if ` +
        `it was started anew, run this cell again.${this.run ? ` The run ${this.run} stays on disk.` : ""}`;
    }
    return this.problem || this.told.message || (this.state === "running" ? `Training ${this.run}.` : "");
  }

  /** What is to be said of the newest step. */
  get verdict() {
    if (!this.judged && this.frame) this.judged = judgeNow(this.frame, this.trail, this.knobs);
    return this.judged;
  }

  // -- what a person does --------------------------------------------------------------------------------------------

  play() {
    this.#send("play");
  }

  pause() {
    this.#send("pause");
  }

  stepOnce() {
    this.#send("step");
  }

  /** Begin anew from the same seed, with the present knobs and these changes. */
  restart(changes = {}, experiment = undefined) {
    const knobs = { ...this.wishes, ...changes };
    this.knobs = { ...this.knobs, ...knobs };
    this.wishes = {};
    this.#send("restart", { knobs, experiment });
    this.notify();
  }

  /** Turn knobs: at once here, a moment later there, so that a drag is a few turns. */
  turn(/** @type {Record<string, any>} */ changes) {
    this.knobs = { ...this.knobs, ...changes };
    this.judged = null;
    if (Object.keys(changes).some((name) => !DIGITS_LIVE.has(name))) {
      this.restart(changes);
      return;
    }
    Object.assign(this.wishes, changes);
    const wait = Math.max(0, (this.turnedAt ?? -Infinity) + DIGITS_TURN_MS - performance.now());
    this.turning ||= setTimeout(() => {
      this.turning = 0;
      this.turnedAt = performance.now();
      const wishes = this.wishes;
      this.wishes = {};
      if (Object.keys(wishes).length) this.#send("turn", { changes: wishes });
    }, wait);
    this.notify();
  }

  undo() {
    this.#send("undo");
  }

  rewind() {
    this.#send("rewind");
  }

  /** Keep the run under a name; nobody deletes it then. */
  keep(/** @type {string} */ name) {
    this.#send("keep", { name });
  }

  subscribe(/** @type {(bench: DigitsBench) => void} */ callback) {
    this.callbacks.add(callback);
    return () => this.callbacks.delete(callback);
  }

  /** End this view of the run; with the last view the run is held. */
  close() {
    if (this.closed) return;
    this.#send("leave");
    this.closed = true;
    clearInterval(this.watch);
    clearTimeout(this.turning);
    this.notify.cancel();
    this.callbacks.clear();
    this.model.off("change:panes", this.onPanes);
    this.model.off("change:beat", this.onBeat);
    this.model.off("msg:custom", this.onMessage);
    this.sheets?.then((found) => found?.urls.forEach((url) => URL.revokeObjectURL(url)));
  }

  /** Where the picture of an image lies: the address of a sheet, its width, and the tile on it, in pixels. */
  async image(/** @type {number} */ row) {
    this.sheets ??= this.#askForSheets();
    const found = await this.sheets;
    if (!found || !found.urls.length) return null;
    const { tile, columns, per_sheet: perSheet, urls } = found, k = row % perSheet;
    return { url: urls[Math.floor(row / perSheet)], x: (k % columns) * tile, y: Math.floor(k / columns) * tile,
      width: tile, height: tile, sheetWidth: columns * tile };
  }

  // -- to and from the kernel ----------------------------------------------------------------------------------------

  #send(/** @type {string} */ what, details = {}) {
    if (!["drawn", "here", "leave", "images"].includes(what)) this.ticket += 1;
    try {
      this.model.send?.({ type: "lab", pane: this.pane, view: this.view, ticket: this.ticket, do: what, ...details });
    } catch {
      this.heardAt = Math.min(this.heardAt, performance.now() - DIGITS_SILENT_MS); // its kernel is gone
      this.#listen();
    }
  }

  #heard() {
    this.heardAt = performance.now();
    if (!this.silent) return;
    this.silent = false;
    this.#send("open", PAGE_LOAD); // what was missed
    this.notify();
  }

  #listen() {
    if (document.hidden) {
      this.heardAt = performance.now(); // nobody is told anything who does not look
      return;
    }
    if (!(performance.now() - this.hereAt < DIGITS_HERE_MS)) {
      this.hereAt = performance.now();
      this.#send("here");
    }
    const silent = performance.now() - this.heardAt > DIGITS_SILENT_MS;
    if (silent) this.notify(); // the seconds go on
    this.silent = silent;
  }

  #hearState() {
    const told = this.told;
    this.heardAt = performance.now();
    if (told.launched !== this.launched) {
      this.launched = told.launched;
      this.#forget();
    }
    const { view, ticket } = told.heard ?? {};
    if (view === this.view) this.answered = Math.max(this.answered, ticket);
    // A knob that was turned here since is ahead of what Python says.
    const ahead = Object.keys(this.wishes).length > 0 || (view === this.view && this.answered < this.ticket);
    if (told.knobs && !ahead) this.knobs = { ...told.knobs };
    if (told.turns) this.turns = told.turns;
    if (told.run !== undefined) this.run = told.run;
    if (told.problem && told.problem !== this.problem) this.say(told.problem);
    this.problem = told.problem ?? "";
    this.runVerdict = told.verdict ?? null;
    this.judged = null;
    this.notify();
  }

  #forget() {
    this.trail = digitsTrail();
    this.frame = this.judged = null;
  }

  #hear(message, buffers) {
    if (message?.pane !== this.pane) return;
    this.#heard();
    if (message.type === "frame") this.#take(message, buffers);
    else if (message.type === "images" && message.id === this.view) this.answerSheets?.(message, buffers);
  }

  #take(facts, buffers) {
    const { images: M, classes: C, batch: B, whole } = facts;
    if (!whole && (!this.frame || this.frame.numClasses !== C || this.frame.count !== M)) {
      this.#send("open", PAGE_LOAD); // it came in the middle
      return;
    }
    const [rows, means, visits, batch, views, steps, sharpness, diversity, consistency] = [Int32Array, Float32Array,
      Int32Array, Int32Array, Float32Array, Int32Array, Float32Array, Float32Array, Float32Array].map((kind, k) =>
      column(kind, buffers[k]));
    const probs = whole ? new Float32Array(M * C).fill(1 / C) : this.frame.probs.slice();
    const visited = whole ? new Int32Array(M).fill(-1) : this.frame.visited.slice();
    rows.forEach((row, k) => {
      probs.set(means.subarray(k * C, (k + 1) * C), row * C);
      visited[row] = visits[k];
    });
    const agreement = facts.agreement ?? NaN;
    if (whole) this.trail = digitsTrail();
    steps.forEach((step, k) => {
      this.trail.step.push(step);
      this.trail.sharpness.push(sharpness[k]);
      this.trail.diversity.push(diversity[k]);
      this.trail.consistency.push(consistency[k]);
      this.trail.agreement.push(agreement);
    });
    if (this.trail.step.length > DIGITS_MOST_POINTS) this.trail = digitsThinned(this.trail);
    const number = (value) => value ?? NaN;
    this.frame = {
      step: facts.step, numClasses: C, batchSize: facts.batch_size, finalNorm: facts.final_norm,
      temperature: facts.temperature, consistency: number(facts.consistency), sharpness: number(facts.sharpness),
      diversity: number(facts.diversity), total: number(facts.total), agreement,
      classPerplexity: Math.exp(number(facts.diversity)), count: M, probs, visited, labels: this.labels ?? null,
      labelNames: this.labelNames ?? null, batch, views: views.subarray(0, 2 * B * C), points: null,
    };
    this.judged = null;
    this.undrawn = facts.number;
    this.sheets ??= this.#askForSheets();
    this.notify();
  }

  /** Contact sheets and labels of the images, asked for until they are there. */
  async #askForSheets() {
    for (let tries = 0; tries < 20 && !this.closed; tries++) {
      const answer = await new Promise((done) => {
        this.answerSheets = (message, buffers) => done({ message, buffers });
        this.#send("images", { id: this.view });
        setTimeout(() => done(null), 5000);
      });
      if (answer && !answer.message.problem) {
        const { message, buffers } = answer;
        if (message.labels) {
          this.labels = Uint8Array.from(message.labels);
          this.labelNames = message.label_names ?? null;
          if (this.frame) this.frame = { ...this.frame, labels: this.labels, labelNames: this.labelNames };
        }
        this.notify();
        const urls = buffers.map((bytes) => URL.createObjectURL(new Blob([bytes], { type: message.mime })));
        return { ...message, urls };
      }
      await new Promise((done) => setTimeout(done, 500));
    }
    return null;
  }

  /** The run's name, its own verdict from the whole record, and a place to give it another name. */
  #makeFoot() {
    this.words = make("span", {});
    this.name = make("input", { type: "text", size: 14, placeholder: "a name", "aria-label":
      "Name to keep the run under", maxlength: 100, "data-lm-suppress-shortcuts": "true",
      onkeydown: (event) => event.stopPropagation() });
    const keep = make("button", { type: "submit", text: "Keep", title: "Keep this run under a name; of the runs that " +
      "have none the lab keeps the newest few" });
    const form = make("form", { onsubmit: (event) => {
      event.preventDefault();
      if (this.name.value.trim()) this.keep(this.name.value.trim());
    } }, this.name, " ", keep);
    return make("div", { class: "twist-lab-run twist-caption" }, this.words, form);
  }

  #showFoot() {
    const { run, told, runVerdict } = this;
    const since = runVerdict && runVerdict.since > 0 ? ` since step ${count(runVerdict.since)}` : "";
    const verdict = runVerdict ? ` · twist.verdict of its record: ${runVerdict.title}${since}` : "";
    const steps = told.steps ? ` · ${count(this.frame?.step ?? 0)} of ${count(told.steps)} steps` : "";
    const words = run ? `Run ${run}${steps}${verdict}` : "";
    if (this.words.textContent !== words) this.words.textContent = words;
    this.words.title = runVerdict ? `${runVerdict.sentence} ${runVerdict.cure}` : "";
    this.foot.dataset.verdict = runVerdict?.kind ?? "";
    this.foot.dataset.run = run;
    if (told.kept && told.kept !== this.kept) this.name.value = "";
    this.kept = told.kept;
  }

  #notify() {
    if (this.closed) return;
    this.#showFoot();
    for (const callback of [...this.callbacks]) callback(this);
    if (!this.undrawn) return;
    this.#send("drawn", { number: this.undrawn });
    this.undrawn = 0;
  }
}

/** @returns {DigitsTrail} */
function digitsTrail() {
  return { step: [], sharpness: [], diversity: [], consistency: [], agreement: [] };
}

/** Every other point of the older half. */
function digitsThinned(/** @type {DigitsTrail} */ trail) {
  const half = trail.step.length / 2, keep = (_, k) => k >= half || k % 2 === 0;
  return /** @type {DigitsTrail} */ (Object.fromEntries(Object.entries(trail).map(([name, values]) =>
    [name, values.filter(keep)])));
}

/** Have what Python asks (`lab.turn`, `lab.restart`) done by a bench of the page; returns what ends it. */
function digitsHearPython(/** @type {Model} */ model, /** @type {(pane: string) => any} */ benchOf) {
  const hear = (message) => {
    if (message?.type !== "python") return;
    const bench = benchOf(message.pane);
    if (message.do === "turn") bench?.turn(message.changes);
    else if (message.do === "restart") bench?.restart(message.changes);
  };
  model.on("msg:custom", hear);
  return () => model.off("msg:custom", hear);
}

/** Have Python write what was done as one HTML file; what is to be said of it. @returns {Promise<string>} */
function digitsExport(/** @type {Model} */ model, state) {
  const id = String(Math.random());
  return new Promise((done) => {
    const hear = (message) => {
      if (message?.type !== "exported" || message.id !== id) return;
      model.off("msg:custom", hear);
      done(message.text);
    };
    model.on("msg:custom", hear);
    model.send?.({ type: "lab", do: "export", id, state });
  });
}
