// @ts-check
/** The map of images: points on a canvas, and what a pointer or a keyboard does with them. */

const REACH = 14; // pixels within which the pointer finds a point
const MAX_IMAGES_DRAWN = 160; // with at most this many points in view, the map draws the images themselves
const MORPH_MS = 700;

/** Positions moved and scaled, equally in x and y, so that the longer side spans -1 to 1. */
function normalize(/** @type {Float32Array} */ xy) {
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  xy.forEach((value, k) => {
    if (!Number.isFinite(value)) return;
    low[k % 2] = Math.min(low[k % 2], value);
    high[k % 2] = Math.max(high[k % 2], value);
  });
  const scale = 2 / (Math.max(high[0] - low[0], high[1] - low[1]) || 1);
  return xy.map((value, k) => (value - (low[k % 2] + high[k % 2]) / 2) * scale);
}

/** Points on a canvas: pan, zoom, find, lasso. Marks that follow the pointer have a canvas of their own above. */
class Scatter {
  /** @param {{hover(i: number, byKey: boolean): void, pick(i: number): void, lasso(list: number[]): void,
   *   moved(view: number[]): void, drawn(): void}} on */
  constructor(on) {
    this.on = on;
    this.base = make("canvas", { "aria-hidden": "true" });
    this.marks = make("canvas", { tabindex: "0", role: "application", "aria-roledescription": "map of images" });
    this.node = make("div", { class: "twist-map" }, this.base, this.marks);
    this.view = [0, 0, 1]; // center x, center y, magnification
    this.xy = this.target = new Float32Array(0);
    this.extent = [1, 1]; // largest |x| and |y|
    /** @type {{colorOf: ArrayLike<number>, palette: string[], selected: Uint8Array | null,
     *   groups: {anchor: number, size: number, name: string}[]}} */
    this.style = { colorOf: [], palette: [], selected: null, groups: [] };
    this.hovered = this.pinned = -1;
    this.path = /** @type {number[][] | null} */ (null);
    this.draw = coalesce(() => this.#draw());
    this.drawMarks = coalesce(() => this.#drawMarks());
    this.sizes = new ResizeObserver(() => this.#resize());
    this.sizes.observe(this.node);
    this.#listen();
  }

  /** Place the points; from an earlier place they glide, unless the person asked for reduced motion. */
  place(xy) {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden;
    cancelAnimationFrame(this.morph);
    this.target = normalize(xy);
    this.extent = [0, 1].map((axis) => this.target.reduce((most, value, k) =>
      (k % 2 === axis && Math.abs(value) > most ? Math.abs(value) : most), 0.1));
    if (still || this.xy.length !== this.target.length) {
      this.xy = this.target;
      return this.redraw();
    }
    const [from, began] = [this.xy.slice(), performance.now()];
    const frame = (/** @type {number} */ now) => {
      const t = clamp((now - began) / MORPH_MS);
      const eased = t * t * (3 - 2 * t);
      this.xy = t < 1 ? from.map((value, k) => value + (this.target[k] - value) * eased) : this.target;
      this.redraw();
      if (t < 1) this.morph = requestAnimationFrame(frame);
    };
    this.morph = requestAnimationFrame(frame);
  }

  /** What the points look like, which of them are selected, and the names of their groups. */
  paint(style) {
    this.style = { ...style, groups: style.groups.filter((group) => group.size).sort((a, b) => b.size - a.size) };
    this.draw();
  }

  redraw() {
    this.draw();
    this.drawMarks();
  }

  mark(hovered, pinned) {
    [this.hovered, this.pinned] = [hovered, pinned];
    this.drawMarks();
  }

  /** Center and zoom; told to the model when a person did it. */
  look(view, tell = true) {
    this.view = [clamp(view[0], -1.5, 1.5), clamp(view[1], -1.5, 1.5), clamp(view[2], 0.5, 200)];
    this.redraw();
    if (tell) {
      clearTimeout(this.telling);
      this.telling = setTimeout(() => this.on.moved(this.view), 150);
    }
  }

  /** Zoom about a point of the screen. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const [cx, cy, k] = this.view;
    const next = clamp(k * factor, 0.5, 200);
    const [dx, dy] = [(x - this.width / 2) / this.unit, (this.height / 2 - y) / this.unit];
    this.look([cx + dx / k - dx / next, cy + dy / k - dy / next, next]);
  }

  /** Pixels of one unit of normalized positions at magnification 1. */
  get unit() {
    return Math.max(1, Math.min((this.width / 2 - 24) / this.extent[0], (this.height / 2 - 24) / this.extent[1]));
  }

  /** Where point i stands on the screen. */
  at(i) {
    const scale = this.unit * this.view[2];
    return [
      this.width / 2 + (this.xy[2 * i] - this.view[0]) * scale,
      this.height / 2 - (this.xy[2 * i + 1] - this.view[1]) * scale,
    ];
  }

  /** The point of smallest cost, given (dx, dy) on the screen from a place; -1 when every cost is infinite. */
  #nearest(x, y, cost) {
    let [best, least] = [-1, Infinity];
    for (let i = 0; i < this.xy.length / 2; i++) {
      const [px, py] = this.at(i);
      const c = cost(px - x, py - y, i);
      if (c < least) [best, least] = [i, c];
    }
    return best;
  }

  #find(event) {
    return this.#nearest(event.offsetX, event.offsetY, (dx, dy) => {
      const distance = dx * dx + dy * dy;
      return distance <= REACH * REACH ? distance : Infinity;
    });
  }

  /** The next point in a direction: near, and rather ahead than aside. */
  #step(dirX, dirY) {
    if (this.hovered < 0) return this.#nearest(this.width / 2, this.height / 2, (dx, dy) => dx * dx + dy * dy);
    const found = this.#nearest(...this.at(this.hovered), (dx, dy, i) => {
      const ahead = dx * dirX + dy * dirY;
      const aside = Math.abs(dx * dirY - dy * dirX);
      return i !== this.hovered && ahead > 0.01 && ahead >= aside ? ahead + 2 * aside : Infinity;
    });
    return found < 0 ? this.hovered : found;
  }

  #listen() {
    const canvas = this.marks;
    let grip = /** @type {{x: number, y: number, view: number[], moved: boolean} | null} */ (null);
    let armed = false; // a page that is scrolled under a resting pointer keeps scrolling: the wheel zooms after a move
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      grip = { x: event.offsetX, y: event.offsetY, view: [...this.view], moved: false };
      if (event.shiftKey) this.path = [[event.offsetX, event.offsetY]];
    });
    canvas.addEventListener("pointermove", (event) => {
      armed ||= event.movementX !== 0 || event.movementY !== 0;
      if (!grip) return this.on.hover(this.#find(event), false);
      const [dx, dy] = [event.offsetX - grip.x, event.offsetY - grip.y];
      grip.moved ||= Math.hypot(dx, dy) > 3;
      if (this.path) {
        this.path.push([event.offsetX, event.offsetY]);
        this.drawMarks();
      } else if (grip.moved) {
        const scale = this.unit * this.view[2];
        this.look([grip.view[0] - dx / scale, grip.view[1] + dy / scale, grip.view[2]]);
      }
    });
    const release = (event) => {
      if (!grip) return;
      const [path, clicked] = [this.path, !grip.moved];
      grip = this.path = null;
      this.drawMarks();
      if (event.type === "pointercancel") return;
      if (clicked) this.on.pick(this.#find(event));
      else if (path) this.on.lasso(this.#inside(path));
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => {
      armed = false;
      this.on.hover(-1, false);
    });
    canvas.addEventListener("dblclick", () => this.look([0, 0, 1]));
    canvas.addEventListener("wheel", (event) => {
      if (!armed) return;
      event.preventDefault();
      this.zoom(Math.exp(-clamp(event.deltaY, -120, 120) / 300), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) this.on.hover(this.#step(step[0], step[1]), true);
      else if (event.key === "Enter" || event.key === " ") this.on.pick(this.hovered);
      else if (event.key === "+" || event.key === "=") this.zoom(1.4);
      else if (event.key === "-") this.zoom(1 / 1.4);
      else if (event.key === "0") this.look([0, 0, 1]);
      else return;
      event.preventDefault();
    });
    canvas.addEventListener("blur", () => this.on.hover(-1, false));
  }

  /** Points inside a closed path on the screen (even-odd rule). */
  #inside(path) {
    const inside = [];
    for (let i = 0; i < this.xy.length / 2; i++) {
      const [x, y] = this.at(i);
      let odd = false;
      path.forEach(([ax, ay], k) => {
        const [bx, by] = path[(k || path.length) - 1];
        if (ay > y !== by > y && x < ax + ((bx - ax) * (y - ay)) / (by - ay)) odd = !odd;
      });
      if (odd) inside.push(i);
    }
    return inside;
  }

  #resize() {
    [this.width, this.height] = [this.node.clientWidth, this.node.clientHeight];
    for (const canvas of [this.base, this.marks]) {
      canvas.width = Math.round(this.width * devicePixelRatio);
      canvas.height = Math.round(this.height * devicePixelRatio);
    }
    this.redraw();
  }

  /** A cleared context in CSS pixels, and the theme's ink, paper and the gray of what is not selected. */
  #begin(canvas) {
    const context = canvas.getContext("2d");
    const { color: ink, backgroundColor: paper, outlineColor: gray } = getComputedStyle(this.node);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    return { context, ink, paper, gray };
  }

  /** Radius of a dot in pixels: smaller among many, slowly growing with the magnification. */
  get radius() {
    return clamp(6 - Math.log10(this.xy.length / 2 || 1), 2, 4.5) * clamp(this.view[2] ** 0.35, 0.8, 2.4);
  }

  #draw() {
    if (!this.width) return;
    const { context, ink, paper, gray } = this.#begin(this.base);
    const { colorOf, palette, selected } = this.style;
    const visible = [];
    for (let i = 0; i < colorOf.length; i++) {
      const [x, y] = this.at(i);
      if (x > -40 && y > -40 && x < this.width + 40 && y < this.height + 40) visible.push([i, x, y]);
    }
    const focus = selected ? visible.filter(([i]) => selected[i]) : visible;
    const others = selected ? visible.filter(([i]) => !selected[i]) : [];
    const images = this.thumbnails && visible.length <= MAX_IMAGES_DRAWN;
    this.node.dataset.drawn = images ? "images" : "dots";
    if (images) {
      this.#drawImages(context, others, [gray], 0.4);
      this.#drawImages(context, focus, palette, 1);
    } else {
      this.#drawDots(context, others, [gray], 1);
      this.#drawDots(context, focus, palette, 0.85);
    }
    this.#drawNames(context, ink, paper);
    this.on.drawn();
  }

  /** Dots stamped from one small picture per color; a path per dot is several times slower. */
  #drawDots(context, points, palette, alpha) {
    const side = Math.ceil(2 * (this.radius + 1) * devicePixelRatio);
    const stamps = new OffscreenCanvas(side * palette.length, side);
    const pen = /** @type {OffscreenCanvasRenderingContext2D} */ (stamps.getContext("2d"));
    palette.forEach((color, k) => {
      pen.fillStyle = color;
      pen.beginPath();
      pen.arc((k + 0.5) * side, side / 2, this.radius * devicePixelRatio, 0, 2 * Math.PI);
      pen.fill();
    });
    const size = side / devicePixelRatio;
    context.globalAlpha = alpha;
    for (const [i, x, y] of points) {
      const k = palette.length === 1 ? 0 : this.style.colorOf[i];
      context.drawImage(stamps, k * side, 0, side, side, x - size / 2, y - size / 2, size, size);
    }
    context.globalAlpha = 1;
  }

  #drawImages(context, points, palette, alpha) {
    const side = clamp(10 * this.view[2] ** 0.4, 20, 40);
    context.globalAlpha = alpha;
    for (const [i, x, y] of points) {
      context.fillStyle = palette[palette.length === 1 ? 0 : this.style.colorOf[i]];
      context.fillRect(x - side / 2 - 2, y - side / 2 - 2, side + 4, side + 4);
      if (!this.thumbnails.draw(context, i, x, y, side)) setTimeout(this.draw, 100);
    }
    context.globalAlpha = 1;
  }

  /** Names on their groups, the largest group first; one that would cover another is left out. */
  #drawNames(context, ink, paper) {
    const { groups, selected } = this.style;
    const taken = [];
    context.font = `600 13px ${getComputedStyle(this.node).fontFamily}`;
    Object.assign(context, { textAlign: "center", textBaseline: "middle", lineJoin: "round", lineWidth: 4 });
    for (const { anchor, name } of groups) {
      const [x, y] = this.at(anchor);
      const half = context.measureText(name).width / 2 + 4;
      if (taken.some(([tx, ty, th]) => Math.abs(tx - x) < th + half && Math.abs(ty - y) < 18)) continue;
      taken.push([x, y, half]);
      context.globalAlpha = selected && !selected[anchor] ? 0.4 : 1;
      Object.assign(context, { strokeStyle: paper, fillStyle: ink });
      context.strokeText(name, x, y);
      context.fillText(name, x, y);
    }
    context.globalAlpha = 1;
  }

  #drawMarks() {
    if (!this.width) return;
    const { context, ink, paper } = this.#begin(this.marks);
    const ring = (i, radius, width, color) => {
      const [x, y] = this.at(i);
      Object.assign(context, { strokeStyle: color, lineWidth: width });
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.stroke();
    };
    for (const i of new Set([this.pinned, this.hovered])) {
      if (i < 0 || 2 * i >= this.xy.length) continue;
      ring(i, this.radius + 5, 6, paper);
      ring(i, this.radius + 5, i === this.pinned ? 3 : 2, ink);
    }
    if (this.path) {
      Object.assign(context, { strokeStyle: ink, lineWidth: 1.5 });
      context.setLineDash([5, 4]);
      context.beginPath();
      this.path.forEach(([x, y]) => context.lineTo(x, y));
      context.stroke();
      context.setLineDash([]);
    }
  }

  release() {
    this.sizes.disconnect();
    cancelAnimationFrame(this.morph);
    clearTimeout(this.telling);
    this.draw.cancel();
    this.drawMarks.cancel();
  }
}
