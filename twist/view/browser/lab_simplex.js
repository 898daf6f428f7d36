// @ts-check
/**
 * The probability simplex of the lab: every sample is a dot, every class a corner, and a dot lies where its class
 * distribution says: sure of a class near its corner, torn between two on the edge, and in the middle when flat.
 *
 * Three classes make a triangle, which shows distributions as they are. More classes lie on a circle, where different
 * distributions can meet in one place; the caption of a picture must say so (`labSimplexCaption`).
 *
 * @typedef {object} SimplexScene
 * @property {number} numClasses  C
 * @property {number} count  M dots
 * @property {Float32Array} probs  [M*C]; a row that is not finite is not drawn
 * @property {ArrayLike<number> | null} [visited]  step at which a row was computed, −1 for never: not drawn
 * @property {ArrayLike<number> | null} [labels]  ground truth, for color and shape only
 * @property {string[] | null} [labelNames]
 * @property {{rows: ArrayLike<number>, terms: Record<string, Float32Array>, pairs?: Float32Array} | null} [arrows]  see
 *   lab_arrows.js; `pairs` has both views' distributions of each row, [rows*2*C]
 * @property {number} [newest]  step of the newest batch: its dots are drawn last, and rimmed
 */

const LAB_SPREAD = 5; // pixels over which dots in one place are spread, so that they are seen as many
const LAB_MOST_ZOOM = 40;

class LabSimplex extends LabPicture {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{hover?: (row: number, x: number, y: number) => void, choose?: (row: number) => void,
   *   describe?: (row: number) => string}} [on]  told which dot the pointer or the keys are at (−1: none), with its
   *   place on the canvas; without `hover` a note with the words of `describe` is drawn beside the dot
   */
  constructor(canvas, on = {}) {
    super(canvas, "Probability simplex", "Arrow keys go from dot to dot, Enter gives one its arrows, + − 0 enlarge.");
    this.on = on;
    this.scene = /** @type {SimplexScene | null} */ (null);
    this.places = new Float32Array(0); // where dots are drawn, in units of the radius: they glide to where they lie
    this.targets = new Float32Array(0);
    this.tally = new Int32Array(0); // samples of a class, by label
    this.shares = new Float32Array(0);
    this.at = -1;
    this.marked = -1;
    this.view = { zoom: 1, x: 0, y: 0 };
    this.stamps = new LabStamps();
    this.mixed = new LabDots();
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("pointerleave", () => this.#point(-1));
    canvas.addEventListener("blur", () => this.#point(-1));
    canvas.addEventListener("click", () => this.at >= 0 && this.on.choose?.(this.at));
    canvas.addEventListener("dblclick", () => this.zoom(0));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Show a scene; dots glide from where they were if it has the same samples and classes. */
  show(/** @type {SimplexScene} */ scene) {
    const { numClasses, count: size } = scene;
    const same = this.scene?.numClasses === numClasses && this.places.length === 2 * size;
    this.scene = scene;
    if (!same) {
      this.places = new Float32Array(2 * size).fill(NaN);
      this.targets = new Float32Array(2 * size);
      this.at = this.marked = -1;
      this.view = { zoom: 1, x: 0, y: 0 };
      this.corners = labCorners(numClasses);
    }
    this.#aim();
    this.say(this.#words());
    this.draw();
  }

  /** Ring a sample, as when another picture points at it; −1 for none. */
  mark(/** @type {number} */ row) {
    if (row === this.marked) return;
    this.marked = row;
    this.draw();
  }

  /** Show a part enlarged: factors above 1 enlarge, 0 shows all again. */
  zoom(/** @type {number} */ factor, x = NaN, y = NaN) {
    const { view } = this;
    if (Number.isNaN(x)) [x, y] = this.at >= 0 ? this.dot(this.at) : [this.width / 2, this.height / 2];
    const next = factor ? clamp(view.zoom * factor, 1, LAB_MOST_ZOOM) : 1;
    const [cx, cy] = this.center;
    const ratio = next / view.zoom;
    view.x = next === 1 ? 0 : (x - cx) * (1 - ratio) + view.x * ratio;
    view.y = next === 1 ? 0 : (y - cy) * (1 - ratio) + view.y * ratio;
    view.zoom = next;
    this.draw();
  }

  key() {
    return `${this.scene?.numClasses} ${Object.values(this.view)}`;
  }

  // -- where things lie ---------------------------------------------------------------------------------------------

  /** Pixels from the middle to a corner. */
  get radius() {
    const three = this.scene?.numClasses === 3;
    return three ? Math.max(20, Math.min((this.height - 74) / 1.5, (this.width - 44) / 1.732))
      : Math.max(20, Math.min(this.height - 54, this.width - 112) / 2);
  }

  get center() {
    const three = this.scene?.numClasses === 3;
    return [this.width / 2, three ? 36 + this.radius + Math.max(0, (this.height - 74 - 1.5 * this.radius) / 2)
      : this.height / 2];
  }

  /** Pixels of a place in units of the radius. */
  pixel(/** @type {number} */ x, /** @type {number} */ y) {
    const [cx, cy] = this.center;
    const scale = this.radius * this.view.zoom;
    return [cx + this.view.x + scale * x, cy + this.view.y + scale * y];
  }

  /** Where a distribution lies, in units of the radius. */
  place(/** @type {ArrayLike<number>} */ probs, from = 0) {
    const corners = /** @type {number[][]} */ (this.corners);
    let [x, y] = [0, 0];
    for (let c = 0; c < corners.length; c++) {
      x += probs[from + c] * corners[c][0];
      y += probs[from + c] * corners[c][1];
    }
    return [x, y];
  }

  /** Where every dot is to go, and who is in which class. */
  #aim() {
    const { numClasses, count: size, probs, visited, labels } = /** @type {SimplexScene} */ (this.scene);
    const corners = /** @type {number[][]} */ (this.corners);
    const { targets } = this;
    let most = 0;
    for (let i = 0; labels && i < size; i++) most = Math.max(most, labels[i]);
    this.numLabels = labels ? most + 1 : 1;
    this.tally = new Int32Array(numClasses * this.numLabels);
    const mean = new Float64Array(numClasses);
    let known = 0;
    for (let i = 0; i < size; i++) {
      let [x, y, best] = [0, 0, 0];
      const from = i * numClasses;
      for (let c = 0; c < numClasses; c++) {
        const p = probs[from + c];
        x += p * corners[c][0];
        y += p * corners[c][1];
        if (p > probs[from + best]) best = c;
      }
      if (!Number.isFinite(x) || (visited && visited[i] < 0)) {
        targets[2 * i] = targets[2 * i + 1] = NaN;
        continue;
      }
      targets[2 * i] = x;
      targets[2 * i + 1] = y;
      known += 1;
      this.tally[best * this.numLabels + (labels ? labels[i] : 0)] += 1;
      for (let c = 0; c < numClasses; c++) mean[c] += probs[from + c];
    }
    this.known = known;
    this.mean = known ? mean.map((sum) => sum / known) : null;
    this.shares = Float32Array.from({ length: numClasses }, (_, c) => {
      let used = 0;
      for (let k = 0; k < this.numLabels; k++) used += this.tally[c * this.numLabels + k];
      return known ? used / known : 0;
    });
  }

  #words() {
    const shares = [...this.shares].map((share, c) => `class ${c} ${percent(share)}`);
    return this.shares.length <= 12 ? `${count(this.known ?? 0)} samples; ${shares.join(", ")}`
      : `${count(this.known ?? 0)} samples in ${[...this.shares].filter((share) => share > 0).length} classes`;
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  back(/** @type {CanvasRenderingContext2D} */ pen) {
    const inks = /** @type {Inks} */ (this.inks);
    const corners = this.corners;
    if (!corners) return;
    const outline = () => {
      pen.beginPath();
      corners.forEach(([x, y], c) => pen[c ? "lineTo" : "moveTo"](...this.pixel(x, y)));
      pen.closePath();
    };
    outline();
    pen.fillStyle = "rgba(64, 140, 200, 0.08)";
    pen.fill();
    pen.lineWidth = 1;
    pen.strokeStyle = inks.line;
    if (corners.length === 3) {
      for (const level of [0.25, 0.5, 0.75, 0.95]) {
        pen.beginPath();
        labEntropyRing(level).forEach(([x, y], k) => pen[k ? "lineTo" : "moveTo"](...this.pixel(x, y)));
        pen.closePath();
        pen.stroke();
      }
    } else {
      for (const [x, y] of corners) {
        pen.beginPath();
        pen.moveTo(...this.pixel(0, 0));
        pen.lineTo(...this.pixel(x, y));
        pen.stroke();
      }
    }
    outline();
    pen.strokeStyle = inks.quiet;
    pen.stroke();
    const [x, y] = this.pixel(0, 0);
    pen.fillStyle = inks.quiet;
    pen.fillRect(x - 4, y - 0.5, 8, 1);
    pen.fillRect(x - 0.5, y - 4, 1, 8);
  }

  front(/** @type {CanvasRenderingContext2D} */ pen, /** @type {number} */ passed) {
    const { scene } = this;
    const inks = /** @type {Inks} */ (this.inks);
    if (!scene) return false;
    const moving = this.#glide(labStill() ? 1 : 1 - Math.exp(-passed / 90));
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, this.width, this.height);
    pen.clip();
    const middle = this.pixel(0, 0);
    if (this.radius > 70) {
      labWrite(pen, scene.numClasses === 3 ? "cannot tell" : "undecided", middle[0], middle[1] + 18,
        { color: inks.quiet, size: 11, align: "center", halo: inks.paper });
    }
    this.#dots(pen, inks);
    this.#names(pen, inks);
    if (this.mean) this.#meanMark(pen, inks);
    if (scene.arrows) labDrawArrows(pen, this, scene.arrows);
    const row = this.at >= 0 ? this.at : this.marked;
    if (row >= 0) this.#ring(pen, inks, row);
    pen.restore();
    return moving;
  }

  #glide(share) {
    const { places, targets } = this;
    const still = 0.4 / (this.radius * this.view.zoom);
    let moving = false;
    for (let k = 0; k < places.length; k++) {
      const gap = targets[k] - places[k];
      if (gap > still || gap < -still) {
        places[k] += share * gap;
        if (share < 1) moving = true;
      } else places[k] = targets[k]; // also from and to places that are none
    }
    return moving;
  }

  /** Where a dot is drawn: beside its place by a few pixels that are its own. */
  dot(/** @type {number} */ row) {
    const [x, y] = this.pixel(this.places[2 * row], this.places[2 * row + 1]);
    const spread = this.places.length > 60 ? LAB_SPREAD : 0;
    const angle = 2.399963 * row;
    const reach = spread * Math.sqrt(((row * 7919) % 1009) / 1009);
    return [x + reach * Math.cos(angle), y + reach * Math.sin(angle)];
  }

  get dotRadius() {
    const base = this.places.length > 1600 ? 3 : this.places.length > 500 ? 3.6 : 4.4;
    return Math.min(8, base * (this.radius < 90 ? 0.8 : 1) * this.view.zoom ** 0.4);
  }

  #dots(pen, inks) {
    const scene = /** @type {SimplexScene} */ (this.scene);
    const { labels, visited, newest } = scene;
    const radius = this.dotRadius;
    this.stamps.prepare(inks, radius, this.unit, radius > 5.5);
    const kinds = labels ? Array.from({ length: this.numLabels ?? 1 }, (_, k) => k) : [-1];
    this.mixed.begin(pen.canvas.width, pen.canvas.height, this.stamps, kinds);
    const late = /** @type {number[]} */ ([]);
    const put = (row, opacity) => {
      const [x, y] = this.dot(row);
      this.mixed.put(labels ? labels[row] : 0, x * this.unit, y * this.unit, opacity);
    };
    const faint = this.places.length > 1000 ? 0.8 : 0.9;
    for (let row = 0; row < scene.count; row++) {
      if (Number.isNaN(this.places[2 * row])) continue;
      if (visited && newest !== undefined && visited[row] === newest) late.push(row);
      else put(row, faint);
    }
    for (const row of late) put(row, 1);
    this.mixed.end(pen);
  }

  /** The corners' names, shares, and what lies in them. */
  #names(pen, inks) {
    const scene = /** @type {SimplexScene} */ (this.scene);
    const corners = /** @type {number[][]} */ (this.corners);
    const many = corners.length;
    if (many > 24 && this.view.zoom === 1) return;
    corners.forEach(([x, y], c) => {
      const [px, py] = this.pixel(x, y);
      if (this.view.zoom > 1 && (px < 0 || py < 0 || px > this.width || py > this.height)) return;
      const share = percent(this.shares[c]);
      if (many === 3) {
        const top = y < 0;
        pen.font = `600 12px ${LAB_FONT}`;
        const [before, behind] = [`class ${c}`, share].map((words) => pen.measureText(words).width + 5);
        const tx = clamp(px, Math.max(33, before), this.width - Math.max(33, behind));
        const ty = clamp(top ? py - 26 : py + 20, 12, this.height - 16);
        labWrite(pen, `class ${c}`, tx - 2, ty, { color: inks.ink, size: 12, weight: 600, align: "right",
          halo: inks.paper });
        labWrite(pen, share, tx + 4, ty, { color: inks.quiet, size: 12, halo: inks.paper });
        if (scene.labels) this.#mixture(pen, inks, c, tx - 32, ty + 5, 64);
      } else {
        const words = many <= 12 && this.width > 230 ? `${c} · ${share}` : String(c);
        const size = many > 14 ? 10 : 12;
        pen.font = `600 ${size}px ${LAB_FONT}`;
        const half = pen.measureText(words).width / 2;
        const out = (side) => (Math.abs(side) < 0.2 ? 0 : side > 0 ? half : -half);
        labWrite(pen, words, clamp(px + 11 * x + out(x), half + 1, this.width - half - 1),
          clamp(py + 14 * y, 8, this.height - 8), { color: this.shares[c] ? inks.ink : inks.quiet, size, weight: 600,
            base: "middle", align: "center", halo: inks.paper });
      }
    });
  }

  /** A bar of the labels that a class holds, each part with its color and, where there is room, its shape. */
  #mixture(pen, inks, c, x, y, width) {
    let total = 0;
    for (let k = 0; k < this.numLabels; k++) total += this.tally[c * this.numLabels + k];
    pen.fillStyle = inks.line;
    pen.fillRect(x, y, width, 9);
    let at = x;
    for (let k = 0; total && k < this.numLabels; k++) {
      const part = (width * this.tally[c * this.numLabels + k]) / total;
      const color = LAB_COLORS[k % LAB_COLORS.length];
      pen.fillStyle = color;
      pen.fillRect(at, y, Math.max(0, part - (part > 3 ? 1 : 0)), 9);
      if (part >= 10) {
        labShape(pen, k, at + (part - 1) / 2, y + 4.5, 2.7);
        pen.fillStyle = labOn(color);
        pen.fill();
      }
      at += part;
    }
  }

  /** Where the mean of all distributions lies; its entropy is the diversity. */
  #meanMark(pen, inks) {
    const [x, y] = this.pixel(...this.place(/** @type {any} */ (this.mean)));
    for (const [color, width] of [[inks.paper, 6], [inks.ink, 2.5]]) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.beginPath();
      pen.moveTo(x - 7, y);
      pen.lineTo(x + 7, y);
      pen.moveTo(x, y - 7);
      pen.lineTo(x, y + 7);
      pen.stroke();
    }
    if (this.radius > 70) {
      labWrite(pen, "mean", x + 9, y - 5, { color: inks.ink, size: 11, weight: 600, halo: inks.paper });
    }
  }

  #ring(pen, inks, row) {
    if (Number.isNaN(this.places[2 * row])) return;
    const [x, y] = this.dot(row);
    for (const [color, width] of [[inks.paper, 4], [inks.ink, 2]]) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.beginPath();
      pen.arc(x, y, this.dotRadius + 3.5, 0, 2 * Math.PI);
      pen.stroke();
    }
    if (this.at === row && !this.on.hover) {
      labCallout(pen, inks, [this.on.describe?.(row) ?? this.describe(row)], x, y, this.width, this.height);
    }
  }

  /** A sample in a few words. */
  describe(/** @type {number} */ row) {
    const { numClasses, probs, labels, labelNames } = /** @type {SimplexScene} */ (this.scene);
    const own = Array.from(probs.subarray(row * numClasses, (row + 1) * numClasses));
    const order = own.map((_, c) => c).sort((a, b) => own[b] - own[a]).slice(0, 3);
    const label = labels ? `, ${labelNames?.[labels[row]] ?? `label ${labels[row]}`}` : "";
    return `sample ${row}${label}: ` + order.map((c) => `class ${c} ${percent(own[c])}`).join(", ");
  }

  // -- pointer and keys ---------------------------------------------------------------------------------------------

  /** The dot at a place of the canvas, or −1. */
  nearest(/** @type {number} */ x, /** @type {number} */ y, reach = 12) {
    let [best, found] = [reach * reach, -1];
    for (let row = 0; row < this.places.length / 2; row++) {
      const [px, py] = this.dot(row);
      const gap = (px - x) ** 2 + (py - y) ** 2;
      if (gap < best) [best, found] = [gap, row];
    }
    return found;
  }

  #point(row) {
    if (row === this.at) return;
    this.at = row;
    if (row >= 0) {
      this.on.hover?.(row, ...this.dot(row));
    } else this.on.hover?.(-1, 0, 0);
    this.draw();
  }

  #move(event) {
    if (this.grabbed) {
      this.view.x = this.grabbed.x + event.clientX;
      this.view.y = this.grabbed.y + event.clientY;
      this.draw();
      return;
    }
    const box = this.canvas.getBoundingClientRect();
    this.#point(this.nearest(event.clientX - box.left, event.clientY - box.top));
  }

  #grab(event) {
    if (this.view.zoom === 1) return;
    this.grabbed = { x: this.view.x - event.clientX, y: this.view.y - event.clientY };
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.addEventListener("pointerup", () => { this.grabbed = null; }, { once: true });
  }

  /** Ctrl and the wheel enlarge, as everywhere; the wheel alone scrolls the page. */
  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(Math.exp(-0.01 * event.deltaY), event.clientX - box.left, event.clientY - box.top);
  }

  #key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) this.#step(move);
    else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.zoom(0);
    else if (event.key === "Enter" && this.at >= 0) this.on.choose?.(this.at);
    else if (event.key === "Escape" && this.at >= 0) this.#point(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** To the next dot in a direction. */
  #step([right, down]) {
    const from = this.at >= 0 ? this.dot(this.at) : this.pixel(0, 0);
    let [best, found] = [Infinity, -1];
    for (let row = 0; row < this.places.length / 2; row++) {
      const [x, y] = this.dot(row);
      const along = (x - from[0]) * right + (y - from[1]) * down;
      const beside = Math.abs((x - from[0]) * down + (y - from[1]) * right);
      if (row !== this.at && along > 0.01 && along + 2 * beside < best) [best, found] = [along + 2 * beside, row];
    }
    if (found < 0) return;
    this.#point(found);
    this.quietUntil = 0;
    this.say(this.on.describe?.(found) ?? this.describe(found));
  }
}

/** Corners of C classes on the unit circle, the first on top; two lie left and right. @returns {number[][]} */
function labCorners(/** @type {number} */ numClasses) {
  const first = numClasses === 2 ? Math.PI : -Math.PI / 2;
  return Array.from({ length: numClasses }, (_, c) => {
    const angle = first + (2 * Math.PI * c) / numClasses;
    return [Math.cos(angle), Math.sin(angle)];
  });
}

const labRings = /** @type {Map<number, number[][]>} */ (new Map());

/** Where distributions of three classes have a share of the greatest entropy, in units of the radius. */
function labEntropyRing(/** @type {number} */ share) {
  const known = labRings.get(share);
  if (known) return known;
  const corners = labCorners(3);
  const ring = Array.from({ length: 120 }, (_, k) => {
    const angle = (2 * Math.PI * k) / 120;
    const way = corners.map(([x, y]) => (2 / 3) * (x * Math.cos(angle) + y * Math.sin(angle)));
    let [low, high] = [0, Math.min(...way.map((rate) => (rate < 0 ? 1 / 3 / -rate : Infinity)))];
    for (let turn = 0; turn < 24; turn++) {
      const middle = (low + high) / 2;
      const entropy = -way.reduce((sum, rate) => {
        const p = 1 / 3 + middle * rate;
        return sum + (p > 0 ? p * Math.log(p) : 0);
      }, 0);
      if (entropy > share * Math.log(3)) low = middle;
      else high = middle;
    }
    return [low * Math.cos(angle), low * Math.sin(angle)];
  });
  labRings.set(share, ring);
  return ring;
}

/** What a reader of the picture must know. */
function labSimplexCaption(/** @type {number} */ numClasses, noun = "sample") {
  if (numClasses === 3) return `Every dot is one ${noun}; a corner: sure of a class; the middle: cannot tell.`;
  if (numClasses === 2) return `Every dot is one ${noun}, between two classes.`;
  return `Every dot is one ${noun}. ${numClasses} classes lie on a circle: a dot in the middle may be undecided, or ` +
    "torn between opposite corners.";
}
