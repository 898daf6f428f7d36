// @ts-check
/**
 * The toy's plane: its points, and which class the network gives to every place; drawn on with the pointer.
 *
 * A class has a hatching and a number, never a color: color and shape of a point say what it was made as, which the
 * training never sees. Hatching fades where the network is not sure.
 *
 * @typedef {object} RegionsScene
 * @property {Float32Array} points  [2*M]
 * @property {ArrayLike<number> | null} [labels]
 * @property {number} numClasses  C
 * @property {((xy: Float32Array) => {probs: Float32Array}) | null} [classify]  null: no regions yet
 * @property {number} step  regions are computed anew when it changes, ten times a second at most
 * @property {ArrayLike<number>} [chosen]  rows of the samples that carry a number, see lab_arrows.js
 * @property {boolean} [drawing]  whether pointer and keys add points
 */

const LAB_RANGE = 1.6; // half the width of the plane that is shown, as the toy's
const LAB_GRID = 34; // places classified along a side
const LAB_FINE = 132; // cells drawn along a side, between them
const LAB_REGIONS_EVERY_MS = 90; // and at most a tenth of the time
const LAB_MOST_DRAWN = 600;

class LabRegions extends LabPicture {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{hover?: (row: number, x: number, y: number) => void, choose?: (row: number) => void,
   *   drawn?: (points: number[]) => void, describe?: (row: number) => string}} [on]
   */
  constructor(canvas, on = {}) {
    super(canvas, "Points and class regions", "Arrow keys go from point to point, Enter gives one its arrows.");
    this.on = on;
    this.scene = /** @type {RegionsScene | null} */ (null);
    this.at = this.marked = -1;
    this.stroke = /** @type {number[] | null} */ (null);
    this.cursor = /** @type {number[] | null} */ (null);
    this.computed = { step: -1, when: 0 };
    this.wait = LAB_REGIONS_EVERY_MS;
    this.patch = document.createElement("canvas"); // the regions as they were drawn last
    this.masks = document.createElement("canvas");
    this.masks.width = this.masks.height = LAB_FINE;
    this.stamps = new LabStamps();
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointerup", () => this.#end());
    canvas.addEventListener("pointerleave", () => this.#point(-1));
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.#point(-1);
    });
    canvas.addEventListener("click", () => this.at >= 0 && !this.scene?.drawing && this.on.choose?.(this.at));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  show(/** @type {RegionsScene} */ scene) {
    if (scene.points !== this.scene?.points || scene.numClasses !== this.scene?.numClasses) {
      this.at = this.marked = -1;
      this.computed.step = -1;
    }
    this.scene = scene;
    if (scene.step < this.computed.step) this.computed.step = -1;
    this.canvas.style.cursor = scene.drawing ? "crosshair" : "";
    this.canvas.style.touchAction = scene.drawing ? "none" : "";
    this.say(scene.drawing ? `${scene.points.length / 2} points; arrow keys move the pen, space puts a point`
      : `${scene.points.length / 2} points, ${this.held ?? 0} of ${scene.numClasses} classes have a region`);
    this.draw();
  }

  /** Ring a sample, as when another picture points at it; −1 for none. */
  mark(/** @type {number} */ row) {
    if (row === this.marked) return;
    this.marked = row;
    this.draw();
  }

  // -- where things lie ---------------------------------------------------------------------------------------------

  get side() {
    return Math.min(this.width, this.height) - 2;
  }

  pixel(x, y) {
    const half = this.side / 2;
    return [this.width / 2 + (half * x) / LAB_RANGE, this.height / 2 - (half * y) / LAB_RANGE];
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    const half = this.side / 2;
    return [((event.clientX - box.left - this.width / 2) * LAB_RANGE) / half,
      -((event.clientY - box.top - this.height / 2) * LAB_RANGE) / half].map((x) => clamp(x, -LAB_RANGE, LAB_RANGE));
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  /** Another size or theme: the regions are to be drawn anew. */
  back(/** @type {CanvasRenderingContext2D} */ pen) {
    this.computed = { step: -1, when: 0 };
  }

  front(/** @type {CanvasRenderingContext2D} */ pen, /** @type {number} */ passed) {
    const { scene } = this;
    const inks = /** @type {Inks} */ (this.inks);
    if (!scene) return false;
    const [left, top] = this.pixel(-LAB_RANGE, LAB_RANGE);
    const now = performance.now();
    let waits = false;
    if (scene.classify && scene.step !== this.computed.step) {
      if (now - this.computed.when > this.wait) this.#regions(inks, scene);
      else waits = true;
    }
    if (scene.classify) pen.drawImage(this.patch, left, top, this.side, this.side);
    pen.strokeStyle = inks.line;
    pen.lineWidth = 1;
    pen.strokeRect(left + 0.5, top + 0.5, this.side - 1, this.side - 1);
    this.#points(pen, inks, scene);
    if (scene.classify) this.#numbers(pen, inks);
    if (scene.chosen && !scene.drawing) {
      for (let k = 0; k < scene.chosen.length; k++) {
        const row = scene.chosen[k];
        labNumberDisc(pen, inks, ...this.pixel(scene.points[2 * row], scene.points[2 * row + 1]), k + 1);
      }
    }
    const row = this.at >= 0 ? this.at : this.marked;
    if (row >= 0 && 2 * row < scene.points.length) this.#ring(pen, inks, row);
    if (this.cursor) labArrow(pen, ...this.pixel(this.cursor[0] + 0.2, this.cursor[1] - 0.2),
      ...this.pixel(this.cursor[0], this.cursor[1]), { color: inks.ink, width: 2 });
    return waits;
  }

  #points(pen, inks, scene) {
    const { points, labels } = scene;
    const size = points.length / 2;
    const radius = size > 400 ? 3.2 : 3.8;
    this.stamps.prepare(inks, radius, this.unit, false);
    const draw = (x, y, label) => {
      const stamp = this.stamps.of(label);
      const half = stamp.width / 2 / this.unit;
      const [px, py] = this.pixel(x, y);
      pen.drawImage(stamp, px - half, py - half, 2 * half, 2 * half);
    };
    for (let i = 0; i < size; i++) draw(points[2 * i], points[2 * i + 1], labels ? labels[i] : -1);
    const stroke = this.stroke ?? [];
    for (let k = 0; k < stroke.length; k += 2) draw(stroke[k], stroke[k + 1], -1);
    if (scene.drawing && !size && !stroke.length) {
      labWrite(pen, "draw some groups of points here", this.width / 2, this.height / 2,
        { color: inks.quiet, size: 13, align: "center" });
    }
  }

  /** Classify a grid, and fill each class's cells with its hatching. */
  #regions(inks, scene) {
    const began = performance.now();
    const numClasses = scene.numClasses;
    const grid = new Float32Array(2 * LAB_GRID * LAB_GRID);
    for (let r = 0, k = 0; r < LAB_GRID; r++) {
      for (let c = 0; c < LAB_GRID; c++) {
        grid[k++] = LAB_RANGE * ((2 * c) / (LAB_GRID - 1) - 1);
        grid[k++] = LAB_RANGE * (1 - (2 * r) / (LAB_GRID - 1));
      }
    }
    const { probs } = scene.classify(grid);
    const { owner, sure } = labRefine(probs, numClasses);
    this.#number(owner, sure, numClasses);
    const size = Math.max(1, Math.round(this.side * this.unit));
    if (this.patch.width !== size) this.patch.width = this.patch.height = size;
    const brush = /** @type {CanvasRenderingContext2D} */ (this.patch.getContext("2d"));
    const mask = /** @type {CanvasRenderingContext2D} */ (this.masks.getContext("2d"));
    this.layer ??= document.createElement("canvas");
    if (this.layer.width !== size) this.layer.width = this.layer.height = size;
    const layer = /** @type {CanvasRenderingContext2D} */ (this.layer.getContext("2d"));
    brush.clearRect(0, 0, size, size);
    const pixels = mask.createImageData(LAB_FINE, LAB_FINE);
    for (let c = 0; c < numClasses; c++) {
      if (!this.cells?.[c]) continue;
      for (let k = 0; k < owner.length; k++) pixels.data[4 * k + 3] = owner[k] === c ? 255 * sure[k] : 0;
      mask.putImageData(pixels, 0, 0);
      layer.globalCompositeOperation = "copy";
      layer.drawImage(this.masks, 0, 0, size, size);
      layer.globalCompositeOperation = "source-in";
      layer.fillStyle = labClassHatch(layer, inks, c, this.unit);
      layer.fillRect(0, 0, size, size);
      brush.drawImage(this.layer, 0, 0);
    }
    labEdges(brush, probs, numClasses, size, inks.ink, this.unit);
    const now = performance.now();
    this.computed = { step: scene.step, when: now };
    this.wait = Math.max(LAB_REGIONS_EVERY_MS, 10 * (now - began));
  }

  /** Where each class writes its number: the cell of it farthest inside. */
  #number(owner, sure, numClasses) {
    const sums = new Float64Array(3 * numClasses);
    this.sure = new Float64Array(numClasses); // mean sureness of a class's cells
    for (let k = 0; k < owner.length; k++) {
      const c = owner[k];
      sums[3 * c] += k % LAB_FINE;
      sums[3 * c + 1] += Math.floor(k / LAB_FINE);
      sums[3 * c + 2] += 1;
      this.sure[c] += sure[k];
    }
    for (let c = 0; c < numClasses; c++) this.sure[c] /= sums[3 * c + 2] || 1;
    this.cells = Array.from({ length: numClasses }, (_, c) => sums[3 * c + 2]);
    this.held = this.cells.filter((cells) => cells > 0).length;
    this.spots = this.cells.map((cells, c) => {
      if (cells < 60) return null;
      const middle = [sums[3 * c] / cells, sums[3 * c + 1] / cells];
      const last = this.spots?.[c];
      let [best, spot] = [Infinity, [0, 0]];
      for (let y = 9; y < LAB_FINE - 9; y += 5) {
        for (let x = 9; x < LAB_FINE - 9; x += 5) {
          if (owner[y * LAB_FINE + x] !== c) continue;
          const outside = [[7, 0], [-7, 0], [0, 7], [0, -7]].filter(([dx, dy]) =>
            owner[(y + dy) * LAB_FINE + x + dx] !== c).length;
          // In the middle, with room around, not on points, and where it was before.
          const stays = last && Math.abs(last[0] * LAB_FINE - x) < 1 && Math.abs(last[1] * LAB_FINE - y) < 1;
          const cost = Math.hypot(x - middle[0], y - middle[1]) + 60 * outside + 6 * this.#crowd(x, y) -
            (stays ? 25 : 0);
          if (cost < best) [best, spot] = [cost, [x, y]];
        }
      }
      return spot.map((value) => value / LAB_FINE);
    });
  }

  /** How many points would lie under a number there, at most ten. */
  #crowd(x, y) {
    const { points } = /** @type {RegionsScene} */ (this.scene);
    const [px, py] = [LAB_RANGE * ((2 * x) / LAB_FINE - 1), LAB_RANGE * (1 - (2 * y) / LAB_FINE)];
    let found = 0;
    for (let k = 0; k < points.length && found < 10; k += 2) {
      if (Math.abs(points[k] - px) < 0.16 && Math.abs(points[k + 1] - py) < 0.16) found += 1;
    }
    return found;
  }

  #numbers(pen, inks) {
    const [left, top] = this.pixel(-LAB_RANGE, LAB_RANGE);
    this.spots?.forEach((spot, c) => {
      if (!spot) return;
      pen.globalAlpha = clamp(0.3 + 4 * (this.sure?.[c] ?? 1)); // where nobody is sure, a class means little
      labWrite(pen, String(c), left + spot[0] * this.side, top + spot[1] * this.side,
        { color: inks.ink, size: 22, weight: 700, align: "center", base: "middle", halo: inks.paper });
    });
    pen.globalAlpha = 1;
  }

  #ring(pen, inks, row) {
    const { points } = /** @type {RegionsScene} */ (this.scene);
    const [x, y] = this.pixel(points[2 * row], points[2 * row + 1]);
    for (const [color, width] of [[inks.paper, 4], [inks.ink, 2]]) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.beginPath();
      pen.arc(x, y, 8, 0, 2 * Math.PI);
      pen.stroke();
    }
    if (this.at === row && !this.on.hover && this.on.describe) {
      labCallout(pen, inks, [this.on.describe(row)], x, y, this.width, this.height);
    }
  }

  // -- pointer and keys ---------------------------------------------------------------------------------------------

  nearest(x, y, reach = 12) {
    const points = this.scene?.points ?? new Float32Array(0);
    let [best, found] = [reach * reach, -1];
    for (let row = 0; row < points.length / 2; row++) {
      const [px, py] = this.pixel(points[2 * row], points[2 * row + 1]);
      const gap = (px - x) ** 2 + (py - y) ** 2;
      if (gap < best) [best, found] = [gap, row];
    }
    return found;
  }

  #point(row) {
    if (row === this.at) return;
    this.at = row;
    const points = this.scene?.points ?? [];
    if (row >= 0) this.on.hover?.(row, .../** @type {[number, number]} */ (this.pixel(points[2 * row],
      points[2 * row + 1])));
    else this.on.hover?.(-1, 0, 0);
    this.draw();
  }

  #move(event) {
    if (this.stroke) {
      const [x, y] = this.#place(event);
      const last = this.stroke.slice(-2);
      const size = (this.scene?.points.length ?? 0) + this.stroke.length;
      if (Math.hypot(x - last[0], y - last[1]) > 0.07 && size < 2 * LAB_MOST_DRAWN) this.stroke.push(x, y);
      this.draw();
      return;
    }
    if (this.scene?.drawing) return;
    const box = this.canvas.getBoundingClientRect();
    this.#point(this.nearest(event.clientX - box.left, event.clientY - box.top));
  }

  #begin(event) {
    if (!this.scene?.drawing || event.button) return;
    this.stroke = this.#place(event);
    this.canvas.setPointerCapture(event.pointerId);
    this.draw();
  }

  #end() {
    if (!this.stroke) return;
    this.#put(this.stroke);
    this.stroke = null;
  }

  /** More points; kept here at once, the next may come before they are shown. */
  #put(/** @type {number[]} */ more) {
    if (!this.scene) return;
    const points = [...this.scene.points, ...more];
    this.scene = { ...this.scene, points: Float32Array.from(points) };
    this.on.drawn?.(points);
  }

  #key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (this.scene?.drawing && (move || event.key === " ")) {
      const [x, y] = this.cursor ?? [0, 0];
      if (move) this.cursor = [x + 0.1 * move[0], y + 0.1 * move[1]].map((at) => clamp(at, -LAB_RANGE, LAB_RANGE));
      else this.#put([x, y]);
      this.draw();
    } else if (move) this.#step(move);
    else if (event.key === "Enter" && this.at >= 0) this.on.choose?.(this.at);
    else if (event.key === "Escape" && this.at >= 0) this.#point(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #step([right, up]) {
    const points = this.scene?.points ?? [];
    const from = this.at >= 0 ? [points[2 * this.at], points[2 * this.at + 1]] : [0, 0];
    let [best, found] = [Infinity, -1];
    for (let row = 0; row < points.length / 2; row++) {
      const [dx, dy] = [points[2 * row] - from[0], points[2 * row + 1] - from[1]];
      const along = dx * right + dy * up;
      const beside = Math.abs(dx * up) + Math.abs(dy * right);
      if (row !== this.at && along > 1e-6 && along + 2 * beside < best) [best, found] = [along + 2 * beside, row];
    }
    if (found < 0) return;
    this.#point(found);
    this.quietUntil = 0;
    this.say(this.on.describe?.(found) ?? `point ${found}`);
  }
}

/** A grid's classes between its places: who owns each fine cell, and how sure. */
function labRefine(/** @type {Float32Array} */ probs, /** @type {number} */ numClasses) {
  const owner = new Uint8Array(LAB_FINE * LAB_FINE);
  const sure = new Float32Array(LAB_FINE * LAB_FINE);
  const ratio = (LAB_GRID - 1) / (LAB_FINE - 1);
  for (let y = 0, k = 0; y < LAB_FINE; y++) {
    const row = Math.min(Math.floor(y * ratio), LAB_GRID - 2);
    const down = y * ratio - row;
    for (let x = 0; x < LAB_FINE; x++, k++) {
      const at = Math.min(Math.floor(x * ratio), LAB_GRID - 2);
      const right = x * ratio - at;
      const from = (row * LAB_GRID + at) * numClasses;
      const below = from + LAB_GRID * numClasses;
      let [best, most] = [0, -1];
      for (let c = 0; c < numClasses; c++) {
        const upper = probs[from + c] + right * (probs[from + numClasses + c] - probs[from + c]);
        const lower = probs[below + c] + right * (probs[below + numClasses + c] - probs[below + c]);
        const p = upper + down * (lower - upper);
        if (p > most) [best, most] = [c, p];
      }
      owner[k] = best;
      sure[k] = clamp((most - 1 / numClasses) / (1 - 1 / numClasses));
    }
  }
  return { owner, sure };
}

/** A class's hatching: angle, gap and a tint tell it from others without a color. */
function labClassHatch(pen, inks, c, unit) {
  const styles = [[Math.PI / 4, 9], [-Math.PI / 4, 9], [0, 7], [Math.PI / 2, 7], [Math.PI / 8, 5], [-Math.PI / 8, 5]];
  const [angle, gap] = styles[c % styles.length];
  const side = Math.round(gap * unit * 4);
  const tile = document.createElement("canvas");
  tile.width = tile.height = side;
  const brush = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  brush.fillStyle = inks.ink;
  brush.globalAlpha = [0.03, 0.08, 0.13][c % 3];
  brush.fillRect(0, 0, side, side);
  brush.globalAlpha = inks.dark ? 0.36 : 0.24;
  brush.strokeStyle = inks.ink;
  brush.lineWidth = (c < 6 ? 1 : 2) * unit;
  for (let x = side / 8; x < side; x += side / 4) {
    brush.beginPath();
    brush.moveTo(x, 0);
    brush.lineTo(x, side);
    brush.stroke();
  }
  const pattern = pen.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().rotate((angle * 180) / Math.PI));
  return pattern;
}

/** Smooth lines between classes: where a class's lead over the best other one is zero, between the grid's places. */
function labEdges(pen, /** @type {Float32Array} */ probs, numClasses, size, color, unit) {
  const cell = size / (LAB_GRID - 1);
  const lead = new Float32Array(LAB_GRID * LAB_GRID);
  pen.strokeStyle = color;
  pen.lineWidth = 1.5 * unit;
  pen.lineCap = "round";
  const [firm, faint] = [new Path2D(), new Path2D()]; // faint where both sides are hardly more than a guess
  const least = 1 / numClasses + 0.12 * (1 - 1 / numClasses);
  for (let c = 0; c < numClasses; c++) {
    for (let k = 0; k < lead.length; k++) {
      let best = 0;
      for (let d = 0; d < numClasses; d++) if (d !== c) best = Math.max(best, probs[k * numClasses + d]);
      lead[k] = probs[k * numClasses + c] - best;
    }
    for (let y = 0; y < LAB_GRID - 1; y++) {
      for (let x = 0; x < LAB_GRID - 1; x++) {
        const k = y * LAB_GRID + x;
        const four = [lead[k], lead[k + 1], lead[k + LAB_GRID + 1], lead[k + LAB_GRID]];
        const crossings = [];
        for (let side = 0; side < 4; side++) {
          const [from, to] = [four[side], four[(side + 1) % 4]];
          if (from > 0 === to > 0) continue;
          const at = from / (from - to);
          crossings.push([x + [at, 1, 1 - at, 0][side], y + [0, at, 1, 1 - at][side]]);
        }
        const path = probs[k * numClasses + c] > least ? firm : faint;
        for (let n = 0; n + 1 < crossings.length; n += 2) {
          path.moveTo(crossings[n][0] * cell, crossings[n][1] * cell);
          path.lineTo(crossings[n + 1][0] * cell, crossings[n + 1][1] * cell);
        }
      }
    }
  }
  pen.stroke(firm);
  pen.globalAlpha = 0.22;
  pen.stroke(faint);
  pen.globalAlpha = 1;
}
