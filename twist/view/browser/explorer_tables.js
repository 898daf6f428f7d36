// @ts-check
/**
 * The explorer's tables: what Python sends, read into columns, at the checkpoint it was opened at and at every other.
 *
 * @typedef {object} Table  Everything known of M images, C classes and L labels at one checkpoint.
 * @property {number} step
 * @property {number} epoch
 * @property {number} count  M.
 * @property {number} numClasses  C.
 * @property {ArrayLike<number>} assignment  Class of each image.
 * @property {ArrayLike<number>} second  Its second likeliest class, -1 where unknown.
 * @property {Float32Array} confidence
 * @property {Float32Array} entropy  Nats, 0 to log C.
 * @property {Float32Array} margin  Lead of the likeliest class over the second.
 * @property {Int32Array | null} labels  -1 where unknown.
 * @property {string[]} labelNames
 * @property {Float64Array} sampleIds
 * @property {number} topK  Likeliest classes known of each image.
 * @property {ArrayLike<number>} topClasses  M rows of topK.
 * @property {ArrayLike<number>} topProbs
 * @property {Uint16Array | null} flips  Changes of class over all snapshots.
 * @property {Int32Array | null} settled  Step since which the class stayed.
 * @property {Float32Array | null} agreement
 *
 * @typedef {{id: number, count: number, confidence: number, entropy: number, label: number, purity: number}} ClassRow
 *
 * @typedef {object} History  Columns of every checkpoint; each is a list of arrays, one per checkpoint.
 * @property {number[]} steps
 * @property {number[]} epochs
 * @property {string} said  What a person must know of them.
 * @property {boolean} thinned  Whether there are more on the disk.
 * @property {Uint16Array[]} assignment
 * @property {Uint16Array[]} second
 * @property {Float32Array[]} entropy  As shares of log C.
 * @property {Float32Array[]} confidence
 * @property {Float32Array[]} margin
 * @property {{born: number[], died: number[], splits: number[][], merges: number[][], kept: number}[]} changes
 */

const EXPLORER_NOTHING = 65535; // in 16-bit columns: no number

const explorerColumn = (kind, bytes) => (bytes?.byteLength ? column(kind, bytes) : null);

/** 16-bit shares of 65,534 as numbers; what was none stays none. */
function explorerShares(/** @type {Uint16Array} */ packed, low = 0, high = 1) {
  const values = new Float32Array(packed.length);
  for (let k = 0; k < packed.length; k++) {
    values[k] = packed[k] === EXPLORER_NOTHING ? NaN : low + ((high - low) * packed[k]) / 65534;
  }
  return values;
}

/** The table of the snapshot that the explorer was opened at. @returns {Table} */
function explorerTable(watch, snapshot) {
  const [count, topK] = [watch.count, snapshot.top_k];
  const topClasses = column(Int32Array, snapshot.top_classes);
  const topProbs = column(Float32Array, snapshot.top_probs);
  const margin = new Float32Array(count).fill(1);
  const second = new Int32Array(count).fill(-1);
  for (let i = 0; i < count && topK > 1; i++) {
    margin[i] = topProbs[i * topK] - topProbs[i * topK + 1];
    second[i] = topClasses[i * topK + 1];
  }
  return {
    step: snapshot.step,
    epoch: snapshot.epoch,
    count,
    numClasses: snapshot.num_classes,
    assignment: column(Int32Array, snapshot.assignment),
    second,
    margin,
    confidence: column(Float32Array, snapshot.confidence),
    entropy: column(Float32Array, snapshot.sample_entropy),
    topK,
    topClasses,
    topProbs,
    labels: explorerColumn(Int32Array, watch.labels),
    labelNames: watch.label_names,
    sampleIds: column(Float64Array, watch.sample_ids),
    flips: explorerColumn(Uint16Array, snapshot.flips),
    settled: explorerColumn(Int32Array, snapshot.settled),
    agreement: explorerColumn(Float32Array, snapshot.agreement),
  };
}

/** @returns {History | null} */
function explorerHistory(sent, count) {
  if (!sent?.steps?.length) return null;
  const split = (packed) => sent.steps.map((_, t) => packed.subarray(t * count, (t + 1) * count));
  const classes = (bytes) => split(column(Uint16Array, bytes));
  const shares = (bytes) => split(explorerShares(column(Uint16Array, bytes)));
  return {
    steps: sent.steps,
    epochs: sent.epochs,
    said: sent.said,
    thinned: sent.thinned,
    changes: sent.changes,
    assignment: classes(sent.assignment),
    second: classes(sent.second),
    entropy: shares(sent.entropy),
    confidence: shares(sent.confidence),
    margin: shares(sent.margin),
  };
}

/** The table at another checkpoint: of its classes the browser holds the two likeliest. @returns {Table} */
function explorerTableAt(/** @type {Table} */ home, /** @type {History} */ history, /** @type {number} */ t) {
  const [first, second] = [history.assignment[t], history.second[t]];
  const [confidence, margin] = [history.confidence[t], history.margin[t]];
  const topClasses = new Int32Array(2 * home.count);
  const topProbs = new Float32Array(2 * home.count);
  const known = Int32Array.from(second, (id) => (id === EXPLORER_NOTHING ? -1 : id));
  for (let i = 0; i < home.count; i++) {
    topClasses.set([first[i], known[i]], 2 * i);
    topProbs.set([confidence[i], confidence[i] - margin[i]], 2 * i);
  }
  const top = Math.log(home.numClasses);
  return { ...home, step: history.steps[t], epoch: history.epochs[t], assignment: first, second: known, confidence,
    margin, entropy: history.entropy[t].map((share) => share * top), topK: 2, topClasses, topProbs, agreement: null };
}

/** Places at every checkpoint, all on one scale, and how far each is to be trusted. */
function explorerFrames(motion, count) {
  if (!motion?.xy?.byteLength) return null;
  const split = (values, width) => motion.steps.map((_, t) =>
    values.subarray(t * count * width, (t + 1) * count * width));
  return {
    steps: motion.steps,
    made: motion.made,
    xy: split(explorerShares(column(Uint16Array, motion.xy), -1, 1), 2),
    trust: motion.trust.byteLength ? split(explorerShares(column(Uint16Array, motion.trust)), 1) : null,
  };
}

/** One row per class: its size, means, and the label most of its images carry. @returns {ClassRow[]} */
function explorerClassRows(/** @type {Table} */ table) {
  const { labels, numClasses } = table;
  const rows = Array.from({ length: numClasses }, (_, id) => (
    { id, count: 0, confidence: 0, entropy: 0, label: -1, purity: 0, known: 0, tally: new Map() }
  ));
  for (let i = 0; i < table.count; i++) {
    const row = rows[table.assignment[i]];
    row.count += 1;
    row.confidence += table.confidence[i];
    row.entropy += table.entropy[i];
    if (labels && labels[i] >= 0) {
      row.known += 1;
      row.tally.set(labels[i], (row.tally.get(labels[i]) || 0) + 1);
    }
  }
  for (const row of rows) {
    row.confidence /= row.count;
    row.entropy /= row.count;
    for (const [label, n] of row.tally) {
      if (n / row.known > row.purity) [row.label, row.purity] = [label, n / row.known];
    }
  }
  return rows;
}

/** For each group its size, and the member nearest to its median: a place for its name that lies on the group. */
function explorerAnchors(group, numGroups, xy) {
  const members = Array.from({ length: numGroups }, () => /** @type {number[]} */ ([]));
  for (let i = 0; i < group.length; i++) if (group[i] >= 0 && Number.isFinite(xy[2 * i])) members[group[i]]?.push(i);
  return members.map((list) => {
    if (!list.length) return { anchor: -1, size: 0 };
    const middle = (axis) => list.map((i) => xy[2 * i + axis]).sort((a, b) => a - b)[list.length >> 1];
    const [x, y] = [middle(0), middle(1)];
    const distance = (i) => (xy[2 * i] - x) ** 2 + (xy[2 * i + 1] - y) ** 2;
    return { anchor: list.reduce((best, i) => (distance(i) < distance(best) ? i : best)), size: list.length };
  });
}

/** How many of some rows, or of all, fall into each group, as `[group, count]`, the largest first. */
function explorerTally(/** @type {ArrayLike<number> | null} */ rows, group) {
  const tally = new Map();
  const size = rows ? rows.length : group.length;
  for (let k = 0; k < size; k++) {
    const value = group[rows ? rows[k] : k];
    tally.set(value, (tally.get(value) || 0) + 1);
  }
  return [...tally].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

/** Mean of a column over rows, or over all; what is not finite is left out. */
function explorerMean(/** @type {ArrayLike<number> | null} */ rows, values) {
  let [sum, n] = [0, 0];
  const size = rows ? rows.length : values.length;
  for (let k = 0; k < size; k++) {
    const value = values[rows ? rows[k] : k];
    if (!Number.isFinite(value)) continue;
    sum += value;
    n += 1;
  }
  return sum / n;
}

const explorerMeans = new WeakMap(); // of whole columns, which do not change

/** Mean of a whole column, worked out once. */
function explorerMeanOfAll(values) {
  if (!explorerMeans.has(values)) explorerMeans.set(values, explorerMean(null, values));
  return explorerMeans.get(values);
}
