// @ts-check
/** Where points lie: positions on one common scale, the nearest one to a place, those inside a closed path. */

/**
 * Positions of one or more layouts moved and scaled, all alike and equally in x and y, so that the longer side of them
 * all spans -1 to 1. What is not a number stays: such a point has no place.
 * @param {Float32Array[]} layouts
 * @returns {Float32Array[]}
 */
function normalizeTogether(layouts) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const xy of layouts) {
    for (let k = 0; k < xy.length; k += 2) {
      const [x, y] = [xy[k], xy[k + 1]];
      if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < low) low = y;
      if (y > high) high = y;
    }
  }
  const scale = 2 / (Math.max(right - left, high - low) || 1);
  const middle = [(left + right) / 2, (low + high) / 2];
  return layouts.map((xy) => {
    const placed = new Float32Array(xy.length);
    for (let k = 0; k < xy.length; k += 2) {
      placed[k] = (xy[k] - middle[0]) * scale;
      placed[k + 1] = (xy[k + 1] - middle[1]) * scale;
    }
    return placed;
  });
}

/** Largest |x| and |y| of a layout, not less than a tenth. @returns {[number, number]} */
function extentOf(/** @type {Float32Array} */ xy) {
  let [x, y] = [0.1, 0.1];
  for (let k = 0; k < xy.length; k += 2) {
    if (Math.abs(xy[k]) > x) x = Math.abs(xy[k]);
    if (Math.abs(xy[k + 1]) > y) y = Math.abs(xy[k + 1]);
  }
  return [x, y];
}

/**
 * All rows in an order of which every beginning is spread evenly over them: no class hides another because it comes
 * last, and a part of the points shows the whole.
 */
function spreadOrder(/** @type {number} */ count) {
  const order = new Uint32Array(count);
  const divisor = (/** @type {number} */ a, /** @type {number} */ b) => (b ? divisor(b, a % b) : a);
  let stride = Math.max(1, Math.round(count * 0.6180339887));
  while (divisor(stride, count) > 1) stride += 1;
  for (let k = 0, row = 0; k < count; k++) {
    order[k] = row;
    row += stride;
    if (row >= count) row -= count;
  }
  return order;
}

/** Points sorted into the cells of a grid: finds one near a place without looking at all of them. */
class GridIndex {
  constructor(/** @type {Float32Array} */ xy) {
    this.xy = xy;
    const count = xy.length / 2;
    const side = (this.side = clamp(Math.ceil(Math.sqrt(count / 4)), 1, 512));
    [this.halfX, this.halfY] = extentOf(xy);
    const cells = new Int32Array(count);
    this.starts = new Uint32Array(side * side + 1);
    for (let i = 0; i < count; i++) {
      const [x, y] = [xy[2 * i], xy[2 * i + 1]];
      cells[i] = Number.isFinite(x) && Number.isFinite(y) ? this.#row(y) * side + this.#column(x) : -1;
      if (cells[i] >= 0) this.starts[cells[i] + 1] += 1;
    }
    for (let k = 0; k < side * side; k++) this.starts[k + 1] += this.starts[k];
    this.rows = new Uint32Array(this.starts[side * side]);
    const next = this.starts.slice();
    for (let i = 0; i < count; i++) if (cells[i] >= 0) this.rows[next[cells[i]]++] = i;
  }

  #column(x) {
    return clamp(Math.floor(((x / this.halfX + 1) / 2) * this.side), 0, this.side - 1);
  }

  #row(y) {
    return clamp(Math.floor(((y / this.halfY + 1) / 2) * this.side), 0, this.side - 1);
  }

  /** Call `visit` with the rows in the cells that a rectangle touches, until it returns true. */
  visit(left, low, right, high, visit) {
    if (right < -this.halfX || left > this.halfX || high < -this.halfY || low > this.halfY) return;
    const [first, last] = [this.#column(left), this.#column(right)];
    for (let row = this.#row(low); row <= this.#row(high); row++) {
      const end = this.starts[row * this.side + last + 1];
      for (let k = this.starts[row * this.side + first]; k < end; k++) if (visit(this.rows[k])) return;
    }
  }

  /** The point nearest to a place within a radius, -1 when there is none. */
  nearest(x, y, radius) {
    let [best, least] = [-1, radius * radius];
    this.visit(x - radius, y - radius, x + radius, y + radius, (i) => {
      const distance = (this.xy[2 * i] - x) ** 2 + (this.xy[2 * i + 1] - y) ** 2;
      if (distance <= least) [best, least] = [i, distance];
      return false;
    });
    return best;
  }
}

const BANDS = 128;

/**
 * Rows of the points inside a closed path (even-odd rule), each point tested against the edges at its height only.
 * @param {Float32Array} xy
 * @param {number[][]} path
 */
function rowsInside(xy, path) {
  const ys = path.map((corner) => corner[1]);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const scale = BANDS / (high - low || 1);
  const bands = Array.from({ length: BANDS + 1 }, () => /** @type {number[]} */ ([]));
  path.forEach(([ax, ay], k) => {
    const [bx, by] = path[(k || path.length) - 1];
    if (ay === by) return;
    const first = Math.floor((Math.min(ay, by) - low) * scale);
    const last = Math.floor((Math.max(ay, by) - low) * scale);
    for (let band = first; band <= last; band++) bands[band].push(ay, by, ax, (bx - ax) / (by - ay));
  });
  const found = new Uint32Array(xy.length / 2);
  let size = 0;
  for (let i = 0; i < found.length; i++) {
    const y = xy[2 * i + 1];
    if (!(y >= low && y <= high)) continue;
    const edges = bands[Math.floor((y - low) * scale)];
    const x = xy[2 * i];
    let odd = false;
    for (let k = 0; k < edges.length; k += 4) {
      if (edges[k] > y !== edges[k + 1] > y && x < edges[k + 2] + (y - edges[k]) * edges[k + 3]) odd = !odd;
    }
    if (odd) found[size++] = i;
  }
  return found.slice(0, size);
}
