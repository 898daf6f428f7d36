// @ts-check
/**
 * The toy's samples: points in the plane, and how two views of one are made.
 *
 * A view shakes a point a little; what it changes cannot be what a class is about. On the rings it also turns the point
 * about the center, so that only the distance from there can be.
 */

/** Half the width of the plane that is shown. */
const TOY_RANGE = 1.6;
/** Points of a set that is not drawn by hand, and the most that can be drawn. */
const TOY_POINTS = 300, TOY_MOST_POINTS = 600;

/**
 * @typedef {object} ToySet
 * @property {string} title          what a menu says
 * @property {string} about          one sentence
 * @property {string[]} labelNames   what the points were made as; never seen by the training
 * @property {number} shake          standard deviation of a view's shaking at strength 1
 * @property {number} turn           largest turn about the center at strength 1, radians
 * @property {(k: number, random: ToyRandom) => [number, number, number]} point  x, y and label of point k
 */

/** @type {Record<string, ToySet>} */
const TOY_SETS = {
  blobs: {
    title: "Three blobs", about: "Three round groups, as far from each other as they can be.",
    labelNames: ["top", "left", "right"], shake: 0.25, turn: 0,
    point: (k, random) => {
      const angle = Math.PI / 2 + (2 * Math.PI * (k % 3)) / 3;
      return [Math.cos(angle) + 0.25 * random.normal(), Math.sin(angle) + 0.25 * random.normal(), k % 3];
    },
  },
  ring: {
    title: "Three rings", about: "Three rings about one center; a view turns a point about it.",
    labelNames: ["inner", "middle", "outer"], shake: 0.06, turn: Math.PI / 2,
    point: (k, random) => {
      const angle = 2 * Math.PI * random.uniform(), radius = [0.45, 0.9, 1.35][k % 3] + 0.05 * random.normal();
      return [radius * Math.cos(angle), radius * Math.sin(angle), k % 3];
    },
  },
  moons: {
    title: "Two moons", about: "Two half circles that reach into each other: no straight line parts them.",
    labelNames: ["upper", "lower"], shake: 0.1, turn: 0,
    point: (k, random) => {
      const angle = Math.PI * random.uniform(), upper = k % 2 === 0;
      const x = upper ? Math.cos(angle) : 1 - Math.cos(angle), y = upper ? Math.sin(angle) : 0.5 - Math.sin(angle);
      return [(x - 0.5) * 0.95 + 0.07 * random.normal(), (y - 0.25) * 0.95 + 0.07 * random.normal(), k % 2];
    },
  },
  scales: {
    title: "Two scales", about: "Two large groups, and one of them is three small ones: how many classes are there?",
    labelNames: ["wide", "small, top", "small, left", "small, right"], shake: 0.08, turn: 0,
    point: (k, random) => {
      if (k % 2 === 0) return [-0.8 + 0.22 * random.normal(), 0.22 * random.normal(), 0];
      const part = ((k - 1) / 2) % 3, angle = Math.PI / 2 + (2 * Math.PI * part) / 3;
      return [0.85 + 0.42 * Math.cos(angle) + 0.08 * random.normal(),
        0.42 * Math.sin(angle) + 0.08 * random.normal(), 1 + part];
    },
  },
  grid: {
    title: "Nine groups", about: "Nine small groups in three rows: enough for as many classes.",
    labelNames: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], shake: 0.1, turn: 0,
    point: (k, random) => [(k % 3) - 1 + 0.1 * random.normal(), 1 - (Math.floor(k / 3) % 3) + 0.1 * random.normal(),
      k % 9],
  },
};

/**
 * @typedef {object} ToyPoints
 * @property {number} count
 * @property {Float32Array} points          x and y of every point
 * @property {Uint8Array | null} labels     null for points drawn by hand
 * @property {string[] | null} labelNames
 * @property {number} shake
 * @property {number} turn
 */

/** The points of a set, for a seed. @returns {ToyPoints} */
function toyPoints(/** @type {string} */ name, /** @type {number} */ seed) {
  const set = TOY_SETS[name];
  if (!set) throw new Error(`no points are named "${name}": choose one of ${Object.keys(TOY_SETS).join(", ")}`);
  const random = new ToyRandom(seed, TOY_STREAMS.points);
  const points = new Float32Array(2 * TOY_POINTS), labels = new Uint8Array(TOY_POINTS);
  for (let k = 0; k < TOY_POINTS; k++) {
    const [x, y, label] = set.point(k, random);
    points[2 * k] = toyInside(x);
    points[2 * k + 1] = toyInside(y);
    labels[k] = label;
  }
  return { count: TOY_POINTS, points, labels, labelNames: set.labelNames, shake: set.shake, turn: set.turn };
}

/** Points that a person drew, x and y of one after the other. @returns {ToyPoints} */
function toyDrawn(/** @type {ArrayLike<number>} */ drawn) {
  const count = Math.min(TOY_MOST_POINTS, Math.floor(drawn.length / 2));
  if (count < 2) throw new Error(`${count} point drawn: two views of one point alone teach nothing, draw 2 or more`);
  const points = new Float32Array(2 * count);
  for (let k = 0; k < 2 * count; k++) {
    if (!Number.isFinite(drawn[k])) throw new Error(`coordinate ${k} is ${drawn[k]}: give finite numbers`);
    points[k] = toyInside(drawn[k]);
  }
  return { count, points, labels: null, labelNames: null, shake: 0.1, turn: 0 };
}

function toyInside(/** @type {number} */ value) {
  return Math.min(TOY_RANGE, Math.max(-TOY_RANGE, value));
}

/**
 * Both views of some points, view-major: [2 · rows, 2]. Strength 0 leaves the points as they are.
 * @param {ToyPoints} data
 * @param {Int32Array} rows
 */
function toyViews(data, rows, /** @type {number} */ strength, /** @type {ToyRandom} */ random) {
  const out = new Float64Array(4 * rows.length);
  for (let k = 0; k < 2 * rows.length; k++) {
    const row = rows[k % rows.length];
    const angle = strength * data.turn * (2 * random.uniform() - 1), cos = Math.cos(angle), sin = Math.sin(angle);
    const x = data.points[2 * row], y = data.points[2 * row + 1], shake = strength * data.shake;
    out[2 * k] = cos * x - sin * y + shake * random.normal();
    out[2 * k + 1] = sin * x + cos * y + shake * random.normal();
  }
  return out;
}
