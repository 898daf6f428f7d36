// @ts-check
/**
 * A recorded run as the lesson page reads it: its columns unpacked, and what it was at any step.
 *
 * Between two recorded moments the distributions lie on straight lines; curves and verdicts are those of the last
 * logged step before.
 *
 * @typedef {{temperature: number, weights: Record<string, number>, rate: number}} LessonKnobs
 * @typedef {LessonKnobs & {step: number, words: string}} LessonTurn
 * @typedef {{step: number, kind: string, level: string, sign: string, title: string, sentence: string, why: string,
 *   cure: string}} LessonVerdict
 */

/** Bytes that zlib packed. @returns {Promise<Uint8Array>} */
async function lessonInflate(/** @type {Uint8Array} */ bytes) {
  if (!bytes?.length) return new Uint8Array(0);
  const stream = new Blob([/** @type {any} */ (bytes)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** How many of ascending numbers are at most a value. */
function lessonUpTo(/** @type {ArrayLike<number>} */ steps, /** @type {number} */ value) {
  let [low, high] = [0, steps.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

class LessonRun {
  /** Unpack a run of the page. @returns {Promise<LessonRun>} */
  static async of(values) {
    const run = new LessonRun();
    Object.assign(run, values);
    run.way = { step: new Int32Array(0), sharpness: new Float32Array(0), diversity: new Float32Array(0) };
    for (const name of ["step", "consistency", "sharpness", "diversity", "total", "agreement"]) {
      if (!values.way[name]?.length) continue;
      run.way[name] = column(name === "step" ? Int32Array : Float32Array, await lessonInflate(values.way[name]));
    }
    const { frames } = values;
    if (frames.steps?.length) {
      const classes = await lessonInflate(frames.classes);
      run.frames = { ...frames, probs: await lessonInflate(frames.probs), entropy: await lessonInflate(frames.entropy),
        classes: classes.length ? (frames.wide ? column(Uint16Array, classes) : classes) : null };
    } else run.frames = null;
    run.probs = new Float32Array(run.count * run.num_classes);
    run.seen = new Int32Array(run.count);
    run.laid = NaN;
    return run;
  }

  constructor() {
    this.name = this.letter = this.final_norm = "";
    this.num_classes = this.batch_size = this.newest = this.images = 0;
    this.knobs = /** @type {LessonKnobs} */ ({ temperature: 1, weights: {}, rate: 0 });
    this.turns = /** @type {LessonTurn[]} */ ([]);
    this.verdicts = /** @type {LessonVerdict[]} */ ([]);
    this.said = /** @type {string[]} */ ([]);
    this.way = /** @type {any} */ ({});
    this.frames = /** @type {any} */ (null);
    this.probs = new Float32Array(0);
    this.seen = new Int32Array(0);
    this.laid = NaN;
  }

  /** M, the images that are shown. */
  get count() {
    return this.frames?.images ?? 0;
  }

  /** Steps at which something is recorded that the slider should stop at. @returns {number[]} */
  get moments() {
    const steps = [this.way.step[0] ?? 0, this.newest, ...(this.frames?.steps ?? []),
      ...this.turns.map(({ step }) => step)];
    return steps.filter((step) => step <= this.newest);
  }

  /** Places of the way that are done by a step. */
  upTo(/** @type {number} */ step) {
    return lessonUpTo(this.way.step, step);
  }

  /** A term of the newest batch by a step; NaN before the first. */
  term(/** @type {string} */ name, /** @type {number} */ step) {
    const upto = this.upTo(step);
    return upto && this.way[name] ? this.way[name][upto - 1] : NaN;
  }

  /** @returns {LessonVerdict | null} */
  verdict(/** @type {number} */ step) {
    const upto = lessonUpTo(this.verdicts.map((each) => each.step), step);
    return upto ? this.verdicts[upto - 1] : null;
  }

  /** The knobs in force in the step that led to this one. @returns {LessonKnobs} */
  knobsAt(/** @type {number} */ step) {
    return this.turns.filter((turn) => turn.step < step).at(-1) ?? this.knobs;
  }

  /** Two recorded moments around a step, and how far it is from the first to the second. */
  around(/** @type {number} */ step) {
    const { steps } = this.frames;
    const next = lessonUpTo(steps, step);
    const [a, b] = [Math.max(0, next - 1), Math.min(steps.length - 1, next)];
    return { a, b, share: a === b ? 0 : clamp((step - steps[a]) / (steps[b] - steps[a])) };
  }

  /** The recorded moment nearest to a step. */
  nearest(/** @type {number} */ step) {
    const { a, b, share } = this.around(step);
    return share > 0.5 ? b : a;
  }

  /** Lay out the distributions of every image at a step in `probs`; `seen` is −1 for one that was not seen by then. */
  lay(/** @type {number} */ step) {
    if (!this.frames || this.laid === step) return;
    const { a, b, share } = this.around(step);
    const { entropy } = this.frames;
    this.laid = step;
    this.probs.fill(0);
    for (let i = 0; i < this.count; i++) {
      this.seen[i] = entropy[a * this.count + i] === 255 ? -1 : 0;
      if (this.seen[i] < 0) continue;
      const on = share > 0 && entropy[b * this.count + i] !== 255 ? share : 0;
      this.#add(i, a, 1 - on);
      if (on) this.#add(i, b, on);
    }
  }

  /** Add a moment's distribution of an image with a weight; what is not recorded is spread over the other classes. */
  #add(i, frame, weight) {
    const { probs, classes, kept } = this.frames;
    const C = this.num_classes;
    const from = (frame * this.count + i) * kept;
    let sum = 0;
    for (let k = 0; k < kept; k++) sum += probs[from + k];
    const each = C > kept ? (weight * Math.max(0, 1 - sum / 255)) / (C - kept) : 0;
    const unit = weight / (C > kept ? Math.max(255, sum) : sum || 1);
    if (each) for (let c = 0; c < C; c++) this.probs[i * C + c] += each;
    for (let k = 0; k < kept; k++) {
      this.probs[i * C + (classes ? classes[from + k] : k)] += probs[from + k] * unit - each;
    }
  }

  /** Entropy of an image at a recorded moment, nats; NaN where it was not seen. */
  entropy(/** @type {number} */ i, /** @type {number} */ frame) {
    const share = this.frames.entropy[frame * this.count + i];
    return share === 255 ? NaN : (share / 254) * Math.log(this.num_classes);
  }

  /** Likeliest class of an image at a recorded moment, and its probability; −1 where it was not seen. */
  likeliest(/** @type {number} */ i, /** @type {number} */ frame) {
    const { probs, classes, kept, entropy } = this.frames;
    const from = (frame * this.count + i) * kept;
    if (entropy[frame * this.count + i] === 255) return { c: -1, p: NaN };
    let best = 0;
    for (let k = 1; k < kept; k++) if (probs[from + k] > probs[from + best]) best = k;
    return { c: classes ? classes[from + best] : best, p: probs[from + best] / 255 };
  }

  /** Likeliest classes of an image as it is laid out now, likeliest first. @returns {{c: number, p: number}[]} */
  distribution(/** @type {number} */ i, /** @type {number} */ most) {
    const C = this.num_classes;
    const own = Array.from({ length: C }, (_, c) => ({ c, p: this.probs[i * C + c] }));
    return C <= most ? own : own.sort((one, other) => other.p - one.p).slice(0, most);
  }
}
