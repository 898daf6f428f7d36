// @ts-check
/**
 * A map of many points: drawn by WebGL, moved, zoomed, hovered, lassoed and walked over, all without the kernel.
 *
 * Three canvases lie on each other: the points, the names of their groups (or, near enough, the images themselves),
 * and the marks of the pointer, which answer at once however many points there are.
 *
 * @typedef {object} Style
 * @property {ArrayLike<number>} colorOf  Index into the palette for each point; others are gray.
 * @property {string[]} palette
 * @property {Uint8Array | null} selected  Points in focus; the others recede. Null: all alike.
 * @property {{anchor: number, size: number, name: string}[]} groups  Names that stand on their anchor's point.
 * @property {Uint8Array} [shapeOf]  Marker of each point: 0 disc, 1 ring, 2 square, 3 triangle, 4 cross, 5 diamond.
 * @property {Float32Array} [alphaOf]  0 to 1 for each point.
 * @property {Float32Array} [sizeOf]  Size of each point, 0 to 3.9 times the usual.
 */

const MAX_IMAGES_DRAWN = 160; // with at most this many points in view, the map draws the images themselves
const MORPH_MS = 700;
const SETTLE_MS = 150;
const FRAME_MS = 28; // what a frame may cost while something moves; a part of the points is drawn where all cost more
const SLOW_MS = 250;
const MANY = 20_000; // points from which on the cost of a frame is measured
const RESTORE_MS = 2500;
const NO_COLOR = "#8a8f98";

class Scatter {
  /**
   * @param {{hover(i: number, byKey: boolean): void, pick(i: number, event: Event): void,
   *   lasso(rows: Uint32Array, effect: "set" | "add" | "remove", path: number[][]): void,
   *   moved(view: number[]): void, drawn(): void}} on  The path of a lasso is in normalized positions.
   */
  constructor(on) {
    this.on = on;
    this.names = make("canvas", { "aria-hidden": "true" });
    this.marks = make("canvas", { tabindex: "0", role: "application", "aria-roledescription": "map of images" });
    this.note = make("p", { class: "twist-map-note", role: "status", hidden: "" });
    this.node = make("div", { class: "twist-map" }, this.names, this.note, this.marks);
    this.view = [0, 0, 1]; // center x, center y, magnification
    this.thumbnails = /** @type {Thumbnails | null} */ (null);
    this.from = this.to = this.target = new Float32Array(0);
    this.t = 1;
    this.layouts = /** @type {Float32Array[]} */ ([]);
    this.extents = /** @type {[number, number][]} */ ([[1, 1], [1, 1]]);
    this.style = /** @type {Style} */ ({ colorOf: [], palette: [], selected: null, groups: [] });
    this.width = this.height = 0;
    this.hovered = this.pinned = -1;
    this.lassoMode = /** @type {boolean | "box"} */ (false);
    this.path = /** @type {number[][] | null} */ (null);
    this.placed = -Infinity;
    this.cost = 0; // milliseconds of a frame with all points
    this.moving = false;
    this.draw = coalesce(() => this.#draw());
    this.drawMarks = coalesce(() => this.#drawMarks());
    this.sizes = new ResizeObserver(() => this.#resize());
    this.sizes.observe(this.node);
    this.#addLayer(true);
    listenTo(this);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The layer of points

  /** A canvas for the points: by WebGL where wanted and there is any, else a plain one. */
  #addLayer(byGl) {
    this.base?.remove();
    this.base = make("canvas", { "aria-hidden": "true" });
    let layer = byGl ? GlLayer.on(this.base) : null;
    if (layer) {
      const made = layer; // given up, it may still be heard of
      this.base.addEventListener("webglcontextlost", (event) => this.layer === made && this.#lose(event));
      this.base.addEventListener("webglcontextrestored", () => this.layer === made && this.#restore());
    } else {
      this.base = make("canvas", { "aria-hidden": "true" });
      layer = new FlatLayer(this.base);
    }
    this.layer = layer;
    this.node.prepend(this.base);
    this.node.dataset.renderer = layer instanceof GlLayer ? "webgl" : layer.pen ? "canvas" : "none";
    this.#fit();
  }

  /** The browser took the context (too many maps, a sleeping machine): wait for it, then go on without. */
  #lose(event) {
    if (this.released) return;
    event.preventDefault();
    this.waiting = setTimeout(() => {
      this.#addLayer(false);
      this.redraw();
    }, RESTORE_MS);
  }

  #restore() {
    clearTimeout(this.waiting);
    /** @type {GlLayer} */ (this.layer).restore();
    this.redraw();
  }

  #say() {
    const { renderer } = this.node.dataset;
    const [all, most] = [this.to.length / 2, MOST_ON_CANVAS];
    this.note.textContent = renderer === "none"
      ? "This browser gives no canvas to draw on: the map cannot be shown. The tables below and Python's side work."
      : renderer === "canvas" && all > most
        ? `Drawn without WebGL: ${count(most)} of ${count(all)} points, evenly spread. Hover and lasso reach all.` : "";
    this.note.hidden = !this.note.textContent;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Positions

  /** Positions as shown now. */
  get xy() {
    if (this.t <= 0) return this.from;
    if (this.t >= 1) return this.to;
    const { from, to, t } = this;
    if (this.mix?.from !== from || this.mix.to !== to || this.mix.t !== t) {
      const xy = new Float32Array(to.length);
      for (let k = 0; k < xy.length; k++) xy[k] = from[k] + (to[k] - from[k]) * t;
      this.mix = { from, to, t, xy };
    }
    return this.mix.xy;
  }

  /** Largest |x| and |y|; it glides with the points. */
  get extent() {
    return this.extents[0].map((value, k) => mixed(value, this.extents[1][k], this.t));
  }

  #stand(from, to, t, extents, moving = true) {
    Object.assign(this, { from, to, t, extents });
    if (moving) this.#stir();
    this.redraw();
  }

  /**
   * Place the points. They glide from where they are when they are as many as before, unless the person asked for
   * reduced motion or frames are too costly. Positions already on the scale of -1 to 1 are kept by `normalized`.
   */
  place(xy, { glide = true, normalized = false } = {}) {
    cancelAnimationFrame(this.morph);
    const before = this.xy;
    const extents = [this.extent, extentOf(this.target = normalized ? xy : normalizeTogether([xy])[0])];
    const { target } = this;
    this.layouts = [];
    const now = performance.now();
    const hurried = now - this.placed < MORPH_MS; // places that come this fast are a film of their own
    this.placed = now;
    const still = !glide || hurried || document.hidden || !before.length || before.length !== target.length ||
      (target.length / 2 >= MANY && !(this.cost && this.cost <= FRAME_MS)) ||
      matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still) return this.#stand(target, target, 1, [extents[1], extents[1]], false);
    const frame = (/** @type {number} */ time) => {
      const t = clamp((time - now) / MORPH_MS);
      this.#stand(before, target, t * t * (3 - 2 * t), extents);
      if (t < 1) this.morph = requestAnimationFrame(frame);
      else this.#stand(target, target, 1, [extents[1], extents[1]]);
    };
    this.morph = requestAnimationFrame(frame);
  }

  /** Positions of every checkpoint, on one common scale; `frame` shows any time between them. */
  frames(layouts, at = layouts.length - 1, { normalized = false } = {}) {
    cancelAnimationFrame(this.morph);
    this.layouts = normalized ? layouts : normalizeTogether(layouts);
    const extents = this.layouts.map(extentOf);
    this.common = /** @type {[number, number]} */ ([0, 1].map((axis) => Math.max(...extents.map((e) => e[axis]))));
    this.frame(at);
  }

  /** Show time t among the frames, 0 to T - 1, at once. */
  frame(t) {
    const last = this.layouts.length - 1;
    if (last < 0) return;
    cancelAnimationFrame(this.morph);
    const at = clamp(t, 0, last);
    const k = Math.min(Math.floor(at), Math.max(0, last - 1));
    this.target = this.layouts[Math.round(at)];
    this.#stand(this.layouts[k], this.layouts[Math.min(k + 1, last)], last ? at - k : 1, [this.common, this.common]);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What is shown of them

  /** What the points look like, which of them are selected, and the names of their groups. */
  paint(/** @type {Style} */ style) {
    const groups = style.groups.filter((group) => group.size).sort((a, b) => b.size - a.size);
    this.style = { ...style, groups };
    this.tints = this.order = null;
    this.draw();
  }

  redraw() {
    this.draw();
    this.drawMarks();
  }

  mark(hovered, pinned) {
    if (hovered === this.hovered && pinned === this.pinned) return;
    [this.hovered, this.pinned] = [hovered, pinned];
    this.drawMarks();
  }

  /** Center and zoom; told to the owner when a person did it. */
  look(view, tell = true) {
    const [x, y] = this.extents[1].map((value) => value + 0.5);
    this.view = [clamp(view[0], -x, x), clamp(view[1], -y, y), clamp(view[2], 0.5, 200)];
    this.#stir();
    this.redraw();
    if (tell) {
      clearTimeout(this.telling);
      this.telling = setTimeout(() => this.on.moved(this.view), SETTLE_MS);
    }
  }

  /** Zoom about a point of the screen, which may move meanwhile. */
  zoom(factor, x = this.width / 2, y = this.height / 2, [movedX, movedY] = [0, 0]) {
    const [cx, cy, k] = this.view;
    const next = clamp(k * factor, 0.5, 200);
    const [dx, dy] = [(x - this.width / 2) / this.unit, (this.height / 2 - y) / this.unit];
    const [mx, my] = [movedX / this.unit, movedY / this.unit];
    this.look([cx + (dx - mx) / k - dx / next, cy + (dy + my) / k - dy / next, next]);
  }

  /** Pixels of one unit of normalized positions at magnification 1. */
  get unit() {
    const [x, y] = this.extent;
    return Math.max(1, Math.min((this.width / 2 - 24) / x, (this.height / 2 - 24) / y));
  }

  /** Where point i stands on the screen. */
  at(i) {
    const scale = this.unit * this.view[2];
    const { from, to, t } = this;
    return [
      this.width / 2 + (mixed(from[2 * i], to[2 * i], t) - this.view[0]) * scale,
      this.height / 2 - (mixed(from[2 * i + 1], to[2 * i + 1], t) - this.view[1]) * scale,
    ];
  }

  /** Radius of a dot in pixels: smaller among many, slowly growing with the magnification. */
  get radius() {
    const size = Math.max(1, this.to.length / 2);
    const least = clamp(1.15 - 0.25 * Math.log10(size / 1e5), 0.9, 1.15);
    const room = Math.sqrt((this.width * this.height) / size);
    return clamp(0.3 * room, least, 4.2) * clamp(this.view[2] ** 0.35, 0.8, 2.6);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Finding points

  /** While something moves, what is costly waits: the grid, and points beyond what a frame can draw. */
  #stir() {
    this.moving = true;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.moving = false;
      if (this.partial) this.draw();
    }, SETTLE_MS);
  }

  /** The grid over the positions shown, or null while they move. */
  #grid() {
    const { xy } = this;
    if (this.index?.xy === xy) return this.index;
    return this.moving ? null : (this.index = new GridIndex(xy));
  }

  /** The point of smallest cost, given (dx, dy) on the screen from a place; -1 when every cost is infinite. */
  #nearest(x, y, cost) {
    const { xy, width, height, view } = this;
    const scale = this.unit * view[2];
    let [best, least] = [-1, Infinity];
    for (let i = 0; i < xy.length / 2; i++) {
      const c = cost(width / 2 + (xy[2 * i] - view[0]) * scale - x, height / 2 - (xy[2 * i + 1] - view[1]) * scale - y);
      if (c < least) [best, least] = [i, c];
    }
    return best;
  }

  /** The point at a place of the screen, -1 when none is near. */
  find(x, y) {
    const grid = this.#grid();
    if (!grid) {
      return this.#nearest(x, y, (dx, dy) => {
        const distance = dx * dx + dy * dy;
        return distance <= REACH * REACH ? distance : Infinity;
      });
    }
    const scale = this.unit * this.view[2];
    return grid.nearest(this.view[0] + (x - this.width / 2) / scale, this.view[1] + (this.height / 2 - y) / scale,
      REACH / scale);
  }

  /** The next point in a direction on the screen, near, and rather ahead than aside; from none, that at the center. */
  neighborOf(i, direction) {
    const ways = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] };
    const [dirX, dirY] = typeof direction === "string" ? ways[direction] : direction;
    if (i < 0 || 2 * i >= this.to.length || !Number.isFinite(this.at(i)[0])) {
      return this.#nearest(this.width / 2, this.height / 2, (dx, dy) => dx * dx + dy * dy);
    }
    const found = this.#nearest(...this.at(i), (dx, dy) => {
      const ahead = dx * dirX + dy * dirY;
      const aside = Math.abs(dx * dirY - dy * dirX);
      return ahead > 0.01 && ahead >= aside ? ahead + 2 * aside : Infinity;
    });
    return found < 0 ? i : found;
  }

  /** Tell which points a closed path on the screen holds. */
  choose(path, effect) {
    const scale = this.unit * this.view[2];
    if (this.cost > SLOW_MS) this.#hold(SLOW_MS); // who waits for the rows is served before a slow frame
    const places = path.map(([x, y]) => [
      this.view[0] + (x - this.width / 2) / scale, this.view[1] + (this.height / 2 - y) / scale]);
    this.on.lasso(rowsInside(this.xy, places), effect, places);
  }

  /** Rows in view, or null when they are more than `most`. */
  #inView(most) {
    const { xy, view } = this;
    const scale = this.unit * view[2];
    const [halfX, halfY] = [(this.width / 2 + 40) / scale, (this.height / 2 + 40) / scale];
    const rows = [];
    const visit = (/** @type {number} */ i) => {
      const inside = Math.abs(xy[2 * i] - view[0]) < halfX && Math.abs(xy[2 * i + 1] - view[1]) < halfY;
      if (inside) rows.push(i);
      return rows.length > most;
    };
    const grid = this.#grid();
    if (grid) grid.visit(view[0] - halfX, view[1] - halfY, view[0] + halfX, view[1] + halfY, visit);
    else for (let i = 0; i < xy.length / 2 && !visit(i); i++);
    return rows.length > most ? null : rows;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Drawing

  #resize() {
    [this.width, this.height] = [this.node.clientWidth, this.node.clientHeight];
    this.#fit();
    this.redraw();
  }

  #fit(ratio = devicePixelRatio) {
    this.ratio = ratio;
    for (const canvas of [this.base, this.names, this.marks]) {
      const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    }
  }

  /** The theme's inks, as the page has them now. */
  inks() {
    const { color: ink, backgroundColor: paper, outlineColor: gray, fontFamily: font } = getComputedStyle(this.node);
    return { ink, paper, gray, font };
  }

  /** A cleared pen in CSS pixels; null where there is no canvas. */
  #begin(canvas) {
    const pen = canvas.getContext("2d");
    pen?.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen?.clearRect(0, 0, this.width, this.height);
    return pen;
  }

  #draw() {
    if (!this.width) return;
    this.late = this.timing && this.cost > FRAME_MS;
    if (this.late) return;
    if (this.ratio !== devicePixelRatio) this.#fit();
    this.#paintAll();
    this.on.drawn();
  }

  #paintAll() {
    const inks = this.inks();
    const images = this.thumbnails ? this.#inView(MAX_IMAGES_DRAWN) : null;
    this.node.dataset.drawn = images ? "images" : "dots";
    this.#say();
    const scene = images || this.node.dataset.renderer === "none" ? null : this.#scene(inks);
    this.partial = Boolean(scene && scene.share < 1);
    this.node.dataset.points = this.partial ? "some" : "all";
    if (!(this.layer instanceof GlLayer && this.layer.lost)) this.layer.draw(scene);
    if (scene && scene.order.length >= MANY && !this.timing) this.#time(scene.share);
    const pen = this.#begin(this.names);
    if (!pen) return;
    if (images) this.#drawImages(pen, images, inks);
    this.#drawNames(pen, inks);
  }

  /** Draw nothing for a while. */
  #hold(ms) {
    if (this.timing) return;
    this.timing = true;
    this.holding = setTimeout(() => {
      this.timing = false;
      if (this.late) this.draw();
    }, ms);
  }

  /** Measure what a frame with all points costs; frames wanted meanwhile are one frame, drawn when it is done. */
  #time(share) {
    this.timing = this.layer.time((ms) => {
      this.timing = false;
      this.cost = ms / share;
      if (this.late) this.draw();
    });
  }

  /** @returns {Scene} */
  #scene({ paper, gray }) {
    const size = this.to.length / 2;
    const { selected, shapeOf, sizeOf } = this.style;
    if (!this.tints || this.tints.length !== 4 * size) this.tints = tintsOf(this.style, size);
    if (!this.order || this.order.length !== size) {
      if (this.spread?.length !== size) this.spread = spreadOrder(size);
      this.order = this.spread;
      this.context = 0;
      if (selected) {
        this.order = new Uint32Array(size);
        for (const row of this.spread) if (!selected[row]) this.order[this.context++] = row;
        let next = this.context;
        for (const row of this.spread) if (selected[row]) this.order[next++] = row;
      }
      this.looks = shapeOf || sizeOf ? looksOf(shapeOf, sizeOf, size) : null;
    }
    const share = this.moving && this.cost > FRAME_MS
      ? clamp(Math.max(FRAME_MS / this.cost, MANY / size)) : 1;
    return {
      from: this.from, to: this.to, t: this.t, frames: this.layouts, tints: this.tints, looks: this.looks,
      order: this.order, context: this.context, share, width: this.width, height: this.height, ratio: this.ratio,
      view: [this.view[0], this.view[1], this.unit * this.view[2]], radius: this.radius,
      alpha: this.#depth(size / this.view[2] ** 2),
      ...inkBytes({ paper, gray }),
    };
  }

  /** Opacity at which the density of so many points shows as depth of color. */
  #depth(crowd) {
    const many = Math.log10(Math.max(1, crowd));
    return clamp(1.28 - 0.145 * many - 0.18 * Math.max(0, many - 5), 0.2, 0.95);
  }

  #drawImages(pen, rows, { gray }) {
    const side = clamp(10 * this.view[2] ** 0.4, 20, 40);
    const { colorOf, palette, selected } = this.style;
    for (const focused of [false, true]) {
      if (!selected && !focused) continue;
      pen.globalAlpha = focused ? 1 : 0.4;
      for (const i of rows) {
        if (selected && Boolean(selected[i]) !== focused) continue;
        const [x, y] = this.at(i);
        pen.fillStyle = focused ? palette[colorOf[i]] ?? NO_COLOR : gray;
        pen.fillRect(x - side / 2 - 2, y - side / 2 - 2, side + 4, side + 4);
        if (this.thumbnails.draw(pen, i, x, y, side)) continue;
        clearTimeout(this.again);
        this.again = setTimeout(this.draw, 100);
      }
    }
    pen.globalAlpha = 1;
  }

  /** Names with their places, the largest group first; one that would cover another is left out. */
  shownNames() {
    const { groups, selected } = this.style;
    const pen = this.names.getContext("2d");
    const taken = [];
    if (!pen) return [];
    pen.font = `600 13px ${this.inks().font}`;
    for (const { anchor, name } of groups) {
      const [x, y] = this.at(anchor);
      if (!(x > -60 && y > -20 && x < this.width + 60 && y < this.height + 20)) continue;
      const half = pen.measureText(name).width / 2 + 4;
      if (taken.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 18)) continue;
      taken.push({ x, y, half, name, alpha: selected && !selected[anchor] ? 0.4 : 1 });
    }
    return taken;
  }

  #drawNames(pen, { ink, paper }) {
    const names = this.shownNames();
    Object.assign(pen, { textAlign: "center", textBaseline: "middle", lineJoin: "round", lineWidth: 4,
      strokeStyle: paper, fillStyle: ink });
    for (const { x, y, name, alpha } of names) {
      pen.globalAlpha = alpha;
      pen.strokeText(name, x, y);
      pen.fillText(name, x, y);
    }
    pen.globalAlpha = 1;
  }

  #drawMarks() {
    const pen = this.width ? this.#begin(this.marks) : null;
    if (!pen) return;
    const { ink, paper } = this.inks();
    const ring = (i, radius, width, color) => {
      const [x, y] = this.at(i);
      Object.assign(pen, { strokeStyle: color, lineWidth: width });
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
    };
    for (const i of new Set([this.pinned, this.hovered])) {
      if (i < 0 || 2 * i >= this.to.length || !Number.isFinite(this.at(i)[0])) continue;
      ring(i, this.radius + 5, 6, paper);
      ring(i, this.radius + 5, i === this.pinned ? 3 : 2, ink);
    }
    if (this.path) {
      Object.assign(pen, { strokeStyle: ink, fillStyle: ink, lineWidth: 1.5, globalAlpha: 0.08 });
      pen.setLineDash([5, 4]);
      pen.beginPath();
      this.path.forEach(([x, y]) => pen.lineTo(x, y));
      pen.closePath();
      pen.fill("evenodd");
      pen.globalAlpha = 1;
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Pictures

  /** What is shown, as a picture with a line below that tells where it came from. */
  picture(/** @type {"png" | "svg"} */ kind, caption = "") {
    return pictureOf(this, kind, caption);
  }

  /** Points (and names) on one canvas of a resolution. */
  still(ratio, withNames) {
    const canvas = make("canvas");
    this.moving = false;
    this.#fit(ratio);
    this.#paintAll();
    [canvas.width, canvas.height] = [this.base.width, this.base.height];
    const pen = canvas.getContext("2d");
    pen.drawImage(this.base, 0, 0);
    if (withNames || this.node.dataset.drawn === "images") pen.drawImage(this.names, 0, 0);
    this.#fit();
    this.#paintAll();
    this.drawMarks();
    return canvas;
  }

  /** Every dot in view as plain numbers, context first; null when they are more than `most`, or images are drawn. */
  dots(most) {
    const rows = this.node.dataset.drawn === "images" ? null : this.#inView(most);
    if (!rows) return null;
    const scene = this.#scene(this.inks());
    const inView = new Set(rows);
    const found = [];
    this.order.forEach((i, k) => {
      if (!inView.has(i)) return;
      const [x, y] = this.at(i);
      const context = k < this.context;
      const [red, green, blue] = context ? scene.gray : scene.tints.subarray(4 * i, 4 * i + 3);
      const alpha = (scene.tints[4 * i + 3] / 255) * (context ? Math.min(0.8, scene.alpha) : scene.alpha);
      found.push({ x, y, r: scene.radius * (scene.looks ? scene.looks[2 * i + 1] / 64 : 1), rim: rimOf(scene.radius),
        marker: scene.looks ? scene.looks[2 * i] : 0, fill: `rgb(${red},${green},${blue})`, alpha: alpha.toFixed(2) });
    });
    return found;
  }

  release() {
    this.sizes.disconnect();
    cancelAnimationFrame(this.morph);
    [this.telling, this.settling, this.again, this.waiting, this.holding].forEach(clearTimeout);
    this.draw.cancel();
    this.drawMarks.cancel();
    this.released = true;
    this.layer.release();
  }
}
