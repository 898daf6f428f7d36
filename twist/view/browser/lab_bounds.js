// @ts-check
/** Closed-form lines of the entropy plane, in nats: the numbers of twist/runs/bounds.py, computed in the page. */

/** Least sharpness a batch can reach behind the final norm; 0 without one. */
function labSharpnessFloor(/** @type {number} */ numClasses, temperature = 1, finalNorm = "batch") {
  if (finalNorm === "none") return 0;
  const gap = numClasses / Math.sqrt(numClasses - 1) / temperature;
  const others = (numClasses - 1) * Math.exp(-gap);
  return Math.log1p(others) + (gap * others) / (1 + others);
}

const labLogAddExp = (/** @type {number} */ a, /** @type {number} */ b) =>
  a === b ? a + Math.LN2 : Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

/** Both entropies of a code with `live` classes in use and a share `rest` of other rows; see `norm_frontier`. */
function labCodeEntropies(live, rest, numClasses, temperature) {
  const dead = numClasses - live;
  const share = (1 - rest) / live;
  const [high, low] = [Math.sqrt((1 - share) / share) / temperature, -Math.sqrt(share / (1 - share)) / temperature];
  const deadHigh = Math.sqrt((1 - rest) / rest) / temperature;
  const deadLow = -Math.sqrt(rest / (1 - rest)) / temperature;
  let total = labLogAddExp(labLogAddExp(high, Math.log(Math.max(live - 1, 1e-300)) + low), Math.log(dead) + deadLow);
  const [own, other, none] = [high - total, low - total, deadLow - total];
  total = labLogAddExp(Math.log(live) + low, Math.log(dead) + deadHigh);
  const [restLive, restDead] = [low - total, deadHigh - total];
  const { exp, log } = Math;
  const liveRow = own * exp(own) + (live - 1) * other * exp(other) + dead * none * exp(none);
  const restRow = live * restLive * exp(restLive) + dead * restDead * exp(restDead);
  const meanLive = ((1 - rest) * (exp(own) + (live - 1) * exp(other))) / live + rest * exp(restLive);
  const meanDead = (1 - rest) * exp(none) + rest * exp(restDead);
  return [-(1 - rest) * liveRow - rest * restRow, -live * meanLive * log(meanLive) - dead * meanDead * log(meanDead)];
}

const labFrontiers = /** @type {Map<string, number[][]>} */ (new Map());

/** Corners (sharpness, diversity) of the edge of what batches reach behind the final norm. @returns {number[][]} */
function labNormFrontier(/** @type {number} */ numClasses, temperature = 1) {
  const key = `${numClasses} ${temperature}`;
  const known = labFrontiers.get(key);
  if (known) return known;
  const top = Math.log(numClasses);
  const line = (from, to, count, k) => from + ((to - from) * k) / (count - 1);
  const lives = new Set(Array.from({ length: 100 }, (_, k) => Math.round(Math.exp(line(0, Math.log(numClasses - 1),
    100, k)))));
  const points = [...lives].sort((a, b) => a - b).flatMap((live) => Array.from({ length: 160 }, (_, k) =>
    labCodeEntropies(live, 1 / (1 + Math.exp(line(14, -6, 160, k))), numClasses, temperature)));
  points.push([labSharpnessFloor(numClasses, temperature), top], [top, top]);
  const spread = (axis) => Math.max(...points.map((point) => point[axis])) -
    Math.min(...points.map((point) => point[axis]));
  const [width, height] = [spread(0), spread(1)];
  const corners = new Set();
  for (let k = 0; k < 240; k++) {
    const angle = line(0, 0.98 * Math.PI, 240, k);
    const [right, up] = [Math.cos(angle) / width, Math.sin(angle) / height];
    let best = 0;
    let least = Infinity;
    for (let i = 0; i < points.length; i++) {
      const value = points[i][0] * right + points[i][1] * up;
      if (value < least) [best, least] = [i, value];
    }
    corners.add(best);
  }
  const edge = [...corners].map((i) => points[i]);
  if (labFrontiers.size > 64) labFrontiers.clear(); // a dragged temperature asks for many
  labFrontiers.set(key, edge);
  return edge;
}

/** Corners of what batches of N samples can reach in the plane, as `twist.view.plane.attainable`. */
function labAttainable(numClasses, temperature, finalNorm, batchSize) {
  const top = Math.log(numClasses);
  const cap = Math.log(Math.max(1, Math.min(batchSize || Infinity, numClasses)));
  const edge = finalNorm === "none" ? [[0, top], [0, 0], [top, top]]
    : labNormFrontier(numClasses, temperature).map((point) => [...point]);
  if (finalNorm !== "none") edge[0][1] = top;
  const information = edge.map(([x, y]) => y - x);
  if (Math.max(...information) <= cap + 1e-9) return edge;
  const last = information.reduce((found, value, k) => (value > cap ? k : found), 0);
  const share = (information[last] - cap) / (information[last] - information[last + 1]);
  const crossing = [0, 1].map((axis) => edge[last][axis] + share * (edge[last + 1][axis] - edge[last][axis]));
  return [[top - cap, top], crossing, ...edge.slice(last + 1)];
}
