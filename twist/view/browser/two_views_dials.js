// @ts-check
/**
 * The dials of the augmentations: a slider for every number of a field, in groups, with the config's own sentences.
 *
 * @typedef {{group: string, field: string, label: string, help: string, low: number, high: number, step: number,
 *   ends: string[], off: boolean}} DialRow
 * @typedef {{rows: DialRow[], recipe: Record<string, any>, none: Record<string, any>, extra: string | null}} DialTable
 */

const DRAWN_NAMES = {
  crop_scale: (d, image) => `${Math.round(100 * (d.width * d.height) / (image[0] * image[1]))} %`,
  crop_ratio: (d) => (d.width / d.height).toFixed(2),
  flip_probability: (d) => (d.flip ? "flipped" : "not"),
  rotation_degrees: (d) => signed(d.rotation, 0, "°"),
  shift: (d) => (d.shift_x === undefined ? undefined : `${signed(100 * d.shift_x)}, ${signed(100 * d.shift_y)} %`),
  zoom: (d) => times(d.zoom),
  shear_degrees: (d) => signed(d.shear, 0, "°"),
  stretch: (d) => times(d.stretch),
  brightness: (d) => times(d.brightness),
  contrast: (d) => times(d.contrast),
  saturation: (d) => times(d.saturation),
  hue: (d) => signed(d.hue, 2),
  gray_probability: (d) => (d.gray ? "gray" : "not"),
  blur_sigma: (d) => (d.blur_sigma > 0 ? `${d.blur_sigma.toFixed(2)} px` : "not"),
  solarize_probability: (d) => (d.solarize ? "solarized" : "not"),
};

const times = (x) => (x === undefined ? undefined : `×${x.toFixed(2)}`);
function signed(x, digits = 0, unit = "") {
  if (x === undefined) return undefined;
  const text = Math.abs(x).toFixed(digits);
  return `${Number(text) === 0 ? "" : x < 0 ? "−" : "+"}${text}${unit}`;
}

/** A number of a field as it is written in a recipe. */
const dialNumber = (/** @type {number} */ x) => String(+x.toFixed(3));
const sameValue = (a, b) => JSON.stringify(a) === JSON.stringify(b);

class Dials {
  /** @param {(fields: Record<string, any>) => void} moved  Told all fields that differ from the recipe's. */
  constructor(moved) {
    this.moved = moved;
    this.fields = /** @type {Record<string, any>} */ ({});
    this.node = make("div", { class: "twist-dials" });
    const preset = (text, title, pick) => make("button", { type: "button", text, title, onclick: () => {
      if (this.table) this.#set(pick(this.table));
    } });
    this.asRecipe = preset("As in the recipe", "Every field as the run was trained with it", (table) => table.recipe);
    this.none = preset("None", "No augmentation: both views are the plain image", (table) => table.none);
    this.presets = make("div", { class: "twist-presets", role: "group", "aria-label": "Presets" },
      this.asRecipe, this.none);
  }

  /** Build the sliders of a run. */
  build(/** @type {DialTable} */ table) {
    this.table = table;
    this.rows = new Map();
    const groups = [...new Set(table.rows.map((row) => row.group))];
    this.node.replaceChildren(...groups.map((group) => make("fieldset", { class: "twist-dial-group" },
      make("legend", { text: group }),
      ...table.rows.filter((row) => row.group === group).map((row) => this.#row(row)))));
    if (table.extra) {
      this.node.append(make("p", { class: "twist-facts", text: `Your own augmentation ${table.extra} follows, as in ` +
        "training." }));
    }
  }

  #row(/** @type {DialRow} */ row) {
    const value = make("output", { class: "twist-dial-value" });
    const drawn = make("span", { class: "twist-dial-drawn", title: "What was drawn for view 1 and view 2" });
    const reset = make("button", { type: "button", class: "twist-dial-reset", text: "↺", title:
      `Back to the recipe's ${row.label}`, "aria-label": `Reset ${row.label} to the recipe's`, onclick: () =>
      this.#set({ ...this.values(), [row.field]: this.table?.recipe[row.field] }) });
    const sliders = (row.ends.length ? row.ends : [""]).map((end, place) => {
      const slider = make("input", { type: "range", min: row.low, max: row.high, step: row.step,
        "aria-label": end ? `${row.label}, ${end}` : row.label, title: end ? `${end}: ${row.help}` : row.help,
        "data-lm-suppress-shortcuts": "true", "data-field": row.field, onkeydown: (event) => event.stopPropagation(),
        oninput: () => this.#turn(row, place, Number(slider.value)) });
      slider.disabled = row.off;
      return slider;
    });
    const help = row.off ? `${row.help} Gray images have no color.` : row.help;
    const node = make("div", { class: "twist-dial", title: help },
      make("span", { class: "twist-dial-name", text: row.label }), drawn, value, reset,
      make("span", { class: "twist-dial-sliders" }, ...sliders));
    node.classList.toggle("twist-off", row.off);
    this.rows.set(row.field, { row, node, value, drawn, reset, sliders });
    return node;
  }

  /** All values, moved or not. */
  values() {
    return { ...this.table?.recipe, ...this.fields };
  }

  #turn(row, place, number) {
    let value = number;
    if (row.ends.length) {
      value = [...this.values()[row.field]];
      value[place] = number;
      // A range stays one: the other end is pushed along.
      if (row.ends[0] === "from") value[1 - place] = place ? Math.min(value[0], number) : Math.max(value[1], number);
    }
    this.#set({ ...this.values(), [row.field]: value });
  }

  #set(values) {
    const recipe = this.table?.recipe ?? {};
    this.fields = Object.fromEntries(Object.entries(values).filter(([name, value]) => !sameValue(value, recipe[name])));
    this.show(this.fields);
    this.moved(this.fields);
  }

  /** Show fields as they are set. */
  show(fields) {
    this.fields = fields;
    const values = this.values();
    for (const [name, { row, node, value, reset, sliders }] of this.rows ?? []) {
      const numbers = row.ends.length ? values[name] : [values[name]];
      sliders.forEach((slider, place) => {
        if (Number(slider.value) !== numbers[place]) slider.value = numbers[place];
        slider.setAttribute("aria-valuetext", dialNumber(numbers[place]));
        slider.style.setProperty("--fill", `${(100 * clamp((numbers[place] - row.low) / (row.high - row.low)))}%`);
      });
      value.textContent = numbers.map(dialNumber).join(row.ends[0] === "from" ? "–" : " | ");
      const changed = name in fields;
      node.classList.toggle("twist-changed", changed);
      reset.hidden = !changed;
    }
    this.asRecipe.setAttribute("aria-pressed", String(!Object.keys(fields).length));
    this.none.setAttribute("aria-pressed", String(Object.entries(this.table?.none ?? {}).every(([name, value]) =>
      sameValue(values[name], value))));
  }

  /** Write beside each slider what was drawn for the two views. */
  tell(drawn, imageSize) {
    for (const [name, { drawn: node }] of this.rows ?? []) {
      const spell = DRAWN_NAMES[name];
      const texts = drawn.map((one) => (spell && Object.keys(one).length ? spell(one, imageSize) : undefined));
      node.textContent = texts.every((text) => text === undefined || text === "×1.00") ? ""
        : texts.map((text) => text ?? "plain").join(" | ");
    }
  }
}
