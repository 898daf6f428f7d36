// @ts-check
/** Colors and markers of points as bytes. */

const swatchPens = /** @type {OffscreenCanvasRenderingContext2D[]} */ ([]);

/** Red, green, blue and alpha of CSS colors of any kind, as the browser reads them. @returns {Uint8ClampedArray} */
function bytesOf(/** @type {string[]} */ colors) {
  const pen = (swatchPens[0] ??= /** @type {any} */ (
    new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true })));
  pen.canvas.width = Math.max(1, colors.length);
  colors.forEach((color, k) => {
    pen.fillStyle = color;
    pen.fillRect(k, 0, 1, 1);
  });
  return pen.getImageData(0, 0, pen.canvas.width, 1).data;
}

/** The theme's inks as bytes. @returns {any} */
function inkBytes(/** @type {Record<string, string>} */ inks) {
  const bytes = bytesOf(Object.values(inks));
  return Object.fromEntries(Object.keys(inks).map((name, k) => [name, [...bytes.subarray(4 * k, 4 * k + 3)]]));
}

/** Color and opacity of every point. */
function tintsOf(/** @type {Style} */ { colorOf, palette, alphaOf }, /** @type {number} */ size) {
  const known = new Uint32Array(bytesOf([...palette, NO_COLOR]).slice().buffer);
  const last = palette.length;
  const tints = new Uint32Array(size);
  for (let i = 0; i < size; i++) {
    const k = colorOf[i];
    tints[i] = known[k >= 0 && k < last ? k : last];
  }
  const bytes = new Uint8Array(tints.buffer);
  if (alphaOf) for (let i = 0; i < size; i++) bytes[4 * i + 3] = Math.round(255 * clamp(alphaOf[i]));
  return bytes;
}

/** Marker and size of every point. */
function looksOf(shapeOf, sizeOf, /** @type {number} */ size) {
  const looks = new Uint8Array(2 * size);
  for (let i = 0; i < size; i++) {
    looks[2 * i] = shapeOf ? shapeOf[i] : 0;
    looks[2 * i + 1] = sizeOf ? Math.round(64 * clamp(sizeOf[i], 0, 3.9)) : 64;
  }
  return looks;
}
