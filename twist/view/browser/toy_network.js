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
      const out = new Float64Array(rows * to), weights = this.weights, biases = at + from * to, last = number === 2;
      for (let r = 0; r < rows; r++) {
        for (let j = 0; j < to; j++) {
          let sum = weights[biases + j];
          for (let i = 0, w = at + j * from, k = r * from; i < from; i++) sum += weights[w++] * x[k++];
          out[r * to + j] = last ? sum : Math.tanh(sum);
        }
      }
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
      for (let r = 0; r < rows; r++) {
        for (let j = 0; j < to; j++) {
          const slope = g[r * to + j];
          gradient[biases + j] += slope;
          let w = at + j * from, k = r * from;
          if (number) {
            for (let i = 0; i < from; i++, w++, k++) {
              gradient[w] += slope * x[k];
              before[k] += slope * weights[w];
            }
          } else {
            gradient[w] += slope * x[k];
            gradient[w + 1] += slope * x[k + 1];
          }
        }
      }
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
