// @ts-check
/**
 * What every view in the browser is written with: elements, frames, numbers as words, colors, bytes.
 *
 * The scripts here are parts, not modules: twist/view/browser/__init__.py joins those that a widget needs into one,
 * because a widget's script must be one string without imports.
 *
 * @typedef {{get(name: string): any, set(name: string, value: any): void, save_changes(): void,
 *   on(event: string, then: Function): void, off(event: string, then?: Function): void,
 *   send?(message: any, callbacks?: any, buffers?: ArrayBuffer[]): void}} Model  What the widget system, or
 *   `renderAlone`, gives.
 */

// Jupyter's one-key shortcuts (x cuts the cell) spare a focused element that has this attribute itself, not its parent.
const FOCUSABLE = new Set(["button", "select", "canvas"]);

const clamp = (/** @type {number} */ x, low = 0, high = 1) => Math.min(high, Math.max(low, x));

/** An element with attributes, listeners (`onclick`), text (`text`) and children. @returns {any} */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  if (FOCUSABLE.has(tag)) node.dataset.lmSuppressShortcuts = "true";
  return furnish(node, attributes, children);
}

/** The same for SVG. @returns {any} */
function makeSvgNode(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Run `work` at most once per frame. */
function coalesce(work) {
  let frame = 0;
  const request = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      work();
    });
  };
  request.cancel = () => {
    cancelAnimationFrame(frame);
    frame = 0; // else nothing asked for later would ever run
  };
  return request;
}

const count = new Intl.NumberFormat("en-US").format;
const percent = (/** @type {number} */ share, digits = 0) =>
  Number.isFinite(share) ? `${(100 * share).toFixed(digits)} %` : "not finite";
const nats = (/** @type {number} */ value) => (Number.isFinite(value) ? `${value.toFixed(2)} nats` : "not finite");

/** A labeled native select. */
function makeSelect(label, choices, onchoose) {
  const select = make("select", { "aria-label": label, onchange: () => onchoose(select.value) });
  for (const [value, text] of Object.entries(choices)) select.append(make("option", { value, text }));
  return select;
}

/** A small square of a class's color. */
function swatch(color) {
  const node = make("span", { class: "twist-swatch" });
  node.style.background = color;
  return node;
}

/** Bytes from the wire as a typed array; copied, because slices of a message lie at any offset. */
function column(kind, bytes) {
  const { buffer, byteOffset, byteLength } = bytes;
  return new kind(buffer.slice(byteOffset, byteOffset + byteLength));
}

/** Colors in equal steps along a line through fixed ones. */
function ramp(anchors, steps = 64) {
  const parts = anchors.map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  return Array.from({ length: steps }, (_, k) => {
    const at = (k / (steps - 1)) * (parts.length - 1);
    const left = Math.min(Math.floor(at), parts.length - 2);
    return `rgb(${parts[left].map((a, c) => Math.round(a + (parts[left + 1][c] - a) * (at - left))).join(" ")})`;
  });
}
