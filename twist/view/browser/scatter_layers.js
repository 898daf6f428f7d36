// @ts-check
/**
 * Two ways to draw many points: by WebGL, and on a plain canvas where there is none.
 *
 * @typedef {object} Scene  What a layer draws.
 * @property {Float32Array} from
 * @property {Float32Array} to
 * @property {number} t  Points stand between `from` (0) and `to` (1).
 * @property {Float32Array[]} frames  Layouts that will be asked for again.
 * @property {[number, number, number]} view  Center and pixels per unit, in CSS pixels.
 * @property {number} width
 * @property {number} height
 * @property {number} ratio  Device pixels per CSS pixel.
 * @property {number} radius  CSS pixels.
 * @property {number} alpha
 * @property {Uint32Array} order  Rows in the order of drawing: first `context` of them in gray, then the others.
 * @property {number} context
 * @property {number} share  Which share of either part is drawn.
 * @property {Uint8Array} tints  Red, green, blue and alpha of every point.
 * @property {Uint8Array | null} looks  Marker and 64 times the size of every point; null: discs of size 1.
 * @property {number[]} paper  0 to 255, like `gray`.
 * @property {number[]} gray
 */

const MARKERS = { disc: 0, ring: 1, square: 2, triangle: 3, cross: 4, diamond: 5 };
const MOST_ON_CANVAS = 20_000;
const MOST_BUFFER_BYTES = 256e6;

/** Width of the paper-colored rim that keeps neighbors apart, in pixels; dots too small for one have none. */
const rimOf = (/** @type {number} */ radius) => clamp((radius - 1.4) * 0.5, 0, 1);

const VERTICES = `
  attribute vec2 a;
  attribute vec2 b;
  attribute vec4 tint;
  attribute vec2 look;
  uniform float t, radius, margin, reach;
  uniform vec4 view;
  varying vec4 color;
  varying float marker, size;
  void main() {
    bool gone = (t < 1.0 && abs(a.x) > 1e6) || (t > 0.0 && abs(b.x) > 1e6);
    vec2 place = (mix(a, b, t) - view.xy) * view.zw;
    gl_Position = gone ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(place, 0.0, 1.0);
    color = tint;
    marker = look.x;
    size = radius * look.y / 64.0;
    gl_PointSize = 2.0 * (size * reach + margin);
  }`;

// Every marker has about the area of the disc; `edge` is the distance from its outline, negative inside.
const FRAGMENTS = `
  precision mediump float;
  uniform mediump float rim, alpha;
  uniform highp float margin, reach;
  uniform vec3 paper;
  uniform vec4 gray;
  uniform bool plain;
  varying vec4 color;
  varying float marker, size;
  void main() {
    vec2 d = (2.0 * gl_PointCoord - 1.0) * (size * reach + margin);
    float edge = length(d) - size;
    if (!plain) {
      vec2 m = abs(d);
      if (marker > 4.5) edge = (m.x + m.y) * 0.7071 - 0.86 * size;
      else if (marker > 3.5) {
        float bar = min(abs(d.x - d.y), abs(d.x + d.y)) * 0.7071;
        edge = max(bar - 0.3 * size, max(m.x, m.y) - 0.9 * size);
      }
      else if (marker > 2.5) edge = max(0.866 * m.x - 0.5 * d.y, d.y) - 0.58 * size;
      else if (marker > 1.5) edge = max(m.x, m.y) - 0.86 * size;
      else if (marker > 0.5) edge = abs(edge + 0.22 * size) - 0.22 * size;
    }
    float outer = clamp(0.5 - edge + rim, 0.0, 1.0);
    if (outer <= 0.0) discard;
    vec3 ink = mix(color.rgb, gray.rgb, gray.a);
    float inner = clamp(0.5 - edge, 0.0, 1.0);
    gl_FragColor = vec4(mix(paper, ink, inner / outer), 1.0) * outer * alpha * color.a;
  }`;

/** Points drawn by WebGL. Positions go to the graphics card once per layout; zooming and gliding send nothing. */
class GlLayer {
  constructor(/** @type {HTMLCanvasElement} */ canvas) {
    const wishes = { antialias: false, depth: false, stencil: false, premultipliedAlpha: true };
    const gl = /** @type {any} */ (canvas.getContext("webgl2", wishes) ?? canvas.getContext("webgl", wishes));
    if (!gl) throw new Error("no WebGL");
    this.canvas = canvas;
    this.gl = gl;
    if (!gl.drawArraysInstanced && !gl.getExtension("OES_element_index_uint")) throw new Error("no long indices");
    this.restore();
  }

  /** Whether a canvas that was never drawn on will take WebGL. @returns {GlLayer | null} */
  static on(canvas) {
    try {
      return new GlLayer(canvas);
    } catch {
      return null;
    }
  }

  /** Make what lives on the graphics card; again after the browser took it away. */
  restore() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTICES], [gl.FRAGMENT_SHADER, FRAGMENTS]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    ["a", "b", "tint", "look"].forEach((name, k) => gl.bindAttribLocation(program, k, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "lost");
    gl.useProgram(program);
    this.places = Object.fromEntries(["t", "radius", "rim", "margin", "reach", "view", "alpha", "paper", "gray",
      "plain"].map((name) => [name, gl.getUniformLocation(program, name)]));
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.buffers = /** @type {Map<ArrayBufferView, any>} */ (new Map());
    this.bytes = 0;
  }

  get lost() {
    return this.gl.isContextLost();
  }

  /** The buffer that holds an array, filled when the array is new; what is neither drawn nor a frame is dropped. */
  #buffer(array, target, scene, using) {
    const { gl, buffers } = this;
    let buffer = buffers.get(array);
    if (buffer) buffers.delete(array);
    else {
      buffer = gl.createBuffer();
      gl.bindBuffer(target, buffer);
      gl.bufferData(target, array instanceof Float32Array ? withoutGaps(array) : array, gl.STATIC_DRAW);
      this.bytes += array.byteLength;
    }
    buffers.set(array, buffer);
    for (const [old, stale] of buffers) {
      if (scene.frames.includes(old) && this.bytes < MOST_BUFFER_BYTES) continue;
      if (using.includes(old)) continue;
      gl.deleteBuffer(stale);
      buffers.delete(old);
      this.bytes -= old.byteLength;
    }
    gl.bindBuffer(target, buffer);
  }

  draw(/** @type {Scene | null} */ scene) {
    const { gl, places } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!scene?.order.length) return;
    const using = [scene.from, scene.to, scene.tints, scene.looks, scene.order];
    const feed = (place, array, size, kind, normalized) => {
      this.#buffer(array, gl.ARRAY_BUFFER, scene, using);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, kind, normalized, 0, 0);
    };
    feed(0, scene.from, 2, gl.FLOAT, false);
    feed(1, scene.to, 2, gl.FLOAT, false);
    feed(2, scene.tints, 4, gl.UNSIGNED_BYTE, true);
    if (scene.looks) feed(3, scene.looks, 2, gl.UNSIGNED_BYTE, false);
    else {
      gl.disableVertexAttribArray(3);
      gl.vertexAttrib2f(3, 0, 64);
    }
    this.#buffer(scene.order, gl.ELEMENT_ARRAY_BUFFER, scene, using);
    const [cx, cy, scale] = scene.view;
    const radius = scene.radius * scene.ratio;
    gl.uniform1f(places.t, scene.t);
    gl.uniform1f(places.radius, radius);
    const rim = rimOf(scene.radius) * scene.ratio;
    gl.uniform1f(places.rim, rim);
    gl.uniform1f(places.margin, rim + 0.6);
    gl.uniform1f(places.reach, scene.looks ? 1.25 : 1); // triangles and diamonds reach beyond the disc of their area
    gl.uniform4f(places.view, cx, cy, (2 * scale) / scene.width, (2 * scale) / scene.height);
    gl.uniform3fv(places.paper, scene.paper.slice(0, 3).map((value) => value / 255));
    gl.uniform1i(places.plain, scene.looks ? 0 : 1);
    const gray = scene.gray.slice(0, 3).map((value) => value / 255);
    const part = (first, size, isContext) => {
      gl.uniform4f(places.gray, gray[0], gray[1], gray[2], isContext ? 1 : 0);
      gl.uniform1f(places.alpha, isContext ? Math.min(0.8, scene.alpha) : scene.alpha);
      gl.drawElements(gl.POINTS, Math.ceil(size * scene.share), gl.UNSIGNED_INT, 4 * first);
    };
    if (scene.context) part(0, scene.context, true);
    if (scene.context < scene.order.length) part(scene.context, scene.order.length - scene.context, false);
  }

  /** Call `then` with the milliseconds until all is drawn, without waiting for it; false where that cannot be told. */
  time(then) {
    const { gl } = this;
    if (!gl.fenceSync) return false;
    const began = performance.now();
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    const look = () => {
      if (!this.lost && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) {
        this.looking = setTimeout(look, 4);
        return;
      }
      gl.deleteSync(fence);
      then(performance.now() - began);
    };
    this.looking = setTimeout(look, 4);
    return true;
  }

  /** Give the context back at once: a browser has few. */
  release() {
    clearTimeout(this.looking);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** Positions for the graphics card, where not every one of them knows what is not a number. */
function withoutGaps(/** @type {Float32Array} */ xy) {
  let copy = null;
  for (let k = 0; k < xy.length; k++) if (!Number.isFinite(xy[k])) (copy ??= xy.slice())[k & ~1] = 1e9;
  if (copy) for (let k = 0; k < xy.length; k++) if (!Number.isFinite(copy[k])) copy[k] = 0;
  return copy ?? xy;
}

/** Trace a marker of a radius around a place; a ring is to be stroked. */
function traceMarker(pen, marker, x, y, r) {
  const corners = { [MARKERS.square]: [[-0.86, -0.86], [0.86, -0.86], [0.86, 0.86], [-0.86, 0.86]],
    [MARKERS.triangle]: [[0, -1.16], [1, 0.58], [-1, 0.58]],
    [MARKERS.cross]: [[0, -0.42], [0.48, -0.9], [0.9, -0.48], [0.42, 0], [0.9, 0.48], [0.48, 0.9], [0, 0.42],
      [-0.48, 0.9], [-0.9, 0.48], [-0.42, 0], [-0.9, -0.48], [-0.48, -0.9]],
    [MARKERS.diamond]: [[0, -1.22], [1.22, 0], [0, 1.22], [-1.22, 0]] }[marker];
  pen.beginPath();
  if (corners) {
    corners.forEach(([dx, dy]) => pen.lineTo(x + r * dx, y + r * dy));
    pen.closePath();
  } else pen.arc(x, y, marker === MARKERS.ring ? 0.78 * r : r, 0, 2 * Math.PI);
}

/** Points drawn on a plain canvas, an evenly spread part of them when they are many. */
class FlatLayer {
  constructor(/** @type {HTMLCanvasElement} */ canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
  }

  draw(/** @type {Scene | null} */ scene) {
    const { pen } = this;
    if (!pen) return;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!scene) return;
    const { order, context, from, to, t, tints, looks, ratio } = scene;
    const share = Math.min(scene.share, MOST_ON_CANVAS / (order.length || 1));
    const [cx, cy, scale] = scene.view;
    const stamps = new Map();
    const side = Math.ceil(2 * ratio * (scene.radius * 1.3 + 2));
    const stampOf = (i, isContext) => {
      const rgb = isContext ? scene.gray : tints.subarray(4 * i, 4 * i + 3);
      const marker = looks ? looks[2 * i] : 0;
      const key = ((rgb[0] * 256 + rgb[1]) * 256 + rgb[2]) * 8 + marker;
      let stamp = stamps.get(key);
      if (stamp) return stamp;
      stamp = new OffscreenCanvas(side, side);
      const ink = /** @type {OffscreenCanvasRenderingContext2D} */ (stamp.getContext("2d"));
      traceMarker(ink, marker, side / 2, side / 2, scene.radius * ratio);
      const rim = 2 * rimOf(scene.radius) * ratio;
      const wide = marker === MARKERS.ring ? 0.44 * scene.radius * ratio : 0;
      Object.assign(ink, { lineWidth: wide + rim, lineJoin: "round", strokeStyle: `rgb(${scene.paper.slice(0, 3)})` });
      if (rim) ink.stroke();
      ink.fillStyle = ink.strokeStyle = `rgb(${rgb[0]},${rgb[1]},${rgb[2]})`;
      ink.lineWidth = wide;
      if (wide) ink.stroke();
      else ink.fill();
      stamps.set(key, stamp);
      return stamp;
    };
    const part = (first, size, isContext) => {
      for (let k = first; k < first + Math.ceil(size * share); k++) {
        const i = order[k];
        const x = ratio * (scene.width / 2 + (mixed(from[2 * i], to[2 * i], t) - cx) * scale);
        const y = ratio * (scene.height / 2 - (mixed(from[2 * i + 1], to[2 * i + 1], t) - cy) * scale);
        if (!(x > -side && y > -side && x < this.canvas.width + side && y < this.canvas.height + side)) continue;
        const large = looks ? (side * looks[2 * i + 1]) / 64 : side;
        pen.globalAlpha = (tints[4 * i + 3] / 255) * (isContext ? Math.min(0.8, scene.alpha) : scene.alpha);
        pen.drawImage(stampOf(i, isContext), x - large / 2, y - large / 2, large, large);
      }
    };
    part(0, context, true);
    part(context, order.length - context, false);
    pen.globalAlpha = 1;
  }

  time() {
    return false;
  }

  release() {}
}

/** Between two values; exactly either of them at the ends, whatever the other is. */
const mixed = (/** @type {number} */ a, /** @type {number} */ b, /** @type {number} */ t) =>
  t <= 0 ? a : t >= 1 ? b : a + (b - a) * t;
