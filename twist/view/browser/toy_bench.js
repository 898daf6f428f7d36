// @ts-check
/**
 * The toy as a bench of the collapse lab: points in the plane, trained in this page, with knobs that act while it runs.
 *
 * A step depends on the seed, the number of the step and the knobs alone, so a run with its turns can be had again
 * bit for bit; stepping back starts from the nearest kept copy and goes forward again.
 *
 * @typedef {Record<string, any>} Knobs
 * @typedef {{step: number, changes: Knobs, before: Knobs}} ToyTurn
 * @typedef {object} ToyOptions
 * @property {number} [seed]
 * @property {string} [data]       name of a set, or "drawn"; the knob data.source
 * @property {Knobs} [knobs]       those that differ from TOY_KNOBS
 * @property {number} [speed]      steps per second
 * @property {ArrayLike<number>} [points]  drawn by hand, x and y of one after the other
 * @property {ToyTurn[]} [turns]   to be made again at their steps
 */

/** The healthy setting. */
const TOY_KNOBS = Object.freeze({
  "objective.consistency_weight": 1, "objective.sharpness_weight": 1, "objective.diversity_weight": 1,
  "objective.temperature": 0.4, "optim.learning_rate": 0.01, "views.strength": 1,
  "network.final_norm": "batch", "network.num_classes": 3, "optim.batch_size": 100, "data.source": "blobs", seed: 0,
});
/** What the knobs may be: [least, most] or a list; those in TOY_LIVE act at the next step, the others restart. */
const TOY_LIMITS = Object.freeze({
  "objective.consistency_weight": [0, 10], "objective.sharpness_weight": [0, 10],
  "objective.diversity_weight": [0, 10],
  "objective.temperature": [0.05, 5], "optim.learning_rate": [0, 1], "views.strength": [0, 2],
  "network.num_classes": [2, 12], "optim.batch_size": [2, TOY_MOST_POINTS], seed: [0, 2 ** 31 - 1],
});
const TOY_LIVE = Object.freeze(["objective.consistency_weight", "objective.sharpness_weight",
  "objective.diversity_weight", "objective.temperature", "optim.learning_rate", "views.strength"]);
/** Steps per second at normal speed; milliseconds of a frame that may be computed. */
const TOY_SPEED = 60, TOY_BUDGET_MS = 14;
/** Steps between kept copies, and how many are kept; how often points are classified, and how far back is compared. */
const TOY_COPY_EVERY = 50, TOY_MOST_COPIES = 120, TOY_LOOK_EVERY = 10, TOY_LOOK_BACK = 50;

class ToyBench {
  /** @param {ToyOptions} [options] */
  constructor({ seed, data, knobs = {}, speed = TOY_SPEED, points, turns = [] } = {}) {
    this.kind = "toy";
    this.defaults = TOY_KNOBS;
    this.runVerdict = null;
    this.speed = speed;
    this.callbacks = /** @type {Set<Function>} */ (new Set());
    this.drawn = points ? Float32Array.from(points) : new Float32Array(0);
    this.due = 0;
    this.#begin({ ...TOY_KNOBS, ...(seed === undefined ? {} : { seed }),
      ...(data === undefined ? {} : { "data.source": data }), ...knobs }, turns);
  }

  /** @param {Knobs} knobs */
  #begin(knobs, turns = /** @type {ToyTurn[]} */ ([])) {
    toyCheckKnobs(knobs, Object.keys(knobs));
    this.knobs = { ...knobs };
    this.first = Object.freeze({ ...knobs });
    this.turns = /** @type {ToyTurn[]} */ ([]);
    this.undone = 0;
    this.planned = [...turns].sort((a, b) => a.step - b.step);
    this.trail = { step: [], sharpness: [], diversity: [], consistency: [], agreement: [] };
    this.step = 0;
    this.past = /** @type {Uint8Array[]} */ ([]);
    this.stability = NaN;
    this.copies = [];
    this.judged = null;
    this.problem = "";
    this.state = "paused";
    this.frame = null;
    this.network = null;
    const source = knobs["data.source"], drawn = source === "drawn";
    this.data = drawn && this.drawn.length < 4 ? null : drawn ? toyDrawn(this.drawn) : toyPoints(source, knobs.seed);
    if (!this.data) return;
    const C = knobs["network.num_classes"], count = this.data.count;
    this.network = new ToyNetwork(C, knobs["network.final_norm"] === "batch",
      new ToyRandom(knobs.seed, TOY_STREAMS.weights));
    this.order = { epoch: -1, rows: new Int32Array(0) };
    this.probs = new Float32Array(count * C);
    this.visited = new Int32Array(count);
    // Every point is seen once before the first step, so that there is something to show.
    const all = Int32Array.from({ length: count }, (_, row) => row);
    const seen = this.#look(all, new ToyRandom(knobs.seed, TOY_STREAMS.first));
    seen.keep(1);
    this.#note(all, seen.probs, seen.terms);
    this.#keep();
  }

  get message() {
    if (!this.data) {
      return this.drawn.length ? "One point is drawn: draw another, or many with a drag."
        : "Draw some points: a click puts one, a drag many.";
    }
    if (this.state === "failed") return this.problem;
    if (this.state === "running") return "Training in this page.";
    return this.step ? `Paused after step ${this.step}.` : "Ready: press play.";
  }

  /** What is to be said of the newest step. */
  get verdict() {
    if (!this.judged && this.frame) this.judged = judgeNow(this.frame, this.trail, this.knobs);
    return this.judged;
  }

  /** Views of some points through the network: distributions, terms and the way back. */
  #look(/** @type {Int32Array} */ rows, /** @type {ToyRandom} */ random) {
    const C = this.network.C, B = rows.length;
    const inputs = toyViews(this.data, rows, this.knobs["views.strength"], random);
    const { logits, back, keep } = this.network.forward(inputs, 2 * B);
    const probs = toySoftmax(logits, 2 * B, C, this.knobs["objective.temperature"]);
    return { probs, back, keep, terms: toyTerms(probs.subarray(0, B * C), probs.subarray(B * C), B, C) };
  }

  /** Rows of the points in a step's batch: every epoch in another order, what is left over at its end is left out. */
  #batch(/** @type {number} */ step) {
    const count = this.data.count, size = Math.min(this.knobs["optim.batch_size"], count);
    const perEpoch = Math.floor(count / size), epoch = Math.floor(step / perEpoch);
    if (this.order.epoch !== epoch) {
      this.order = { epoch, rows: new ToyRandom(this.knobs.seed, TOY_STREAMS.order, epoch).permutation(count) };
    }
    const start = (step % perEpoch) * size;
    return this.order.rows.slice(start, start + size);
  }

  /** One step of training. @returns {boolean} whether it was taken */
  #train() {
    if (!this.data || this.state === "failed") return false;
    while (this.planned.length && this.planned[0].step <= this.step) this.#apply(this.planned.shift().changes);
    const { knobs, network } = this, rows = this.#batch(this.step);
    const { probs, back, keep, terms } = this.#look(rows, new ToyRandom(knobs.seed, TOY_STREAMS.views, this.step));
    if (!Number.isFinite(terms.consistency + terms.sharpness + terms.diversity)) {
      this.state = "failed";
      this.problem = `Step ${this.step + 1} gave no finite numbers. Rewind, and lower the learning rate.`;
      return false;
    }
    const { consistency, sharpness, diversity } = terms.gradients, slope = new Float64Array(consistency.length);
    const weights = TOY_LIVE.slice(0, 3).map((name) => knobs[name] / knobs["objective.temperature"]);
    for (let k = 0; k < slope.length; k++) {
      slope[k] = weights[0] * consistency[k] + weights[1] * sharpness[k] - weights[2] * diversity[k];
    }
    back(slope);
    keep();
    network.update(knobs["optim.learning_rate"]);
    this.step += 1;
    this.#note(rows, probs, terms);
    if (this.step % TOY_COPY_EVERY === 0) this.#keep();
    return true;
  }

  /** What a step saw becomes the frame and a point of the trail. */
  #note(/** @type {Int32Array} */ rows, /** @type {Float64Array} */ probs, /** @type {ToyTerms} */ terms) {
    const { knobs, step, trail } = this, C = this.network.C, B = rows.length, count = this.data.count;
    const views = Float32Array.from(probs);
    let agreeing = 0;
    for (let r = 0; r < B; r++) {
      for (let c = 0; c < C; c++) {
        this.probs[rows[r] * C + c] = (probs[r * C + c] + probs[(B + r) * C + c]) / 2;
      }
      this.visited[rows[r]] = step;
      agreeing += Number(toyArgmax(probs, r * C, C) === toyArgmax(probs, (B + r) * C, C));
    }
    if (step % TOY_LOOK_EVERY === 0) {
      // Of the plain points: their views land in many places, and may flip between classes that stand still.
      const probs = this.classify(this.data.points).probs, classes = new Uint8Array(count);
      for (let row = 0; row < count; row++) classes[row] = toyArgmax(probs, row * C, C);
      const before = step >= 2 * TOY_LOOK_BACK ? this.past[0] : null;
      this.stability = before ? classes.reduce((same, c, row) => same + Number(c === before[row]), 0) / count : NaN;
      this.past = [...this.past, classes].slice(-TOY_LOOK_BACK / TOY_LOOK_EVERY);
    }
    const { consistency, sharpness, diversity } = terms, agreement = agreeing / B;
    this.frame = {
      step, numClasses: C, batchSize: B, finalNorm: knobs["network.final_norm"],
      temperature: knobs["objective.temperature"], consistency, sharpness, diversity,
      total: knobs["objective.consistency_weight"] * consistency + knobs["objective.sharpness_weight"] * sharpness -
        knobs["objective.diversity_weight"] * diversity,
      agreement, stability: this.stability, classPerplexity: Math.exp(diversity), count, probs: this.probs,
      visited: this.visited,
      labels: this.data.labels, labelNames: this.data.labelNames, batch: rows, views, points: this.data.points,
    };
    for (const [name, value] of Object.entries({ step, sharpness, diversity, consistency, agreement })) {
      trail[name].push(value);
    }
    this.judged = null;
    this.#changed();
  }

  /** Keep a copy of everything, to come back to; of many old ones every other is dropped. */
  #keep() {
    if (this.copies.at(-1)?.step === this.step) return;
    this.copies.push({ step: this.step, network: this.network.copy(), probs: this.probs.slice(),
      visited: this.visited.slice(), past: this.past, stability: this.stability, frame: this.frame,
      knobs: { ...this.knobs }, turns: this.turns.length, length: this.trail.step.length });
    if (this.copies.length > TOY_MOST_COPIES) {
      const wanted = new Set([0, ...this.turns.map((turn) => turn.step)]);
      const old = this.copies.length - 20;
      this.copies = this.copies.filter((copy, k) => k >= old || k % 2 === 0 || wanted.has(copy.step));
    }
  }

  /** Be where the run was after a step, with these turns made; later ones are forgotten. */
  #goTo(/** @type {number} */ step, /** @type {ToyTurn[]} */ turns) {
    const usable = this.copies.filter((copy) => copy.step <= step && copy.turns <= turns.length);
    const copy = usable[usable.length - 1];
    this.copies = usable;
    this.network.restore(copy.network);
    this.probs.set(copy.probs);
    this.visited.set(copy.visited);
    Object.assign(this, { past: copy.past, stability: copy.stability, frame: copy.frame, step: copy.step,
      knobs: { ...copy.knobs }, turns: turns.slice(0, copy.turns), planned: turns.slice(copy.turns), judged: null,
      state: "paused", problem: "" });
    for (const values of Object.values(this.trail)) values.length = copy.length;
    while (this.step < step && this.#train());
    while (this.planned.length) this.#apply(this.planned.shift().changes);
    this.undone = Math.min(this.undone, this.turns.length);
    this.#changed();
  }

  #apply(/** @type {Knobs} */ changes) {
    this.#keep();
    const before = Object.fromEntries(Object.keys(changes).map((name) => [name, this.knobs[name]]));
    Object.assign(this.knobs, changes);
    this.turns = [...this.turns, { step: this.step, changes: { ...changes }, before }];
    this.judged = null;
  }

  play() {
    if (!this.data || this.state === "failed") return;
    this.state = "running";
    this.due = 1; // the first step at once, also in slow motion
    if (!TOY_CLOCK.running.size) TOY_CLOCK.last = performance.now(); // no time has passed for it while it stood still
    TOY_CLOCK.running.add(this);
    this.#changed();
  }

  pause() {
    TOY_CLOCK.running.delete(this);
    if (this.state === "running") this.state = "paused";
    this.#changed();
  }

  /** Steps per second from now on; TOY_SPEED is normal. */
  setSpeed(/** @type {number} */ speed) {
    if (!(speed > 0 && Number.isFinite(speed))) throw new Error(`speed is ${speed}: give steps per second above 0`);
    this.speed = speed;
  }

  /** Pause, and take one step. */
  stepOnce() {
    this.pause();
    return this.#train();
  }

  /** Take so many steps now, without drawing between them. */
  advance(/** @type {number} */ steps) {
    for (let k = 0; k < steps && this.#train(); k++);
  }

  /** Pause, and be where it was so many steps ago. */
  stepBack(steps = 1) {
    if (!this.frame) return;
    this.pause();
    const step = Math.max(0, this.step - steps);
    this.#goTo(step, this.turns.filter((turn) => turn.step <= step));
  }

  /** Begin anew from the seed with the knobs as they are now, and these changed; the turns are over. */
  restart(/** @type {Knobs} */ changes = {}) {
    const going = this.state === "running";
    toyCheckKnobs({ ...this.knobs, ...changes }, Object.keys(changes));
    this.pause();
    this.#begin({ ...this.knobs, ...changes });
    if (going) this.play();
    this.#changed();
  }

  /** Begin anew as it began, and make the turns again, each at its step. */
  replay(turns = this.turns) {
    const made = turns.map((turn) => ({ ...turn }));
    this.pause();
    this.#begin(this.first, made);
    this.#changed();
  }

  /** Begin anew with points drawn by hand, x and y of one after the other. */
  setPoints(/** @type {ArrayLike<number>} */ points) {
    if (points.length >= 4) toyDrawn(points);
    this.drawn = Float32Array.from(points);
    this.restart({ "data.source": "drawn" });
  }

  /** Change live knobs from the next step on. */
  turn(/** @type {Knobs} */ changes) {
    for (const name of Object.keys(changes)) {
      if (name in TOY_KNOBS && !TOY_LIVE.includes(name)) throw new Error(`${name} acts only from the start: restart`);
    }
    toyCheckKnobs(changes, Object.keys(changes));
    const news = Object.fromEntries(Object.entries(changes).filter(([name, value]) => this.knobs[name] !== value));
    if (!Object.keys(news).length) return;
    const last = this.turns[this.turns.length - 1];
    if (last && last.step === this.step && this.data) { // one turn, however often a slider moved meanwhile
      this.turns = this.turns.slice(0, -1);
      const joined = { ...last.changes, ...news }, before = { ...last.before };
      for (const name of Object.keys(news)) before[name] ??= this.knobs[name];
      Object.assign(this.knobs, before);
      const real = Object.fromEntries(Object.entries(joined).filter(([name, value]) => before[name] !== value));
      if (Object.keys(real).length) this.#apply(real);
    } else if (this.data) {
      this.#apply(news);
    } else {
      Object.assign(this.knobs, news);
    }
    this.undone = 0;
    this.judged = null;
    this.#changed();
  }

  /** The turn that `undo` takes back, or null. */
  get undoable() {
    return this.turns[this.turns.length - 1 - 2 * this.undone] ?? null; // each turn back is a turn, too
  }

  /** Take the last turn back from now on: what it did meanwhile stays, the knobs are as before it. */
  undo() {
    if (!this.undoable) return;
    const { before, step } = this.undoable, undone = this.undone;
    if (step === this.step && undone === 0) {
      this.turns = this.turns.slice(0, -1);
      Object.assign(this.knobs, before);
    } else {
      this.#apply({ ...before });
      this.undone = undone + 1;
    }
    this.judged = null;
    this.#changed();
  }

  /** Pause, and be where it was before the last turn; without one, at the start. */
  rewind() {
    if (!this.frame) return;
    this.pause();
    const last = this.turns[this.turns.length - 1];
    this.#goTo(last ? last.step : 0, this.turns.slice(0, -1));
    this.undone = 0;
  }

  /** Class distributions of points of the plane, with the norm's running statistics. @param {ArrayLike<number>} xy */
  classify(xy) {
    const rows = Math.floor(xy.length / 2);
    if (!this.network) return { probs: new Float32Array(rows * this.knobs["network.num_classes"]) };
    const logits = this.network.evaluate(Float64Array.from(xy), rows);
    return { probs: Float32Array.from(toySoftmax(logits, rows, this.network.C, this.knobs["objective.temperature"])) };
  }

  image() {
    return null;
  }

  /** Call back after changes, at most once a frame. @returns {() => void} what ends it */
  subscribe(/** @type {(bench: ToyBench) => void} */ callback) {
    this.callbacks.add(callback);
    return () => this.callbacks.delete(callback);
  }

  #changed() {
    TOY_CLOCK.changed.add(this);
    TOY_CLOCK.ask();
  }

  close() {
    this.pause();
    this.callbacks.clear();
    TOY_CLOCK.changed.delete(this);
  }
}

/** One clock for all benches of a page: those of one speed that were started together stay at the same step. */
const TOY_CLOCK = {
  running: /** @type {Set<ToyBench>} */ (new Set()),
  changed: /** @type {Set<ToyBench>} */ (new Set()),
  handle: 0,
  last: 0,

  ask() {
    this.handle ||= requestAnimationFrame((now) => this.tick(now));
  },

  tick(/** @type {number} */ now) {
    this.handle = 0;
    const passed = Math.min(100, Math.max(0, now - this.last)) / 1000, start = performance.now();
    this.last = now;
    for (const bench of this.running) bench.due += passed * bench.speed;
    for (let open = true; open; ) {
      const waiting = [...this.running].filter((bench) => bench.due >= 1);
      for (const bench of waiting) {
        bench.due -= 1;
        bench.advance(1);
        if (bench.state === "failed") bench.pause();
      }
      open = waiting.length > 0 && performance.now() - start < TOY_BUDGET_MS;
    }
    for (const bench of this.running) bench.due %= 1; // what this machine cannot do in time is not owed
    const news = [...this.changed];
    this.changed.clear();
    for (const bench of news) for (const callback of [...bench.callbacks]) callback(bench);
    if (this.running.size) this.ask();
  },
};

/** Refuse knobs that there are not, or that cannot be as they are wanted. */
function toyCheckKnobs(/** @type {Knobs} */ knobs, /** @type {string[]} */ names) {
  for (const name of names) {
    const value = knobs[name], limits = TOY_LIMITS[name];
    if (!(name in TOY_KNOBS)) {
      throw new Error(`no knob is named ${name}: choose one of ${Object.keys(TOY_KNOBS).join(", ")}`);
    }
    if (limits && !(typeof value === "number" && value >= limits[0] && value <= limits[1])) {
      throw new Error(`${name} is ${value}: give a number from ${limits[0]} to ${limits[1]}`);
    }
    if (["network.num_classes", "optim.batch_size", "seed"].includes(name) && !Number.isInteger(value)) {
      throw new Error(`${name} is ${value}: give a whole number`);
    }
    if (name === "network.final_norm" && !["batch", "none"].includes(value)) {
      throw new Error(`${name} is ${value}: give "batch" or "none"`);
    }
    if (name === "data.source" && value !== "drawn" && !(value in TOY_SETS)) {
      throw new Error(`${name} is ${value}: give one of ${[...Object.keys(TOY_SETS), "drawn"].join(", ")}`);
    }
  }
}

function toyArgmax(/** @type {ArrayLike<number>} */ values, /** @type {number} */ start, /** @type {number} */ C) {
  let best = 0;
  for (let c = 1; c < C; c++) if (values[start + c] > values[start + best]) best = c;
  return best;
}
