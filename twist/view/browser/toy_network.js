// @ts-check
/**
 * The toy's network, 2 → 32 → 32 → C with tanh, the norm before the softmax, its gradients and Adam; all in float64.
 *
 * Layers, norm and optimizer are those of torch (Linear, BatchNorm1d without scale and shift, Adam), and tested to give
 * the same numbers.
 */

const TOY_WIDTH = 32;
/** First weights of the last layer, as a share of torch's: every class begins with nearly the same share. */
const TOY_LAST_SCALE = 0.1;
/** Added to the variance by the norm; share of a new batch in its running statistics. */
const TOY_NORM_EPS = 1e-5, TOY_NORM_MOMENTUM = 0.1;

class ToyNetwork {
  /**
   * @param {number} C
   * @param {boolean} norm  whether every class logit gets mean 0 and variance 1 over both views of a batch
   * @param {ToyRandom} random
   */
  constructor(C, norm, random) {
    this.C = C;
    this.norm = norm;
    this.layers = [[2, TOY_WIDTH], [TOY_WIDTH, TOY_WIDTH], [TOY_WIDTH, C]].map(([from, to]) => ({ from, to, at: 0 }));
    let size = 0;
    for (const layer of this.layers) {
      layer.at = size;
      size += (layer.from + 1) * layer.to;
    }
    /** Of each layer the weights [to, from], then the biases [to]. */
    this.weights = new Float64Array(size);
    this.gradient = new Float64Array(size);
    this.first = new Float64Array(size); // Adam's moments
    this.second = new Float64Array(size);
    this.updates = 0;
    this.runningMean = new Float64Array(C);
    this.runningVariance = new Float64Array(C).fill(1);
    for (const { from, to, at } of this.layers) {
      const bound = (at === this.layers[2].at ? TOY_LAST_SCALE : 1) / Math.sqrt(from);
      for (let k = at; k < at + (from + 1) * to; k++) this.weights[k] = bound * (2 * random.uniform() - 1);
    }
  }

  /** Class logits before the norm; `kept` takes what the way back needs. @param {Float64Array[]} [kept] */
  #rows(/** @type {Float64Array} */ inputs, /** @type {number} */ rows, kept) {
    let x = inputs;
    this.layers.forEach(({ from, to, at }, number) => {
      kept?.push(x);
      const out = new Float64Array(rows * to);
      toyMultiply(x, this.weights, at, out, rows, from, to);
      if (number < 2) for (let k = 0; k < out.length; k++) out[k] = Math.tanh(out[k]);
      x = out;
    });
    return x;
  }

  /**
   * Class logits of a training batch, and `back(gradient in them)`, which fills `gradient`.
   * @param {Float64Array} inputs  [rows, 2]
   */
  forward(inputs, /** @type {number} */ rows) {
    const kept = /** @type {Float64Array[]} */ ([]), raw = this.#rows(inputs, rows, kept), C = this.C;
    if (!this.norm) return { logits: raw, back: (g) => this.#back(kept, g, rows), keep: () => {} };
    const logits = new Float64Array(rows * C), mean = new Float64Array(C), variance = new Float64Array(C);
    for (let k = 0; k < raw.length; k++) mean[k % C] += raw[k] / rows;
    for (let k = 0; k < raw.length; k++) variance[k % C] += (raw[k] - mean[k % C]) ** 2 / rows;
    const scale = variance.map((value) => 1 / Math.sqrt(value + TOY_NORM_EPS));
    for (let k = 0; k < raw.length; k++) logits[k] = (raw[k] - mean[k % C]) * scale[k % C];
    const back = (/** @type {Float64Array} */ g) => {
      const even = new Float64Array(C), along = new Float64Array(C), through = new Float64Array(g.length);
      for (let k = 0; k < g.length; k++) {
        even[k % C] += g[k] / rows;
        along[k % C] += (g[k] * logits[k]) / rows;
      }
      for (let k = 0; k < g.length; k++) through[k] = scale[k % C] * (g[k] - even[k % C] - logits[k] * along[k % C]);
      this.#back(kept, through, rows);
    };
    const keep = (momentum = TOY_NORM_MOMENTUM) => {
      for (let c = 0; c < C; c++) {
        this.runningMean[c] += momentum * (mean[c] - this.runningMean[c]);
        this.runningVariance[c] += momentum * ((variance[c] * rows) / Math.max(1, rows - 1) - this.runningVariance[c]);
      }
    };
    return { logits, back, keep };
  }

  #back(kept, last, rows) {
    const { weights, gradient } = this;
    gradient.fill(0);
    let g = last;
    for (let number = 2; number >= 0; number--) {
      const { from, to, at } = this.layers[number], x = kept[number], biases = at + from * to;
      const before = new Float64Array(number ? rows * from : 0);
      for (let r = 0; r < rows; r++) for (let j = 0; j < to; j++) gradient[biases + j] += g[r * to + j];
      toyOfWeights(g, x, gradient, at, rows, from, to);
      if (number) toyOfInputs(g, weights, at, before, rows, from, to);
      for (let k = 0; k < before.length; k++) before[k] *= 1 - x[k] * x[k];
      g = before;
    }
  }

  /** Class logits of any points, with the norm's running statistics. @param {Float64Array} inputs */
  evaluate(inputs, /** @type {number} */ rows) {
    const logits = this.#rows(inputs, rows), C = this.C;
    if (!this.norm) return logits;
    for (let k = 0; k < logits.length; k++) {
      logits[k] = (logits[k] - this.runningMean[k % C]) / Math.sqrt(this.runningVariance[k % C] + TOY_NORM_EPS);
    }
    return logits;
  }

  /** One step of Adam (0.9, 0.999, 1e-8) down the gradient. */
  update(/** @type {number} */ rate) {
    const { weights, gradient, first, second } = this;
    this.updates += 1;
    const one = 1 - 0.9 ** this.updates, two = Math.sqrt(1 - 0.999 ** this.updates);
    for (let k = 0; k < weights.length; k++) {
      first[k] += 0.1 * (gradient[k] - first[k]);
      second[k] = 0.999 * second[k] + 0.001 * gradient[k] * gradient[k];
      weights[k] -= ((rate / one) * first[k]) / (Math.sqrt(second[k]) / two + 1e-8);
    }
  }

  /** A copy of all that training changes. */
  copy() {
    return { weights: this.weights.slice(), first: this.first.slice(), second: this.second.slice(),
      updates: this.updates, runningMean: this.runningMean.slice(), runningVariance: this.runningVariance.slice() };
  }

  /** Go back to a copy. */
  restore(/** @type {ReturnType<ToyNetwork["copy"]>} */ state) {
    for (const name of ["weights", "first", "second", "runningMean", "runningVariance"]) this[name].set(state[name]);
    this.updates = state.updates;
  }
}

// The three products of a layer, four columns or rows at once: a value that is loaded is used four times.

/** out[r, j] = bias[j] + Σ x[r, i] w[j, i]. */
function toyMultiply(x, w, at, out, rows, from, to) {
  const biases = at + from * to, even = to - (to % 4);
  for (let r = 0; r < rows; r++) {
    const k = r * from;
    for (let j = 0; j < even; j += 4) {
      const w0 = at + j * from, w1 = w0 + from, w2 = w1 + from, w3 = w2 + from;
      let s0 = w[biases + j], s1 = w[biases + j + 1], s2 = w[biases + j + 2], s3 = w[biases + j + 3];
      for (let i = 0; i < from; i++) {
        const value = x[k + i];
        s0 += value * w[w0 + i];
        s1 += value * w[w1 + i];
        s2 += value * w[w2 + i];
        s3 += value * w[w3 + i];
      }
      out[r * to + j] = s0;
      out[r * to + j + 1] = s1;
      out[r * to + j + 2] = s2;
      out[r * to + j + 3] = s3;
    }
    for (let j = even; j < to; j++) {
      let sum = w[biases + j];
      for (let i = 0, w0 = at + j * from; i < from; i++) sum += x[k + i] * w[w0 + i];
      out[r * to + j] = sum;
    }
  }
}

/** gradient[j, i] += Σ g[r, j] x[r, i]. */
function toyOfWeights(g, x, gradient, at, rows, from, to) {
  const even = rows - (rows % 4);
  for (let r = 0; r < even; r += 4) {
    const k0 = r * from, k1 = k0 + from, k2 = k1 + from, k3 = k2 + from;
    for (let j = 0; j < to; j++) {
      const w = at + j * from, s0 = g[r * to + j], s1 = g[(r + 1) * to + j];
      const s2 = g[(r + 2) * to + j], s3 = g[(r + 3) * to + j];
      for (let i = 0; i < from; i++) {
        gradient[w + i] += s0 * x[k0 + i] + s1 * x[k1 + i] + s2 * x[k2 + i] + s3 * x[k3 + i];
      }
    }
  }
  for (let r = even; r < rows; r++) {
    for (let j = 0; j < to; j++) {
      for (let i = 0, w = at + j * from; i < from; i++) gradient[w + i] += g[r * to + j] * x[r * from + i];
    }
  }
}

/** before[r, i] += Σ g[r, j] w[j, i]. */
function toyOfInputs(g, w, at, before, rows, from, to) {
  const even = to - (to % 4);
  for (let r = 0; r < rows; r++) {
    const k = r * from;
    for (let j = 0; j < even; j += 4) {
      const w0 = at + j * from, w1 = w0 + from, w2 = w1 + from, w3 = w2 + from;
      const s0 = g[r * to + j], s1 = g[r * to + j + 1], s2 = g[r * to + j + 2], s3 = g[r * to + j + 3];
      for (let i = 0; i < from; i++) before[k + i] += s0 * w[w0 + i] + s1 * w[w1 + i] + s2 * w[w2 + i] + s3 * w[w3 + i];
    }
    for (let j = even; j < to; j++) {
      for (let i = 0, w0 = at + j * from; i < from; i++) before[k + i] += g[r * to + j] * w[w0 + i];
    }
  }
}
