// @ts-check
/**
 * Channels: what the points can be colored and shaped by, each with its values, its colors and its words.
 *
 * @typedef {object} Channel
 * @property {string} name
 * @property {string} title
 * @property {"category" | "number"} kind
 * @property {string[]} palette  The last color is that of what has no value.
 * @property {Uint16Array} colorOf  Index into the palette, one per image.
 * @property {string[]} names  Of categories.
 * @property {ArrayLike<number>} values  Category or number of each image.
 * @property {string[]} ticks  Of a ramp: its low end, middle and high end, with units.
 * @property {string} hint  What the numbers say.
 * @property {(i: number) => string} spell  The value of an image in words.
 */

const EXPLORER_GRAY = "#8A8F98"; // what has no value
const EXPLORER_COLORS = {
  class: "class", label: "label", entropy: "sample entropy", confidence: "confidence", margin: "margin",
  flips: "class changes", settled: "settled step", agreement: "agreement of views", trust: "trust of the map",
};
const EXPLORER_HINTS = {
  entropy: "0: belongs to one class without doubt. Its top: the network says nothing of it.",
  confidence: "Probability of the likeliest class.",
  margin: "Lead of the likeliest class over the second. Small: torn between two.",
  flips: "How often the class changed from one snapshot to the next, over the whole run.",
  settled: "Step of the snapshot since which the class stayed. Late: a hard image, or classes that still move.",
  agreement: "Share of its visits in training, since the snapshot before, in which both views fell into one class.",
  trust: "Share of an image's 15 nearest in feature space that are among its 15 nearest on the map.",
};
/** Shapes of points; a glyph of each for the legend, in the order of `Scatter`'s numbers. */
const EXPLORER_SHAPES = ["●", "○", "■", "▲", "✕", "◆"];

/** Why a channel cannot be shown, empty when it can. */
function explorerLacks(name, /** @type {Table} */ table, trust) {
  const lacks = { label: !table.labels && "the set has no labels", flips: !table.flips && "there is one snapshot only",
    settled: !table.settled && "there is one snapshot only", trust: !trust && "the map does not tell it",
    agreement: !table.agreement && "this checkpoint does not keep it" };
  return lacks[name] || "";
}

/** @returns {Channel} */
function explorerChannel(name, /** @type {Table} */ table, { classes, labels, ramp: anchors }, added, trust, nameOf) {
  const title = EXPLORER_COLORS[name] ?? name;
  const category = (values, names, colors) => {
    const palette = [...colors, EXPLORER_GRAY];
    const colorOf = new Uint16Array(values.length);
    for (let i = 0; i < values.length; i++) {
      colorOf[i] = values[i] < 0 || values[i] >= colors.length ? colors.length : values[i];
    }
    return { name, title, kind: "category", palette, colorOf, names, values, ticks: [], hint: "",
      spell: (i) => names[values[i]] ?? "none" };
  };
  const number = (values, low, high, ticks, spell) => {
    const steps = ramp(anchors);
    const colorOf = new Uint16Array(values.length);
    const scale = (steps.length - 1) / (high - low || 1);
    for (let i = 0; i < values.length; i++) {
      colorOf[i] = Number.isFinite(values[i]) ? Math.round(clamp((values[i] - low) * scale, 0, steps.length - 1))
        : steps.length;
    }
    return { name, title, kind: "number", palette: [...steps, EXPLORER_GRAY], colorOf, names: [], values, ticks,
      hint: EXPLORER_HINTS[name] ?? "", spell: (i) => (Number.isFinite(values[i]) ? spell(values[i]) : "none") };
  };
  const top = Math.log(table.numClasses);
  const share = (value) => percent(value, 1);
  switch (name) {
    case "class":
      return /** @type {Channel} */ (category(table.assignment, classes.map((_, k) => nameOf(k)), classes));
    case "label":
      return /** @type {Channel} */ (category(table.labels, table.labelNames, labels));
    case "entropy":
      return number(table.entropy, 0, top, ["0 nats", `${(top / 2).toFixed(2)} nats · 50 % of log ${table.numClasses}`,
        `${top.toFixed(2)} nats · 100 %`], nats);
    case "confidence": {
      const chance = 1 / table.numClasses;
      return number(table.confidence, chance, 1, [`${percent(chance, table.numClasses > 20 ? 1 : 0)} = 1/${
        table.numClasses}`, percent((1 + chance) / 2), "100 %"], share);
    }
    case "margin":
      return number(table.margin, 0, 1, ["0 %", "50 %", "100 %"], share);
    case "agreement":
      return number(table.agreement, 0, 1, ["0 %", "50 %", "100 % of visits"], share);
    case "trust":
      return number(trust, 0, 1, ["0 %", "50 %", "100 % of neighbors"], share);
    case "flips": {
      const high = Math.max(1, table.flips.reduce((a, b) => Math.max(a, b), 0));
      return number(table.flips, 0, high, ["0 changes", high > 1 ? (high / 2).toFixed(high % 2) : "", count(high)],
        (value) => count(value));
    }
    case "settled": {
      const [low, high] = [Math.min, Math.max].map((pick) => table.settled.reduce((a, b) => pick(a, b)));
      return number(table.settled, low, high, [`step ${count(low)}`, count(Math.round((low + high) / 2)), count(high)],
        (value) => `step ${count(value)}`);
    }
  }
  if (added.kind === "category") return category(column(Int32Array, added.values), added.names, added.colors);
  const unit = added.unit ? ` ${added.unit}` : "";
  const digits = added.whole ? 0 : clamp(2 - Math.floor(Math.log10(added.high - added.low || 1)), 0, 6);
  const spell = (value) => `${added.whole ? count(value) : value.toFixed(digits)}${unit}`;
  return number(column(Float32Array, added.values), added.low, added.high,
    [spell(added.low), spell((added.low + added.high) / 2), spell(added.high)], spell);
}

/** Shapes of the points, and what each of them says; null where points are all discs. */
function explorerShape(by, /** @type {Table} */ table, isOdd) {
  if (!table.labels || by === "none") return null;
  if (by === "odd") {
    const shapes = Uint8Array.from({ length: table.count }, (_, i) => (isOdd(i) ? 4 : 0));
    return { shapes, names: [["●", "label is the main one of its class"], ["✕", "another label"]] };
  }
  if (table.labelNames.length > EXPLORER_SHAPES.length) return null;
  const shapes = Uint8Array.from(table.labels, (label) => Math.max(0, label));
  return { shapes, names: table.labelNames.map((name, k) => [EXPLORER_SHAPES[k], name]) };
}
