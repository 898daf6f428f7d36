// @ts-check
/** Pictures of the two-view probe: pixels, where the views lie, two distributions back to back, sensitivity. */

const MOST_ROWS = 12;

/** Pixels on a canvas, one to one; CSS enlarges it. */
function paintPixels(canvas, /** @type {Uint8Array} */ bytes, height, width, channels) {
  Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = bytes[i * channels + (channels === 3 ? c : 0)];
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
}

/**
 * The outlines of both views over the image: the first solid, the second dashed, numbered where their top left is.
 * Where one reaches out of the image, the image gets a margin. Returns its share of the side.
 */
function paintOutlines(svg, corners, height, width, plainFirst) {
  const beyond = Math.max(...corners.slice(plainFirst ? 1 : 0).flat().map(([x, y]) =>
    Math.max(-x / width, x / width - 1, -y / height, y / height - 1)));
  const margin = beyond > 0.02 ? 0.25 : 0; // two sizes only: the image holds still while a slider moves
  svg.setAttribute("viewBox", [-margin * width, -margin * height, width * (1 + 2 * margin), height * (1 + 2 * margin)]
    .join(" "));
  const unit = (Math.max(width, height) * (1 + 2 * margin)) / 100;
  svg.replaceChildren(...corners.flatMap((four, k) => {
    if (k === 0 && plainFirst) return [];
    const points = four.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" ");
    const shared = { points, fill: "none", "stroke-linejoin": "round" };
    const middle = four.reduce(([a, b], [x, y]) => [a + x / 4, b + y / 4], [0, 0]);
    const place = four[0].map((value, axis) => value + 0.13 * (middle[axis] - value));
    const text = { x: place[0], y: place[1], "font-size": 9 * unit, "text-anchor": "middle",
      "dominant-baseline": "central", "font-weight": 700 };
    return [
      makeSvgNode("polygon", { ...shared, stroke: "#000000", "stroke-opacity": 0.7, "stroke-width": 2.6 * unit }),
      makeSvgNode("polygon", { ...shared, stroke: "#ffffff", "stroke-width": 1.2 * unit,
        ...(k ? { "stroke-dasharray": `${4 * unit} ${3 * unit}` } : {}) }),
      Object.assign(makeSvgNode("text", { ...text, fill: "#ffffff", stroke: "#000000", "stroke-width": 2 * unit,
        "paint-order": "stroke" }), { textContent: String(k + 1) }),
    ];
  }));
  return margin;
}

/** Which classes to show, in an order that stays while a slider moves. */
function classesToShow(/** @type {Float32Array} */ probs, numClasses) {
  const all = Array.from({ length: numClasses }, (_, c) => c);
  if (numClasses <= MOST_ROWS) return all;
  const most = (c) => Math.max(probs[c], probs[numClasses + c], probs[2 * numClasses + c]);
  const chosen = all.sort((a, b) => most(b) - most(a)).slice(0, MOST_ROWS - 4);
  return chosen.sort((a, b) => probs[b] - probs[a] || a - b);
}

/** Two distributions back to back, view 1 to the left and view 2 to the right; a tick where the plain image stands. */
function makeButterfly(/** @type {Float32Array} */ probs, numClasses, colors, nameOf) {
  const at = (k, c) => probs[k * numClasses + c];
  const shown = classesToShow(probs, numClasses);
  const top = [0, 1, 2].map((k) => {
    let best = 0;
    for (let c = 1; c < numClasses; c++) if (at(k, c) > at(k, best)) best = c;
    return best;
  });
  const bar = (k, c) => {
    const fill = make("i", {});
    fill.style.cssText = `width: ${100 * clamp(at(k, c))}%; --color: ${colors[c]}`;
    const tick = make("b", { class: "twist-tick" });
    tick.style.setProperty("--at", `${100 * clamp(at(0, c))}%`);
    return make("span", { class: `twist-wing twist-wing-${k}` }, fill, tick);
  };
  const share = (value) => (value > 0 && value < 0.001 ? "< 0.1 %" : percent(value, 1));
  const rows = shown.map((c) => {
    const sentence = `class ${c}${nameOf(c) ? `, mostly ${nameOf(c)}` : ""}: view 1 ${share(at(1, c))}, ` +
      `view 2 ${share(at(2, c))}, plain image ${share(at(0, c))}`;
    return make("li", { class: "twist-wings", "data-class": c, title: sentence, "aria-label": sentence },
      make("span", { text: share(at(1, c)), class: top[1] === c ? "twist-top" : "" }), bar(1, c),
      make("span", { class: "twist-wing-name" }, swatch(colors[c]), make("b", { text: c }),
        make("span", { class: "twist-facts", text: nameOf(c) ?? "" })),
      bar(2, c), make("span", { text: share(at(2, c)), class: top[2] === c ? "twist-top" : "" }));
  });
  const rest = [1, 2].map((k) => 1 - shown.reduce((sum, c) => sum + at(k, c), 0));
  if (shown.length < numClasses) {
    rows.push(make("li", { class: "twist-wings twist-facts" }, make("span", { text: share(Math.max(0, rest[0])) }),
      make("span", {}), make("span", { class: "twist-wing-name",
        text: `${count(numClasses - shown.length)} others` }),
      make("span", {}), make("span", { text: share(Math.max(0, rest[1])) })));
  }
  return { rows, top };
}

/** Where a share of k in n can well lie: Wilson's interval, 95 %. */
function wilson(k, n) {
  const z = 1.96;
  const center = (k + (z * z) / 2) / (n + z * z);
  const reach = (z / (n + z * z)) * Math.sqrt((k * (n - k)) / n + (z * z) / 4);
  return [Math.max(0, center - reach), Math.min(1, center + reach)];
}

/** One augmentation's row: the share of draws that keep the class, where the others went, and the mean divergence. */
function makeSensitivityRow(row, own, colors, mostNats) {
  const share = row.stays / row.draws;
  const others = row.classes.filter(([c]) => c !== own);
  const known = row.stays + others.reduce((sum, [, n]) => sum + n, 0);
  const parts = [[own, row.stays], ...others].map(([c, n]) => {
    const part = make("i", { class: c === own ? "" : "twist-lost" });
    part.style.cssText = `width: ${(100 * n) / row.draws}%; --color: ${colors[c]}`;
    return part;
  });
  if (known < row.draws) {
    const part = make("i", { class: "twist-lost" });
    part.style.cssText = `width: ${(100 * (row.draws - known)) / row.draws}%; --color: var(--quiet)`;
    parts.push(part);
  }
  const bar = make("span", { class: "twist-kept" }, ...parts);
  if (row.draws > 1) {
    const [low, high] = wilson(row.stays, row.draws);
    const reach = make("b", { class: "twist-reach" });
    reach.style.cssText = `left: ${100 * low}%; width: ${100 * (high - low)}%`;
    bar.append(reach);
  }
  const went = others.map(([c, n]) => `${c} (${n})`).join(", ");
  const counted = row.draws === 1 ? (row.stays ? "keeps it" : "changes it") : `${row.stays} of ${row.draws}`;
  const nat = make("span", { class: "twist-nats" }, make("i", {}));
  nat.firstChild.style.width = `${100 * clamp((row.divergence ?? mostNats) / (mostNats || 1))}%`;
  const value = row.divergence === null ? "not finite" : row.divergence.toFixed(3);
  const sentence = `${row.augmentation}: ${row.draws === 1 ? `the same in every draw, ${counted}`
    : `${counted} draws keep class ${own}, ${percent(share)}`}; mean divergence ${value} nats` +
    (went ? `; else class ${went}` : "");
  return make("li", { class: "twist-sensitivity", "data-augmentation": row.augmentation, title: sentence,
    "aria-label": sentence }, make("span", { text: row.augmentation }), bar, make("span", { text: counted }), nat,
    make("span", { text: value }), make("span", { class: "twist-facts twist-went", text: went && `→ ${went}` }));
}
