// @ts-check
/** A scatter as a picture to keep: PNG, or SVG whose names and caption stay text; where it came from stands below. */

const MOST_SHAPES = 5000; // points that an SVG draws one by one; more become one embedded picture
const CAPTION = { size: 11, line: 16, margin: 12 };

/** Words in lines of at most a width. */
function wrap(pen, text, width) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (pen.measureText(longer).width <= width || longer === word) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return text ? lines : [];
}

/** What the scatter shows now, with a caption below it. @returns {Promise<Blob>} */
async function pictureOf(/** @type {Scatter} */ scatter, /** @type {"png" | "svg"} */ kind, caption = "") {
  const { width, height } = scatter;
  const ratio = Math.max(2, devicePixelRatio);
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  if (!pen || !width) throw new Error("this browser gives no canvas to draw a picture on");
  const { font, ...inks } = scatter.inks();
  const bytes = inkBytes(inks); // as plain numbers, which every program that opens an SVG reads
  const mix = bytes.ink.map((value, k) => Math.round(0.64 * value + 0.36 * bytes.paper[k]));
  const [ink, paper, quiet] = [bytes.ink, bytes.paper, mix].map((rgb) => `rgb(${rgb.join(",")})`);
  const captionFont = `${CAPTION.size}px ${font}`;
  pen.font = captionFont;
  const lines = wrap(pen, caption, width - 2 * CAPTION.margin);
  const whole = height + (lines.length ? lines.length * CAPTION.line + CAPTION.margin : 0);
  if (kind === "svg") {
    const markup = svgOf(scatter, { width, height, whole, lines, ratio, font, ink, quiet, paper });
    return new Blob([new XMLSerializer().serializeToString(markup)], { type: "image/svg+xml" });
  }
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(whole * ratio)];
  pen.fillStyle = paper;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(scatter.still(ratio, true), 0, 0);
  pen.scale(ratio, ratio);
  Object.assign(pen, { font: captionFont, fillStyle: quiet, textBaseline: "alphabetic" });
  lines.forEach((line, k) => pen.fillText(line, CAPTION.margin, height + (k + 1) * CAPTION.line));
  return new Promise((done, fail) =>
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("the picture could not be encoded"))), "image/png"));
}

function svgOf(scatter, { width, height, whole, lines, ratio, font, ink, quiet, paper }) {
  const space = "http://www.w3.org/2000/svg";
  const add = (parent, tag, attributes, text = "") => {
    const node = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
    node.textContent = text;
    parent.append(node);
    return node;
  };
  const root = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({ width, height: whole, viewBox: `0 0 ${width} ${whole}` })) {
    root.setAttribute(name, String(value));
  }
  add(root, "title", {}, lines.join(" "));
  add(root, "rect", { width, height: whole, fill: paper });
  const stage = add(root, "svg", { width, height, overflow: "hidden" });
  const dots = scatter.dots(MOST_SHAPES);
  if (!dots) {
    add(stage, "image", { width, height, href: scatter.still(ratio, false).toDataURL("image/png") });
  }
  for (const { x, y, r, rim, marker, fill, alpha } of dots ?? []) {
    const path = [];
    const corner = (px, py) => path.push(`${path.length ? "L" : "M"}${px.toFixed(2)} ${py.toFixed(2)}`);
    const trace = { beginPath() {}, lineTo: corner, closePath: () => path.push("Z"), arc() {} };
    traceMarker(trace, marker, x, y, r);
    const look = marker === MARKERS.ring
      ? { fill: "none", stroke: fill, "stroke-width": (0.44 * r).toFixed(2), opacity: alpha }
      : { fill, stroke: paper, "stroke-width": (2 * rim).toFixed(2), "paint-order": "stroke", opacity: alpha };
    if (path.length) add(stage, "path", { d: path.join(""), ...look });
    else add(stage, "circle", { cx: x.toFixed(2), cy: y.toFixed(2),
      r: (marker === MARKERS.ring ? 0.78 * r : r).toFixed(2), ...look });
  }
  for (const { x, y, name, alpha } of scatter.shownNames()) {
    add(stage, "text", { x: x.toFixed(1), y: y.toFixed(1), "text-anchor": "middle", "dominant-baseline": "central",
      "font-family": font, "font-size": 13, "font-weight": 600, fill: ink, stroke: paper, "stroke-width": 4,
      "stroke-linejoin": "round", "paint-order": "stroke", opacity: alpha }, name);
  }
  lines.forEach((line, k) => add(root, "text", { x: CAPTION.margin, y: height + (k + 1) * CAPTION.line,
    "font-family": font, "font-size": CAPTION.size, fill: quiet }, line));
  return root;
}
