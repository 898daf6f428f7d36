// @ts-check
/**
 * The three terms of the objective and their gradients, as in twist/learn/objective.py: two views, nats, float64.
 *
 * With p and q the class distributions of the two views of a sample, and l = log(p + eps):
 *
 *     consistency = mean over samples of ½ Σ (p − q)(log(p + eps) − log(q + eps))
 *     sharpness   = mean over samples and views of −Σ p log(p + eps)
 *     diversity   = mean over views of −Σ p̄ log(p̄ + eps), p̄ the view's mean distribution
 *     total       = consistency + sharpness − diversity, each with its weight
 */

/** Added to probabilities inside the logarithms. */
const TOY_EPS = 1e-5;

/**
 * @typedef {object} ToyTerms
 * @property {number} consistency
 * @property {number} sharpness
 * @property {number} diversity
 * @property {{consistency: Float64Array, sharpness: Float64Array, diversity: Float64Array}} gradients  of each term in
 *   the logits over the temperature, [2 · B · C], view-major
 */

/** Rows of distributions from rows of logits. @param {ArrayLike<number>} logits */
function toySoftmax(logits, /** @type {number} */ rows, /** @type {number} */ C, temperature = 1) {
  const probs = new Float64Array(rows * C);
  for (let r = 0; r < rows; r++) {
    let top = -Infinity, sum = 0;
    for (let c = r * C; c < (r + 1) * C; c++) top = Math.max(top, logits[c] / temperature);
    for (let c = r * C; c < (r + 1) * C; c++) sum += probs[c] = Math.exp(logits[c] / temperature - top);
    for (let c = r * C; c < (r + 1) * C; c++) probs[c] /= sum;
  }
  return probs;
}

/**
 * The terms of a batch of B samples and C classes and their gradients.
 * @param {ArrayLike<number>} p  distributions of the first views, [B · C]
 * @param {ArrayLike<number>} q  of the second
 * @returns {ToyTerms}
 */
function toyTerms(p, q, /** @type {number} */ B, /** @type {number} */ C) {
  const size = B * C, views = [p, q], logs = [new Float64Array(size), new Float64Array(size)];
  const means = [new Float64Array(C), new Float64Array(C)];
  let consistency = 0, sharpness = 0, diversity = 0;
  for (let k = 0; k < size; k++) {
    const a = logs[0][k] = Math.log(p[k] + TOY_EPS), b = logs[1][k] = Math.log(q[k] + TOY_EPS);
    consistency += (p[k] - q[k]) * (a - b);
    sharpness -= p[k] * a + q[k] * b;
    means[0][k % C] += p[k] / B;
    means[1][k % C] += q[k] / B;
  }
  for (const mean of means) for (const m of mean) diversity -= 0.5 * m * Math.log(m + TOY_EPS);
  const gradients = { consistency: new Float64Array(2 * size), sharpness: new Float64Array(2 * size),
    diversity: new Float64Array(2 * size) };
  const slope = { consistency: new Float64Array(C), sharpness: new Float64Array(C), diversity: new Float64Array(C) };
  for (let v = 0; v < 2; v++) {
    const own = views[v], other = views[1 - v], log = logs[v], far = logs[1 - v], mean = means[v];
    for (let r = 0; r < B; r++) {
      // Slopes in the probabilities; the softmax then takes away what all classes have in common.
      let ofConsistency = 0, ofSharpness = 0, ofDiversity = 0;
      for (let c = 0, k = r * C; c < C; c++, k++) {
        const share = own[k] / (own[k] + TOY_EPS);
        slope.consistency[c] = (log[k] - far[k] + share - other[k] / (own[k] + TOY_EPS)) / (2 * B);
        slope.sharpness[c] = -(log[k] + share) / (2 * B);
        slope.diversity[c] = -(Math.log(mean[c] + TOY_EPS) + mean[c] / (mean[c] + TOY_EPS)) / (2 * B);
        ofConsistency += own[k] * slope.consistency[c];
        ofSharpness += own[k] * slope.sharpness[c];
        ofDiversity += own[k] * slope.diversity[c];
      }
      for (let c = 0, k = r * C, at = v * size + r * C; c < C; c++, k++, at++) {
        gradients.consistency[at] = own[k] * (slope.consistency[c] - ofConsistency);
        gradients.sharpness[at] = own[k] * (slope.sharpness[c] - ofSharpness);
        gradients.diversity[at] = own[k] * (slope.diversity[c] - ofDiversity);
      }
    }
  }
  return { consistency: consistency / (2 * B), sharpness: sharpness / (2 * B), diversity, gradients };
}

/**
 * Which way each term moves the distributions of a few samples: the change of probabilities when the logits over the
 * temperature go down the term's own slope (diversity, which is subtracted from the loss, up), for a sample's share of
 * the batch (times B, so that a larger batch has no shorter arrows). Every row sums to 0.
 *
 * @param {ArrayLike<number>} views  distributions of a batch, view-major [2 · B · C], as a frame has them
 * @param {ArrayLike<number>} rows   which samples of the batch
 * @param {number | null} view  of which view: 0, 1, or null for the mean of both, which is where a sample's dot lies
 * @returns {{consistency: Float64Array, sharpness: Float64Array, diversity: Float64Array}}  [rows · C] each
 */
function termArrows(views, /** @type {number} */ B, /** @type {number} */ C, rows, view = null) {
  const probs = Float64Array.from(views), size = B * C;
  const { gradients } = toyTerms(probs.subarray(0, size), probs.subarray(size), B, C);
  const arrows = { consistency: new Float64Array(rows.length * C), sharpness: new Float64Array(rows.length * C),
    diversity: new Float64Array(rows.length * C) };
  const seen = view === null ? [0, 1] : [view];
  for (const [name, out] of Object.entries(arrows)) {
    const pull = (name === "diversity" ? B : -B) / seen.length;
    for (let r = 0; r < rows.length; r++) {
      for (const v of seen) {
        const at = v * size + rows[r] * C;
        let mean = 0;
        for (let c = 0; c < C; c++) mean += probs[at + c] * gradients[name][at + c];
        for (let c = 0; c < C; c++) out[r * C + c] += pull * probs[at + c] * (gradients[name][at + c] - mean);
      }
    }
  }
  return arrows;
}
