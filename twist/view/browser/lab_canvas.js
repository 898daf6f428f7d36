// @ts-check
/**
 * What the lab's pictures are drawn with: a canvas that knows its size, its theme's inks and when to draw again.
 *
 * A picture draws its still part once (`back`) and what moves in every frame (`front`), and asks for frames only while
 * something moves and it is on the screen.
 *
 * @typedef {{paper: string, ink: string, quiet: string, line: string, wash: string, focus: string, dark: boolean}} Inks
 */

/** A color and a dash for each term of the loss, as everywhere in twist. */
const LAB_TERMS = {
  consistency: { color: "#0072B2", light: "#4BA9E0", dash: [], sign: "▬▬", words: "views agree" },
  sharpness: { color: "#D55E00", light: "#F08A3C", dash: [6, 3], sign: "▬ ▬", words: "each sample is sure" },
  diversity: { color: "#009E73", light: "#2CC397", dash: [1.5, 3], sign: "▪▪▪", words: "all classes are used" },
};

/** Okabe-Ito, and two that stay apart from them: what a sample is. Never alone, a shape or a number says it too. */
const LAB_COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F", "#960F69",
  "#00E196"];
const LAB_SHAPES = 8;
const LAB_FONT = 'Inter, "Source Sans 3", system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif';

/** The theme's colors as the canvas can use them. @returns {Inks} */
function labInks(/** @type {HTMLElement} */ el) {
  const probe = make("span", { "aria-hidden": "true" });
  probe.style.display = "none";
  el.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const inks = /** @type {any} */ (Object.fromEntries(["paper", "ink", "quiet", "line", "wash", "focus"].map((name) =>
    [name, read(name)])));
  probe.remove();
  inks.dark = labLuminance(inks.paper) < 0.5;
  return inks;
}

/** How bright a color is as a computed style writes it, 0 to 1. */
function labLuminance(/** @type {string} */ color) {
  const parts = (color.match(/[\d.]+(?=[\s,)/])/g) ?? ["255", "255", "255"]).slice(0, 3).map(Number);
  const scale = color.startsWith("color(") ? 1 : 255;
  return (0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]) / scale;
}

const labStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

class LabPicture {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {string} name  what it shows, for who cannot see it
   * @param {string} keys  what the keys do
   */
  constructor(canvas, name, keys) {
    this.canvas = canvas;
    this.name = this.ownName = name;
    this.width = this.height = this.draws = 0;
    this.cost = 0; // milliseconds of a frame here, a running mean
    this.unit = 1; // pixels of the canvas for one of the page
    this.inks = /** @type {Inks | null} */ (null);
    this.behind = document.createElement("canvas");
    this.known = "";
    this.inView = true;
    this.last = 0;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    canvas.setAttribute("aria-description", keys);
    canvas.dataset.lmSuppressShortcuts = "true";
    this.draw = coalesce(() => this.#draw());
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(canvas);
    this.seen = new IntersectionObserver((entries) => {
      this.inView = entries[entries.length - 1].isIntersecting;
      if (this.inView) this.draw();
    });
    this.seen.observe(canvas);
    this.repaint = () => {
      this.inks = null;
      this.draw();
    };
    this.hosts = new MutationObserver(this.repaint);
    for (const node of [document.documentElement, document.body]) this.hosts.observe(node, { attributes: true });
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.repaint);
  }

  /** What the still part depends on beside size and theme. */
  key() {
    return "";
  }

  /** Draw the still part. */
  back(/** @type {CanvasRenderingContext2D} */ pen) {}

  /** Draw what moves; true while it goes on moving. `passed` is in milliseconds. */
  front(/** @type {CanvasRenderingContext2D} */ pen, /** @type {number} */ passed) {
    return false;
  }

  #draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!this.inView || !width || !height) return;
    const began = performance.now();
    const unit = window.devicePixelRatio || 1;
    this.inks ??= labInks(canvas.parentElement ?? canvas);
    const key = `${width} ${height} ${unit} ${Object.values(this.inks)} ${this.key()}`;
    if (width !== this.width || height !== this.height || unit !== this.unit) {
      [this.width, this.height, this.unit] = [width, height, unit];
      for (const each of [canvas, this.behind]) {
        each.width = Math.round(width * unit);
        each.height = Math.round(height * unit);
      }
    }
    if (key !== this.known) {
      this.known = key;
      const pen = /** @type {CanvasRenderingContext2D} */ (this.behind.getContext("2d"));
      pen.setTransform(unit, 0, 0, unit, 0, 0);
      pen.clearRect(0, 0, width, height);
      this.back(pen);
    }
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(this.behind, 0, 0);
    pen.setTransform(unit, 0, 0, unit, 0, 0);
    const moving = this.front(pen, this.last ? Math.min(100, began - this.last) : 100);
    this.last = moving ? began : 0;
    this.draws += 1;
    this.cost += (performance.now() - began - this.cost) * (this.draws < 10 ? 0.5 : 0.1);
    if (moving) this.draw();
  }

  /** Say whose picture it is, where there are two. */
  rename(/** @type {string} */ letter) {
    this.name = this.ownName + (letter ? `, ${letter}` : "");
    this.quietUntil = 0;
  }

  /** Say what is shown, at most once a second. */
  say(/** @type {string} */ words) {
    this.words = words;
    const wait = (this.quietUntil ?? 0) - performance.now();
    if (wait > 0) {
      this.saying ??= setTimeout(() => this.say(this.words ?? ""), wait + 1);
      return;
    }
    clearTimeout(this.saying);
    this.saying = undefined;
    this.quietUntil = performance.now() + 1000;
    this.canvas.setAttribute("aria-label", `${this.name}: ${words}`);
  }

  release() {
    this.draw.cancel();
    clearTimeout(this.saying);
    for (const each of [this.sized, this.seen, this.hosts]) each.disconnect();
    this.scheme.removeEventListener("change", this.repaint);
  }
}

/** Stripes at an angle as a fill. */
function labHatch(pen, color, { angle = Math.PI / 4, gap = 7, thick = 1, unit = 1 } = {}) {
  const side = Math.max(2, Math.round(gap * unit * 4));
  const tile = document.createElement("canvas");
  tile.width = tile.height = side;
  const brush = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  brush.strokeStyle = color;
  brush.lineWidth = thick * unit;
  for (let x = -side; x <= 2 * side; x += side / 4) {
    brush.beginPath();
    brush.moveTo(x, -1);
    brush.lineTo(x, side + 1);
    brush.stroke();
  }
  const pattern = pen.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().rotate((angle * 180) / Math.PI).scale(1 / unit));
  return pattern;
}

/** Nats; what rounds to zero has no sign. */
function labNats(/** @type {number} */ value) {
  return nats(Math.abs(value) < 0.005 ? 0 : value);
}

/** A text with the paper around it, so that it can be read over whatever lies there. */
function labWrite(pen, text, x, y, { color, halo, size = 12, weight = 400, align = "left", base = "alphabetic" }) {
  pen.font = `${weight} ${size}px ${LAB_FONT}`;
  pen.textAlign = align;
  pen.textBaseline = base;
  if (halo) {
    pen.lineJoin = "round";
    pen.lineWidth = 3.5;
    pen.strokeStyle = halo;
    pen.strokeText(text, x, y);
  }
  pen.fillStyle = color;
  pen.fillText(text, x, y);
}

/** The outline of a shape around (x, y): a circle, a square, triangles, a diamond, a cross, a hexagon, a star. */
function labShape(pen, shape, x, y, r) {
  const corners = (count, turn, inner = 1) => {
    for (let k = 0; k < count; k++) {
      const reach = r * (k % 2 ? inner : 1) * 1.12;
      const angle = turn + (2 * Math.PI * k) / count;
      pen[k ? "lineTo" : "moveTo"](x + reach * Math.cos(angle), y + reach * Math.sin(angle));
    }
    pen.closePath();
  };
  pen.beginPath();
  const kind = shape % LAB_SHAPES;
  if (kind === 0) pen.arc(x, y, r, 0, 2 * Math.PI);
  else if (kind === 1) pen.rect(x - 0.85 * r, y - 0.85 * r, 1.7 * r, 1.7 * r);
  else if (kind === 2) corners(3, -Math.PI / 2);
  else if (kind === 3) corners(4, 0);
  else if (kind === 4) corners(3, Math.PI / 2);
  else if (kind === 5) corners(8, Math.PI / 4, 0.45);
  else if (kind === 6) corners(6, 0);
  else corners(10, -Math.PI / 2, 0.45);
}

/** Dots of a label as small pictures, drawn once for a size and a theme: stamping them is fast. */
class LabStamps {
  constructor() {
    this.known = "";
    this.stamps = /** @type {Map<number, HTMLCanvasElement>} */ (new Map());
  }

  /** Forget what was drawn for another size or theme. */
  prepare(/** @type {Inks} */ inks, radius, unit, asNumbers) {
    const key = `${inks.paper} ${inks.ink} ${radius} ${unit} ${asNumbers}`;
    if (key !== this.known) this.stamps.clear();
    Object.assign(this, { known: key, inks, radius, unit, asNumbers });
  }

  /** The stamp of a label; −1 is a sample of which nothing is known. */
  of(/** @type {number} */ label) {
    const found = this.stamps.get(label);
    if (found) return found;
    const { inks, radius, unit, asNumbers } = /** @type {any} */ (this);
    const half = Math.ceil((radius + 2) * unit);
    const stamp = document.createElement("canvas");
    stamp.width = stamp.height = 2 * half;
    const pen = /** @type {CanvasRenderingContext2D} */ (stamp.getContext("2d"));
    pen.setTransform(unit, 0, 0, unit, half, half);
    pen.fillStyle = label < 0 ? inks.quiet : LAB_COLORS[label % LAB_COLORS.length];
    pen.strokeStyle = inks.paper;
    pen.lineWidth = 0.7;
    if (asNumbers && label >= 0) {
      labShape(pen, 0, 0, 0, radius);
      pen.fill();
      pen.stroke();
      labWrite(pen, String(label), 0, 0.5, { color: labOn(LAB_COLORS[label % LAB_COLORS.length]), size: 1.5 * radius,
        weight: 700, align: "center", base: "middle" });
    } else {
      labShape(pen, Math.max(0, label), 0, 0, radius);
      pen.fill();
      pen.stroke();
    }
    this.stamps.set(label, stamp);
    return stamp;
  }
}

/**
 * Stamps put on a canvas by the thousand: mixed here and handed over as one picture. Drawn one by one, 1,800 of them
 * cost fifteen milliseconds where the browser paints without a GPU.
 */
class LabDots {
  constructor() {
    this.layer = document.createElement("canvas");
    this.pen = /** @type {CanvasRenderingContext2D} */ (this.layer.getContext("2d", { willReadFrequently: true }));
    this.known = "";
    this.pictures = /** @type {{side: number, data: Uint8ClampedArray}[]} */ ([]);
  }

  /** Begin a picture of so many device pixels, with these stamps. */
  begin(/** @type {number} */ width, /** @type {number} */ height, /** @type {LabStamps} */ stamps, labels) {
    if (this.mixed?.width !== width || this.mixed?.height !== height) {
      Object.assign(this.layer, { width, height });
      this.mixed = new ImageData(width, height);
    } else this.mixed.data.fill(0);
    const key = `${stamps.known} ${labels}`;
    if (key === this.known) return;
    this.known = key;
    this.pictures = labels.map((label) => {
      const stamp = stamps.of(label);
      const side = stamp.width;
      return { side, data: stamp.getContext("2d").getImageData(0, 0, side, side).data };
    });
  }

  /** Put a stamp around a place in device pixels, over what lies there. */
  put(/** @type {number} */ which, /** @type {number} */ x, /** @type {number} */ y, opacity = 1) {
    const { side, data } = this.pictures[which];
    const { width, height, data: under } = /** @type {ImageData} */ (this.mixed);
    const [left, top] = [Math.round(x - side / 2), Math.round(y - side / 2)];
    const [first, last] = [Math.max(0, -left), Math.min(side, width - left)];
    for (let row = Math.max(0, -top); row < side && top + row < height; row++) {
      let from = 4 * (row * side + first);
      let to = 4 * ((top + row) * width + left + first);
      for (let column = first; column < last; column++, from += 4, to += 4) {
        if (data[from + 3] === 0) continue;
        const above = (opacity * data[from + 3]) / 255;
        const below = (under[to + 3] / 255) * (1 - above);
        const both = above + below;
        for (let k = 0; k < 3; k++) under[to + k] = (above * data[from + k] + below * under[to + k]) / both;
        under[to + 3] = 255 * both;
      }
    }
  }

  /** Draw all of them over what is on a canvas. */
  end(/** @type {CanvasRenderingContext2D} */ pen) {
    this.pen.putImageData(/** @type {ImageData} */ (this.mixed), 0, 0);
    pen.save();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(this.layer, 0, 0);
    pen.restore();
  }
}

/** Black or white, whichever is read better on a color given as #RRGGBB. */
function labOn(/** @type {string} */ color) {
  const [r, g, b] = [1, 3, 5].map((k) => (parseInt(color.slice(k, k + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000000" : "#ffffff";
}

/** An arrow from a to b with a head. */
function labArrow(pen, x0, y0, x1, y1, { color, dash = /** @type {number[]} */ ([]), width = 2, head = 6 }) {
  const angle = Math.atan2(y1 - y0, x1 - x0);
  const length = Math.hypot(x1 - x0, y1 - y0);
  const point = Math.min(head, 0.7 * length);
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = width;
  pen.setLineDash(dash);
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1 - 0.7 * point * Math.cos(angle), y1 - 0.7 * point * Math.sin(angle));
  pen.stroke();
  pen.setLineDash([]);
  pen.beginPath();
  pen.moveTo(x1, y1);
  for (const turn of [2.7, -2.7]) pen.lineTo(x1 + point * Math.cos(angle + turn), y1 + point * Math.sin(angle + turn));
  pen.closePath();
  pen.fill();
}
