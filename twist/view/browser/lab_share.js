// @ts-check
/**
 * The lab in a link: what a teacher set up, as the hash of an address, readable enough to be edited by hand.
 *
 *     #data=moons&seed=3&experiment=uniform&rate=0.02&hide=restart,experiments&2.experiment=healthy&2.sharpness=1
 *
 * The second of two panes has its words behind "2.". What cannot be read, or is out of range, is left out: a link that
 * was cut in a mail still opens.
 *
 * @typedef {{experiment?: string, knobs: Record<string, number | string>}} SharedPane  Knobs by field name, those that
 *   differ from the experiment's.
 * @typedef {{data?: string, seed?: number, hide: string[], points?: number[][], panes: SharedPane[]}} SharedLab  `hide`
 *   names controls that are left away; `points` are those drawn by hand, [x, y] within -2..2.
 */

/** Word in the link -> knob, and what it may be: what the toy can be set to. */
const LAB_WORDS = {
  consistency: { knob: "objective.consistency_weight", low: 0, high: 10 },
  sharpness: { knob: "objective.sharpness_weight", low: 0, high: 10 },
  diversity: { knob: "objective.diversity_weight", low: 0, high: 10 },
  temperature: { knob: "objective.temperature", low: 0.05, high: 5 },
  rate: { knob: "optim.learning_rate", low: 0, high: 1 },
  views: { knob: "views.strength", low: 0, high: 2 },
  norm: { knob: "network.final_norm", among: ["batch", "none"] },
  classes: { knob: "network.num_classes", low: 2, high: 12, whole: true },
  batch: { knob: "optim.batch_size", low: 2, high: 600, whole: true },
};
const LAB_NAME = /^[\w-]{1,40}$/;
const LAB_MOST_PANES = 2;
const LAB_MOST_POINTS = 600;
const LAB_POINT_REACH = 2; // points lie within -2..2, kept to a 255th of that

/** The state of a lab as a hash, "#" included; empty for a lab as it comes. */
function labToHash(/** @type {SharedLab} */ { data, seed, hide = [], points, panes = [] }) {
  const parts = [];
  const put = (word, value) => parts.push(`${word}=${encodeURIComponent(String(value)).replaceAll("%2C", ",")}`);
  if (data) put("data", data);
  if (seed !== undefined) put("seed", seed);
  if (points?.length) put("points", pointsToText(points));
  panes.slice(0, LAB_MOST_PANES).forEach((pane, k) => {
    const before = k ? `${k + 1}.` : "";
    if (pane.experiment) put(`${before}experiment`, pane.experiment);
    for (const [word, { knob }] of Object.entries(LAB_WORDS))
      if (pane.knobs?.[knob] !== undefined) put(before + word, pane.knobs[knob]);
    if (k && !pane.experiment && !Object.keys(pane.knobs ?? {}).length) put("panes", k + 1);
  });
  if (hide.length) put("hide", hide.join(","));
  return parts.length ? `#${parts.join("&")}` : "";
}

/** What a hash says; of what it does not say, nothing. @returns {SharedLab} */
function labFromHash(/** @type {string} */ hash) {
  const found = /** @type {SharedLab} */ ({ hide: [], panes: [] });
  const pane = (k) => {
    while (found.panes.length <= k) found.panes.push({ knobs: {} });
    return found.panes[k];
  };
  for (const [key, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const [, second, word] = /** @type {string[]} */ (key.match(/^(2\.)?(.*)$/s));
    const k = second ? 1 : 0;
    const knob = Object.hasOwn(LAB_WORDS, word) ? LAB_WORDS[word] : null;
    if (knob) {
      const read = knobFromText(knob, value);
      if (read !== undefined) pane(k).knobs[knob.knob] = read;
    } else if (word === "experiment" && LAB_NAME.test(value)) pane(k).experiment = value;
    else if (second) continue;
    else if (word === "data" && LAB_NAME.test(value)) found.data = value;
    else if (word === "seed" && /^\d{1,10}$/.test(value) && Number(value) < 2 ** 31) found.seed = Number(value);
    else if (word === "panes" && value === "2") pane(1);
    else if (word === "hide") found.hide = value.split(",").filter((name) => LAB_NAME.test(name)).slice(0, 40);
    else if (word === "points") {
      const points = pointsFromText(value);
      if (points) found.points = points;
    }
  }
  return found;
}

/** A knob's value; undefined where it is none. */
function knobFromText({ low, high, whole, among }, text) {
  if (among) return among.includes(text) ? text : undefined;
  const value = text.trim() ? Number(text) : NaN;
  return value >= low && value <= high && (!whole || Number.isInteger(value)) ? value : undefined;
}

/** Points as text that needs no escape: two bytes each. */
function pointsToText(/** @type {number[][]} */ points) {
  const byte = (x) => Math.round(Math.min(1, Math.max(0, x / (2 * LAB_POINT_REACH) + 0.5)) * 255);
  const bytes = points.slice(0, LAB_MOST_POINTS).flatMap(([x, y]) => [byte(x), byte(y)]);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The points of such a text; undefined where it holds none. */
function pointsFromText(/** @type {string} */ text) {
  if (!/^[\w-]+$/.test(text) || text.length > 3 * LAB_MOST_POINTS || text.length % 4 === 1) return undefined;
  const bytes = Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
  const place = (byte) => (byte / 255 - 0.5) * 2 * LAB_POINT_REACH;
  const points = [];
  for (let k = 0; k + 1 < bytes.length; k += 2) points.push([place(bytes[k]), place(bytes[k + 1])]);
  return points.length ? points : undefined;
}
