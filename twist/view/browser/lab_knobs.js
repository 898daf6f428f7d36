// @ts-check
/**
 * The lab's knobs: the three weights in the colors of their terms with the value each term has now, what else acts
 * while it trains, and apart from them what acts only from the start.
 *
 * A slider runs over a list of round values, so that every key press is one of them and 1 is in the middle.
 *
 * @typedef {{field: string, label: string, help: string, values: number[], term?: string}} LabSlider
 */

const LAB_WEIGHTS = [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8];

/** Live knobs; the sentences are those of the fields of the recipe. @type {LabSlider[]} */
const LAB_LIVE = [
  { field: "objective.consistency_weight", label: "Consistency", term: "consistency", values: LAB_WEIGHTS,
    help: "Weight of the divergence between the views; too large slides to uniform." },
  { field: "objective.sharpness_weight", label: "Sharpness", term: "sharpness", values: LAB_WEIGHTS,
    help: "Weight of the mean sample entropy; 0 ends in the uniform collapse." },
  { field: "objective.diversity_weight", label: "Diversity", term: "diversity", values: LAB_WEIGHTS,
    help: "Weight of the entropy of the mean distribution; 0 invites one-class collapse." },
  { field: "objective.temperature", label: "Temperature",
    values: [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5],
    help: "Divisor of the logits; below 1 sharpens, which small numbers of classes need." },
  { field: "optim.learning_rate", label: "Learning rate",
    values: [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
    help: "Peak learning rate, after the warm-up." },
  { field: "views.strength", label: "View strength",
    values: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2],
    help: "How much two views of a sample differ: 0 is the plain sample, 1 as in the recipe, 2 twice as much." },
];

/** Knobs that act only from the start. */
const LAB_FROM_START = [
  { field: "network.final_norm", label: "Norm",
    help: "Norm before the softmax, without learned scale: batch, sync (over all processes) or none (expect collapse).",
    choices: { batch: "on", none: "off" } },
  { field: "network.num_classes", label: "Classes",
    help: "Number of learned classes C; sharpness has a floor below about 50, diversity a cap at log N.",
    choices: Object.fromEntries([2, 3, 4, 5, 6, 8, 10, 12].map((n) => [n, String(n)])) },
  { field: "optim.batch_size", label: "Batch",
    help: "Images per step, N; the mean distribution is a batch quantity, so log N caps the mutual information.",
    choices: Object.fromEntries([4, 10, 25, 50, 100, 150, 300].map((n) => [n, String(n)])) },
];

const LAB_ALL_KNOBS = [...LAB_LIVE, ...LAB_FROM_START];

class LabKnobs {
  /**
   * @param {{turn: (changes: Record<string, number>) => void, restart: (changes: Record<string, any>) => void}} on
   */
  constructor(on) {
    this.on = on;
    this.values = /** @type {Record<string, any>} */ ({});
    this.defaults = /** @type {Record<string, any>} */ ({});
    this.rows = new Map();
    this.bars = new Map();
    const terms = LAB_LIVE.filter((knob) => knob.term).map((knob) => this.#term(knob));
    const others = make("fieldset", { class: "twist-lab-group" }, make("legend", { text: "While it trains" }),
      ...LAB_LIVE.filter((knob) => !knob.term).map((knob) => this.#slider(knob)));
    const start = make("fieldset", { class: "twist-lab-group twist-lab-start" },
      make("legend", { text: "From the start ↺", title: "Each of these restarts from the same seed" }),
      ...LAB_FROM_START.map((knob) => this.#choice(knob)));
    this.node = make("div", { class: "twist-lab-knobs", role: "group", "aria-label": "Knobs" },
      ...terms, others, start);
  }

  #term(/** @type {LabSlider} */ knob) {
    const term = String(knob.term);
    const value = make("span", { class: "twist-lab-term-value", title: "The term now, in nats" });
    const fill = make("i", {});
    this.bars.set(term, { value, fill });
    const node = make("div", { class: `twist-lab-group twist-lab-term twist-lab-${term}`, role: "group", "aria-label":
      knob.label },
    make("div", { class: "twist-lab-term-head" }, make("span", { class: "twist-lab-line", "aria-hidden": "true" }),
      make("strong", { text: knob.label }), make("span", { class: "twist-gap" }),
      make("span", { class: "twist-lab-bar", "aria-hidden": "true" }, fill), value),
    this.#slider(knob, "weight"));
    node.title = LAB_TERMS[term].words;
    return node;
  }

  #slider(/** @type {LabSlider} */ knob, name = knob.label) {
    const value = make("output", { class: "twist-lab-value" });
    const input = make("input", { type: "range", min: 0, max: knob.values.length - 1, step: 1,
      "data-lm-suppress-shortcuts": "true", "data-field": knob.field, title: knob.help, "aria-description": knob.help,
      onkeydown: (event) => event.stopPropagation(),
      oninput: () => this.#turned(knob, knob.values[Number(input.value)]) });
    const node = make("label", { class: "twist-lab-slider", title: knob.help },
      make("span", { class: "twist-lab-name", text: name }), input, value);
    this.rows.set(knob.field, { knob, node, input, value });
    return node;
  }

  #choice(knob) {
    const input = make("select", { "data-field": knob.field, title: knob.help, "aria-description": knob.help,
      onkeydown: (event) => event.stopPropagation(), onchange: () => {
        const number = Number(input.value);
        this.on.restart({ [knob.field]: Number.isNaN(number) ? input.value : number });
      } });
    for (const [value, text] of Object.entries(knob.choices)) input.append(make("option", { value, text }));
    const node = make("label", { class: "twist-lab-choice", title: `${knob.help} Restarts from the same seed.` },
      make("span", { class: "twist-lab-name", text: knob.label }), input);
    this.rows.set(knob.field, { knob, node, input, value: null });
    return node;
  }

  /** Name the knobs for who hears them; `letter` says whose they are where there are two. */
  name(/** @type {string} */ letter) {
    const owner = letter ? `, ${letter}` : "";
    for (const { knob, input } of this.rows.values()) {
      const kind = knob.term ? " weight" : knob.choices ? ", restarts" : "";
      input.setAttribute("aria-label", `${knob.label}${kind}${owner}`);
    }
  }

  #turned(/** @type {LabSlider} */ knob, /** @type {number} */ value) {
    this.values = { ...this.values, [knob.field]: value };
    this.held = { field: knob.field, value, until: performance.now() + 1500 };
    this.#write(knob.field, value);
    this.on.turn({ [knob.field]: value });
  }

  /** Show the knobs as they are, and which differ from the healthy setting. */
  show(/** @type {Record<string, any>} */ values, /** @type {Record<string, any>} */ defaults = {}) {
    this.defaults = defaults;
    for (const field of this.rows.keys()) {
      if (!(field in values)) continue;
      // What a hand set here stays until the experiment has heard of it.
      const { held } = this;
      if (held?.field === field) {
        if (values[field] !== held.value && performance.now() < held.until) continue;
        this.held = null;
      }
      this.values[field] = values[field];
      this.#write(field, values[field]);
    }
  }

  #write(field, set) {
    const { knob, node, input, value } = this.rows.get(field);
    const text = labNumber(set);
    if (value) {
      input.value = String(labNearest(knob.values, set));
      input.setAttribute("aria-valuetext", text);
      input.style.setProperty("--fill", `${(100 * Number(input.value)) / (knob.values.length - 1)}%`);
      value.textContent = text;
    } else {
      const known = [...input.options].some((option) => option.value === text);
      if (!known) input.append(make("option", { value: text, text }));
      input.value = text;
    }
    const changed = field in this.defaults && this.defaults[field] !== set;
    node.classList.toggle("twist-lab-changed", changed);
    node.dataset.changed = String(changed);
  }

  /** Show the terms of the newest batch. */
  terms(/** @type {Record<string, number>} */ terms, /** @type {number} */ numClasses) {
    for (const [name, { value, fill }] of this.bars) {
      const now = terms[name];
      value.textContent = Number.isFinite(now) ? labNats(now) : "–";
      fill.style.width = `${100 * clamp((now || 0) / Math.log(numClasses))}%`;
    }
  }

  /** Hide knobs by field name, and groups that are empty then. */
  hide(/** @type {Set<string>} */ hidden) {
    for (const [field, { node }] of this.rows) node.hidden = hidden.has(field);
    for (const group of this.node.querySelectorAll(".twist-lab-group")) {
      group.hidden = [...group.querySelectorAll("label")].every((label) => label.hidden);
    }
  }
}

/** A number as a person writes it. */
function labNumber(/** @type {number | string} */ value) {
  return typeof value === "number" ? String(+value.toPrecision(3)) : String(value);
}

/** Place of the value in a list that is nearest. */
function labNearest(/** @type {number[]} */ values, /** @type {number} */ value) {
  return values.reduce((best, each, k) => (Math.abs(each - value) < Math.abs(values[best] - value) ? k : best), 0);
}

/** Turned knobs in words, as "sharpness 1 → 0". */
function labTurnWords({ changes, before }) {
  const name = (field) => LAB_ALL_KNOBS.find((knob) => knob.field === field)?.label.toLowerCase() ?? field;
  return Object.entries(changes).map(([field, value]) =>
    `${name(field)} ${labNumber(before[field])} → ${labNumber(/** @type {any} */ (value))}`).join(", ");
}
