// @ts-check
/**
 * The entropy plane of the lab: where an experiment stands between sharpness and diversity, and how it came there.
 *
 * @typedef {{sharpness: number, diversity: number}} PlanePlace  in nats
 * @typedef {{step: ArrayLike<number>, sharpness: ArrayLike<number>, diversity: ArrayLike<number>}} PlaneTrail
 * @typedef {object} PlaneScene
 * @property {number} numClasses  C
 * @property {number} temperature
 * @property {string} finalNorm  "batch" or "none"
 * @property {number} batchSize  N of the batches that the terms are of; it caps the information
 * @property {PlaneTrail} trail
 * @property {number} [upto]  how many places of the trail are shown; all by default
 * @property {PlanePlace | null} [point]  where it stands; by default at the last shown place of the trail
 * @property {string} [letter]  written into the point when there are two experiments
 * @property {{step: number, words: string}[]} [marks]  turned knobs, drawn where they were turned
 * @property {{trail: PlaneTrail, upto?: number, point?: PlanePlace | null, letter: string} | null} [ghost]  the other
 *   experiment
 * @property {PlanePlace | null} [guess]  where a person expects it to end
 */

const LAB_TRAIL_DOTS = 700;

class LabPlane extends LabPicture {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{onpick?: ((place: PlanePlace) => void) | null}} [on]  told where a person points, while `picking` is true
   */
  constructor(canvas, on = {}) {
    super(canvas, "Entropy plane", "Left and right go along the way that the point came.");
    this.on = on;
    this.picking = false;
    this.scene = /** @type {PlaneScene | null} */ (null);
    this.shown = /** @type {PlanePlace | null} */ (null); // where the point is drawn: it glides to where it stands
    this.cursor = /** @type {PlanePlace | null} */ (null);
    this.near = -1;
    canvas.addEventListener("pointermove", (event) => this.#hover(event));
    canvas.addEventListener("pointerleave", () => {
      this.near = -1;
      this.draw();
    });
    canvas.addEventListener("click", (event) => {
      if (this.picking) this.on.onpick?.(this.#inside(this.#place(event)));
    });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => {
      this.near = -1;
      this.cursor = null;
      this.draw();
    });
  }

  /** Show a scene; the point glides there. */
  show(/** @type {PlaneScene} */ scene) {
    const upto = scene.upto ?? scene.trail.step.length;
    const jumps = !this.scene || scene.numClasses !== this.scene.numClasses || upto < 3;
    this.scene = scene;
    if (jumps || labStill()) this.shown = null;
    const at = labPlaneAt(scene);
    if (at) {
      this.say(`sharpness ${labNats(at.sharpness)}, diversity ${labNats(at.diversity)}, of at most ` +
        `${nats(Math.log(scene.numClasses))}; information ${labNats(at.diversity - at.sharpness)}`);
    }
    this.draw();
  }

  /** Follow a click or Enter to where a person expects the point to end. */
  pick(/** @type {boolean} */ picking) {
    this.picking = picking;
    this.canvas.style.cursor = picking ? "crosshair" : "";
    this.canvas.setAttribute("aria-description", picking ? "Arrow keys move your guess, Enter sets it." :
      "Left and right go along the way that the point came.");
    this.draw();
  }

  key() {
    const { scene } = this;
    return scene ? `${scene.numClasses} ${scene.temperature} ${scene.finalNorm} ${scene.batchSize}` : "";
  }

  // -- where things lie ---------------------------------------------------------------------------------------------

  get frame() {
    const narrow = this.width < 300;
    return { left: narrow ? 44 : 56, right: narrow ? 8 : 14, top: 24, bottom: narrow ? 32 : 36 };
  }

  get top() {
    return Math.log(this.scene?.numClasses ?? 2);
  }

  #x(value) {
    const { left, right } = this.frame;
    return left + (value / (1.04 * this.top)) * (this.width - left - right);
  }

  #y(value) {
    const { top, bottom } = this.frame;
    return this.height - bottom - (value / (1.03 * this.top)) * (this.height - top - bottom);
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    const { left, right, top, bottom } = this.frame;
    return { sharpness: ((event.clientX - box.left - left) / (box.width - left - right)) * 1.04 * this.top,
      diversity: ((box.bottom - bottom - event.clientY) / (box.height - top - bottom)) * 1.03 * this.top };
  }

  #inside({ sharpness, diversity }) {
    const up = clamp(diversity, 0, this.top);
    return { sharpness: clamp(sharpness, 0, up), diversity: up };
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  back(/** @type {CanvasRenderingContext2D} */ pen) {
    const { scene, top } = this;
    const inks = /** @type {Inks} */ (this.inks);
    if (!scene) return;
    const path = (corners) => {
      pen.beginPath();
      corners.forEach(([x, y], k) => pen[k ? "lineTo" : "moveTo"](this.#x(x), this.#y(y)));
      pen.closePath();
    };
    const triangle = [[0, 0], [0, top], [top, top]];
    const edge = labAttainable(scene.numClasses, scene.temperature, scene.finalNorm, scene.batchSize);
    pen.save();
    path(triangle);
    pen.clip();
    pen.fillStyle = labHatch(pen, inks.line, { gap: 6, thick: 1.2, unit: this.unit });
    pen.fillRect(0, 0, this.width, this.height);
    path(edge);
    pen.fillStyle = inks.paper;
    pen.fill();
    pen.fillStyle = "rgba(64, 140, 200, 0.12)";
    pen.fill();
    pen.restore();
    this.#information(pen, inks);
    pen.strokeStyle = inks.quiet;
    pen.lineWidth = 1;
    path(triangle);
    pen.stroke();
    if (scene.finalNorm !== "none") {
      pen.strokeStyle = "rgba(64, 140, 200, 0.6)";
      path(edge);
      pen.stroke();
    }
    this.#axes(pen, inks);
    this.#corners(pen, inks, edge);
  }

  /** Faint lines of equal information, I = diversity − sharpness. */
  #information(pen, inks) {
    const { top } = this;
    const gap = [0.1, 0.2, 0.25, 0.5, 1, 2].find((step) => top / step < 5.5) ?? 2;
    pen.strokeStyle = inks.line;
    pen.lineWidth = 1;
    for (let value = gap; value < 0.97 * top; value += gap) {
      pen.beginPath();
      pen.moveTo(this.#x(0), this.#y(value));
      pen.lineTo(this.#x(top - value), this.#y(top));
      pen.stroke();
    }
  }

  #axes(pen, inks) {
    const { top } = this;
    const bottom = this.#y(0);
    const left = this.#x(0);
    const gap = [0.1, 0.25, 0.5, 1, 2].find((step) => top / step < (this.width < 300 ? 3.5 : 5)) ?? 2;
    const style = { color: inks.quiet, size: 11 };
    for (let value = 0; value < top - 0.45 * gap; value += gap) {
      const text = String(+value.toFixed(2));
      labWrite(pen, text, this.#x(value), bottom + 13, { ...style, align: "center" });
      if (value) labWrite(pen, text, left - 5, this.#y(value) + 4, { ...style, align: "right" });
      pen.fillStyle = inks.quiet;
      pen.fillRect(this.#x(value), bottom, 1, 3);
    }
    const log = `log ${this.scene?.numClasses}`;
    labWrite(pen, log, this.#x(top), bottom + 13, { ...style, align: "center" });
    labWrite(pen, log, left - 5, this.#y(top) + 4, { ...style, align: "right" });
    pen.strokeStyle = inks.line;
    pen.beginPath();
    pen.moveTo(left, bottom + 0.5);
    pen.lineTo(this.#x(1.04 * top), bottom + 0.5);
    pen.moveTo(this.#x(top) + 0.5, bottom);
    pen.lineTo(this.#x(top) + 0.5, this.#y(top));
    pen.stroke();
    const words = this.width < 300 ? ["sharpness", "diversity"] : ["sharpness H(Y|X), nats", "diversity H(Y), nats"];
    const middle = (this.#x(0) + this.#x(top)) / 2;
    this.#axisTitle(pen, inks, "sharpness", words[0], middle, this.height - 8);
    pen.save();
    pen.translate(11, (this.#y(0) + this.#y(top)) / 2);
    pen.rotate(-Math.PI / 2);
    this.#axisTitle(pen, inks, "diversity", words[1], 0, 0);
    pen.restore();
  }

  /** An axis's title with its term's line before it. */
  #axisTitle(pen, inks, term, words, x, y) {
    pen.font = `600 12px ${LAB_FONT}`;
    const width = pen.measureText(words).width;
    const begin = x - (width + 26) / 2;
    pen.strokeStyle = inks.dark ? LAB_TERMS[term].light : LAB_TERMS[term].color;
    pen.lineWidth = 3;
    pen.setLineDash(LAB_TERMS[term].dash);
    pen.beginPath();
    pen.moveTo(begin, y - 4);
    pen.lineTo(begin + 20, y - 4);
    pen.stroke();
    pen.setLineDash([]);
    pen.lineWidth = 1;
    labWrite(pen, words, begin + 26, y, { color: inks.ink, size: 12, weight: 600 });
  }

  #corners(pen, inks, edge) {
    const { top, scene } = this;
    const name = { color: inks.ink, size: 12, weight: 600, halo: inks.paper };
    const small = { color: inks.quiet, size: 11, halo: inks.paper };
    const roomy = this.width >= 300;
    const best = edge[0][0];
    const flat = roomy ? "uniform collapse" : "uniform";
    pen.font = `600 12px ${LAB_FONT}`;
    const until = this.width - this.frame.right - pen.measureText(`healthy   ${flat}`).width; // both side by side
    labWrite(pen, "healthy", Math.max(this.#x(0), Math.min(until, this.#x(best) - 22)), this.#y(top) - 8, name);
    labWrite(pen, flat, this.width - this.frame.right, this.#y(top) - 8, { ...name, align: "right" });
    const low = this.#y(0) - (scene?.finalNorm === "none" ? 10 : 22);
    const start = this.#x(0.2 * top);
    labWrite(pen, roomy ? "one-class collapse" : "one class", start, low, name);
    if (scene?.finalNorm !== "none") labWrite(pen, "the norm forbids it", start, low + 14, small);
    if (roomy) {
      const at = { x: this.#x(0.72 * top), y: this.#y(0.56 * top) };
      labWrite(pen, "never below", at.x, at.y, small);
      labWrite(pen, "the diagonal", at.x, at.y + 14, small);
    }
  }

  front(/** @type {CanvasRenderingContext2D} */ pen, /** @type {number} */ passed) {
    const { scene } = this;
    const inks = /** @type {Inks} */ (this.inks);
    if (!scene) return false;
    const target = labPlaneAt(scene);
    if (scene.ghost) this.#ghost(pen, inks, scene.ghost);
    this.#trail(pen, inks.ink, scene.trail, scene.upto ?? scene.trail.step.length, 1);
    this.#marks(pen, inks);
    if (scene.guess) this.#guess(pen, inks, scene.guess, "your guess");
    if (this.picking && this.cursor) this.#guess(pen, inks, this.cursor, "Enter sets it here");
    let moving = false;
    if (target) {
      this.shown ??= { ...target };
      const step = 1 - Math.exp(-passed / 60);
      for (const axis of ["sharpness", "diversity"]) {
        const gap = target[axis] - this.shown[axis];
        if (Math.abs(gap) > 0.002 * this.top) moving = true;
        this.shown[axis] = moving ? this.shown[axis] + step * gap : target[axis];
      }
      this.#gap(pen, inks, this.shown);
      this.#point(pen, inks, this.shown, scene.letter ?? "");
    } else {
      labWrite(pen, "no step yet", this.#x(0.05 * this.top), this.#y(0.86 * this.top),
        { color: inks.quiet, size: 12, halo: inks.paper });
    }
    if (this.near >= 0) this.#callout(pen, inks);
    return moving;
  }

  /** The way, older places fainter. */
  #trail(pen, color, trail, upto, strength, dash = /** @type {number[]} */ ([])) {
    if (upto < 2) return;
    const stride = Math.max(1, Math.ceil(upto / LAB_TRAIL_DOTS));
    const parts = dash.length ? 1 : 4;
    const points = [];
    for (let k = 0; k < upto; k += stride) points.push(k);
    if (points[points.length - 1] !== upto - 1) points.push(upto - 1);
    pen.strokeStyle = color;
    pen.lineWidth = 1.6;
    pen.lineJoin = "round";
    pen.setLineDash(dash);
    for (let part = 0; part < parts; part++) {
      const from = Math.floor((part * (points.length - 1)) / parts);
      const to = Math.floor(((part + 1) * (points.length - 1)) / parts);
      pen.globalAlpha = strength * (dash.length ? 0.7 : 0.2 + 0.2 * part);
      pen.beginPath();
      for (let k = from; k <= to; k++) {
        const i = points[k];
        pen[k > from ? "lineTo" : "moveTo"](this.#x(trail.sharpness[i]), this.#y(trail.diversity[i]));
      }
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  #ghost(pen, inks, ghost) {
    const upto = ghost.upto ?? ghost.trail.step.length;
    this.#trail(pen, inks.quiet, ghost.trail, upto, 1, [2, 3]);
    const at = ghost.point ?? labTrailAt(ghost.trail, upto);
    if (!at) return;
    const [x, y] = [this.#x(at.sharpness), this.#y(at.diversity)];
    pen.beginPath();
    pen.arc(x, y, 8, 0, 2 * Math.PI);
    pen.fillStyle = inks.paper;
    pen.fill();
    pen.strokeStyle = inks.quiet;
    pen.lineWidth = 1.5;
    pen.setLineDash([2, 2]);
    pen.stroke();
    pen.setLineDash([]);
    labWrite(pen, ghost.letter, x, y + 0.5, { color: inks.quiet, size: 11, weight: 700, align: "center",
      base: "middle" });
  }

  /** Diamonds where a knob was turned. */
  #marks(pen, inks) {
    const { scene } = this;
    if (!scene?.marks) return;
    for (const mark of scene.marks) {
      const i = labTrailIndex(scene.trail, mark.step);
      if (i < 0 || i >= (scene.upto ?? Infinity)) continue;
      labShape(pen, 3, this.#x(scene.trail.sharpness[i]), this.#y(scene.trail.diversity[i]), 4);
      pen.fillStyle = inks.paper;
      pen.fill();
      pen.strokeStyle = inks.ink;
      pen.lineWidth = 1.4;
      pen.stroke();
    }
  }

  #guess(pen, inks, { sharpness, diversity }, words) {
    const [x, y] = [this.#x(sharpness), this.#y(diversity)];
    for (const [color, width] of [[inks.paper, 5], [inks.ink, 2]]) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.beginPath();
      for (const side of [-1, 1]) {
        pen.moveTo(x - 6, y - 6 * side);
        pen.lineTo(x + 6, y + 6 * side);
      }
      pen.stroke();
    }
    const right = x > this.width - 100;
    labWrite(pen, words, x + (right ? -10 : 10), y + (y < 40 ? 16 : -8),
      { color: inks.ink, size: 11, halo: inks.paper, align: right ? "right" : "left" });
  }

  /** The information as the way from the diagonal up to the point. */
  #gap(pen, inks, { sharpness, diversity }) {
    const information = diversity - sharpness;
    if (information < 0.04 * this.top) return;
    const [x, y] = [this.#x(sharpness), this.#y(diversity)];
    const end = this.#y(sharpness);
    pen.strokeStyle = inks.dark ? "#D98CCB" : "#AA4499";
    pen.lineWidth = 1.6;
    pen.setLineDash([6, 3, 1.5, 3]);
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x, end);
    pen.stroke();
    pen.setLineDash([]);
    if (Math.abs(end - y) < 30) return;
    const left = x > this.#x(0.7 * this.top);
    labWrite(pen, `I = ${information.toFixed(2)} nats`, x + (left ? -6 : 6), Math.min((y + end) / 2 + 4,
      this.#y(0.3 * this.top)), { color: inks.ink, size: 12, halo: inks.paper, align: left ? "right" : "left" });
  }

  #point(pen, inks, { sharpness, diversity }, letter) {
    const [x, y] = [this.#x(sharpness), this.#y(diversity)];
    pen.beginPath();
    pen.arc(x, y, letter ? 9 : 7, 0, 2 * Math.PI);
    pen.fillStyle = inks.ink;
    pen.fill();
    pen.strokeStyle = inks.paper;
    pen.lineWidth = 2;
    pen.stroke();
    if (letter) labWrite(pen, letter, x, y + 0.5, { color: inks.paper, size: 11, weight: 700, align: "center",
      base: "middle" });
  }

  /** What was at the place of the trail that the pointer or the keys are at. */
  #callout(pen, inks) {
    const { scene, near } = this;
    const trail = /** @type {PlaneScene} */ (scene).trail;
    if (near >= trail.step.length) return;
    const [x, y] = [this.#x(trail.sharpness[near]), this.#y(trail.diversity[near])];
    pen.beginPath();
    pen.arc(x, y, 4.5, 0, 2 * Math.PI);
    pen.strokeStyle = inks.focus;
    pen.lineWidth = 2;
    pen.stroke();
    const lines = [`step ${count(trail.step[near])}`, `sharpness ${labNats(trail.sharpness[near])}`,
      `diversity ${labNats(trail.diversity[near])}`];
    const mark = scene?.marks?.find(({ step }) => labTrailIndex(trail, step) === near);
    if (mark) lines.splice(1, 0, mark.words);
    labCallout(pen, inks, lines, x, y, this.width, this.height);
  }

  // -- pointer and keys ---------------------------------------------------------------------------------------------

  #hover(event) {
    const { scene } = this;
    if (!scene) return;
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const upto = scene.upto ?? scene.trail.step.length;
    const stride = Math.max(1, Math.floor(upto / 3000));
    let [best, near] = [12 ** 2, -1];
    for (let k = 0; k < upto; k += stride) {
      const gap = (this.#x(scene.trail.sharpness[k]) - x) ** 2 + (this.#y(scene.trail.diversity[k]) - y) ** 2;
      if (gap < best) [best, near] = [gap, k];
    }
    if (near !== this.near) {
      this.near = near;
      this.draw();
    }
  }

  #key(event) {
    const { scene } = this;
    const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
    const up = { ArrowDown: -1, ArrowUp: 1 }[event.key] ?? 0;
    if (!scene) return;
    if (event.key === "Escape") {
      this.near = -1;
      this.cursor = null;
    } else if (this.picking && (across || up)) {
      const from = this.cursor ?? scene.guess ?? { sharpness: 0.33 * this.top, diversity: 0.67 * this.top };
      this.cursor = this.#inside({ sharpness: from.sharpness + 0.05 * across * this.top,
        diversity: from.diversity + 0.05 * up * this.top });
    } else if (this.picking && event.key === "Enter" && this.cursor) {
      this.on.onpick?.(this.cursor);
      this.cursor = null;
    } else if (across) { // along the way, in fiftieths of it
      const upto = scene.upto ?? scene.trail.step.length;
      const stride = Math.max(1, Math.round(upto / 50));
      this.near = upto ? clamp((this.near < 0 ? upto - 1 : this.near) + stride * across, 0, upto - 1) : -1;
      if (this.near >= 0) {
        this.quietUntil = 0;
        const { step, sharpness, diversity } = scene.trail;
        this.say(`at step ${count(step[this.near])}: sharpness ${nats(sharpness[this.near])}, ` +
          `diversity ${nats(diversity[this.near])}`);
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }
}

/** Where a scene's point stands, or null. @returns {PlanePlace | null} */
function labPlaneAt(/** @type {PlaneScene} */ scene) {
  return scene.point ?? labTrailAt(scene.trail, scene.upto ?? scene.trail.step.length);
}

/** A trail's last shown place, or null. @returns {PlanePlace | null} */
function labTrailAt(/** @type {PlaneTrail} */ trail, /** @type {number} */ upto) {
  return upto > 0 ? { sharpness: trail.sharpness[upto - 1], diversity: trail.diversity[upto - 1] } : null;
}

/** The first place of a trail at or after a step, its last place if there is none, −1 for an empty trail. */
function labTrailIndex(/** @type {PlaneTrail} */ trail, /** @type {number} */ step) {
  let [low, high] = [0, trail.step.length - 1];
  if (high < 0) return -1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (trail.step[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A few lines in a box beside a place, inside the picture. */
function labCallout(pen, inks, /** @type {string[]} */ lines, x, y, width, height) {
  pen.font = `400 12px ${LAB_FONT}`;
  const wide = Math.max(...lines.map((line) => pen.measureText(line).width)) + 14;
  const high = 15 * lines.length + 8;
  const left = x + 12 + wide > width ? Math.max(2, x - 12 - wide) : x + 12;
  const up = clamp(y - high / 2, 2, height - high - 2);
  pen.fillStyle = inks.paper;
  pen.strokeStyle = inks.quiet;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.roundRect(left, up, wide, high, 5);
  pen.fill();
  pen.stroke();
  lines.forEach((line, k) => labWrite(pen, line, left + 7, up + 15 * (k + 1), { color: inks.ink, size: 12,
    weight: k ? 400 : 600 }));
}
