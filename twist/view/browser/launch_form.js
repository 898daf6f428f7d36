// @ts-check
/**
 * The launch form: a recipe, its fields in groups, what is wrong or unwise, an estimate, and the start.
 *
 * Python owns the rules: every change goes there and comes back in the trait `checked`, with a sentence beside each
 * wrong field. What is typed stays as it is typed.
 *
 * @typedef {{name: string, label: string, help: string, kind: string, optional: boolean, choices: string[],
 *   open: boolean, common: boolean}} FormField
 */

const FORM_TRAITS = ["recipes", "groups", "values", "checked", "estimate", "status", "recipe", "changes", "run_name"];
let formCount = 0;

/** One field: label, input, reset, sentence, error. */
class FormRow {
  constructor(/** @type {FormField} */ field, form) {
    Object.assign(this, { field, form });
    const id = `twist-field-${formCount++}`;
    this.help = make("p", { class: "twist-field-help", id: `${id}-help`, text: field.help });
    this.error = make("p", { class: "twist-field-error", id: `${id}-error`, role: "alert" });
    this.input = this.#input(id);
    for (const [name, value] of Object.entries({ id, title: field.help, "data-lm-suppress-shortcuts": "true",
      "aria-describedby": `${id}-help ${id}-error` })) this.input.setAttribute(name, value);
    this.input.addEventListener("keydown", (event) => event.stopPropagation());
    this.input.addEventListener("focus", () => form.explain(field));
    this.reset = make("button", { type: "button", class: "twist-reset", text: "↺", title: "Back to the recipe's value",
      "aria-label": `Reset ${field.name}`, onclick: () => form.change(field.name, null) });
    this.node = make("div", { class: `twist-field twist-field-${field.kind}`, "data-field": field.name },
      make("label", { for: id, text: field.label, title: `${field.name}: ${field.help}` }), this.input, this.reset,
      this.help, this.error);
  }

  #input(id) {
    const { kind, choices, open, optional, name } = this.field;
    const change = () => this.form.change(name, this.text);
    if (kind === "bool") return make("input", { type: "checkbox", onchange: change });
    if (choices.length && !open) {
      const select = make("select", { onchange: change });
      select.append(...choices.map((value) => make("option", { value, text: value })));
      return select;
    }
    const numeric = kind === "int" || kind === "float";
    const input = make("input", { type: "text", spellcheck: "false", autocomplete: "off", oninput: change,
      placeholder: optional ? "none" : "", inputmode: numeric ? "decimal" : "text" });
    if (choices.length) {
      this.list = make("datalist", { id: `${id}-list` }, ...choices.map((value) => make("option", { value })));
      input.setAttribute("list", `${id}-list`);
      queueMicrotask(() => this.node.append(this.list));
    }
    return input;
  }

  get text() {
    return this.field.kind === "bool" ? String(this.input.checked) : this.input.value;
  }

  /** Show a value, whether it differs from the recipe's, and what is wrong with it. */
  show(text, own, error) {
    if (this.field.kind === "bool") this.input.checked = text === "true";
    else if (this.input !== document.activeElement || this.input.value.trim() === "") {
      if (this.input.value !== text) this.input.value = text;
    }
    const changed = text !== own;
    this.node.classList.toggle("twist-changed", changed);
    this.reset.hidden = !changed;
    this.reset.title = `Back to the recipe's ${own === "" ? "none" : own}`;
    this.error.textContent = error ?? "";
    this.error.hidden = !error;
    this.input.setAttribute("aria-invalid", String(Boolean(error)));
  }
}

class LaunchFormView {
  constructor(/** @type {Model} */ model, /** @type {HTMLElement} */ el) {
    this.model = model;
    this.wishes = /** @type {Record<string, any>} */ ({});
    this.rows = /** @type {Map<string, FormRow>} */ (new Map());
    this.build(el);
    this.update = coalesce(() => this.#update());
    this.send = coalesce(() => this.#send());
    FORM_TRAITS.forEach((name) => model.on(`change:${name}`, this.update));
    this.#update();
  }

  build(el) {
    const button = (text, title, onclick, className = "") =>
      make("button", { type: "button", text, title, class: className, onclick });
    this.recipe = make("select", { "aria-label": "Recipe", onchange: () => this.wish("recipe", this.recipe.value) });
    this.summary = make("p", { class: "twist-summary" });
    this.find = make("input", { type: "search", placeholder: "Find a field", "aria-label":
      "Find a field by name or words", "data-lm-suppress-shortcuts": "true", oninput: () => this.filter(),
      onkeydown: (event) => event.stopPropagation() });
    this.resetAll = button("Reset all", "Every field back to the recipe's value", () => this.wish("changes", {}));
    this.fields = make("div", { class: "twist-groups" });
    this.nothing = make("p", { class: "twist-facts", text: "No field has these words in its name or its sentence." });
    this.name = make("input", { type: "text", placeholder: "made from the recipe and the time", "aria-label":
      "Name of the run", spellcheck: "false", "data-lm-suppress-shortcuts": "true", oninput: () =>
      this.wish("run_name", this.name.value.trim()), onkeydown: (event) => event.stopPropagation() });
    this.nameError = make("p", { class: "twist-field-error", role: "alert" });
    this.facts = make("p", { class: "twist-facts" });
    this.problem = make("p", { class: "twist-field-error", role: "alert" });
    this.warnings = make("ul", { class: "twist-warnings", "aria-label": "Warnings" });
    this.follow = make("div", { class: "twist-follow", role: "status" });
    this.measured = make("p", { class: "twist-measured", role: "status" });
    this.notes = make("p", { class: "twist-facts" });
    this.measure = button("Measure", "Take a few steps of this recipe beside the kernel, about half a minute",
      () => this.#tellPython(this.measuring ? "cancel" : "measure"));
    this.start = button("Start", "Start the run in a process of its own, and watch it here",
      () => {
        this.start.disabled = true; // until Python says how it went
        this.#tellPython("start");
      }, "twist-start");
    this.note = make("p", { class: "twist-note", role: "status" });
    this.unfold = button("Set up another run", "Show the form again", () => this.#fold(false));
    this.details = make("details", {}, make("summary", { text: "What the process said" }), make("pre", {}));
    this.lines = { python: make("code", {}), command: make("code", {}) };
    const line = (kind, label) => make("div", { class: "twist-line" },
      make("span", { class: "twist-facts", text: label }), this.lines[kind],
      button("Copy", `Copy the ${label}`, (event) => this.#copy(kind, event.target)));
    this.explained = [make("h3", { text: "Fields" }), make("p", { class: "twist-facts", text: "Every field is " +
      "explained here when it is entered; a dot marks what differs from the recipe." })];
    const side = make("section", { class: "twist-side", "aria-label": "Before the start" },
      make("div", { class: "twist-box twist-explained", "aria-hidden": "true" }, ...this.explained),
      make("div", { class: "twist-box" }, make("h3", { text: "Run" }),
        make("label", { class: "twist-name-row" }, make("span", { text: "name" }), this.name), this.nameError,
        this.facts, this.problem, this.warnings),
      make("div", { class: "twist-box" }, make("header", {}, make("h3", { text: "Time and memory" }),
        make("span", { class: "twist-gap" }), this.measure), this.measured, this.notes, this.details),
      make("div", { class: "twist-box" }, make("h3", { text: "The same in words" }), line("python", "Python"),
        line("command", "command")),
      this.start);
    this.root = make("div", { class: "twist twist-launch" },
      make("header", {}, make("strong", { class: "twist-title", text: "New run" }),
        make("label", {}, "Recipe ", this.recipe), make("span", { class: "twist-gap" }), this.find, this.resetAll),
      this.summary, make("div", { class: "twist-told" }, this.note, this.unfold), this.body = make("div",
        { class: "twist-launch-body" }, make("section", { "aria-label": "Fields" }, this.fields, this.nothing), side));
    el.append(this.root);
  }

  // -- to the kernel -------------------------------------------------------------------------------------------------

  value(name) {
    return name in this.wishes ? this.wishes[name] : this.model.get(name);
  }

  wish(name, value) {
    this.wishes[name] = value;
    this.#update();
    this.send();
  }

  /** Change one field; null takes the recipe's value back. */
  change(name, text) {
    const changes = { ...this.value("changes") };
    if (text === null || text === this.model.get("values")[name]) delete changes[name];
    else changes[name] = text;
    if (text === null) this.rows.get(name)?.input.blur();
    this.wish("changes", changes);
  }

  /** Say what a field means, in a place of its own: text that comes and goes between the fields would move them. */
  explain(/** @type {FormField} */ field) {
    [this.explained[0].textContent, this.explained[1].textContent] = [field.name, field.help];
  }

  #send() {
    for (const [name, value] of Object.entries(this.wishes)) this.model.set(name, value);
    this.wishes = {};
    this.model.save_changes();
  }

  /** What was typed goes first. */
  #tellPython(type) {
    this.#send();
    this.model.send?.({ type });
  }

  #copy(kind, button) {
    const text = this.lines[kind].textContent ?? "";
    const done = () => {
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1200);
    };
    // Where a page may not write to the clipboard, the text is selected for the person to copy.
    const select = () => getSelection()?.selectAllChildren(this.lines[kind]);
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, select);
    else select();
  }

  // -- drawing -------------------------------------------------------------------------------------------------------

  #buildFields() {
    const groups = this.model.get("groups");
    if (this.built === groups || !groups.length) return;
    this.built = groups;
    this.rows.clear();
    this.folds = [];
    this.fields.replaceChildren(...groups.map((group) => {
      const rows = group.fields.map((field) => {
        const row = new FormRow(field, this);
        this.rows.set(field.name, row);
        return row;
      });
      const [common, rest] = [true, false].map((wanted) => rows.filter((row) => row.field.common === wanted));
      const node = make("fieldset", { class: "twist-group", "data-group": group.name },
        make("legend", { text: group.title, title: group.help }),
        make("p", { class: "twist-facts twist-group-help", text: group.help }), ...common.map((row) => row.node));
      if (rest.length) {
        const summary = make("summary", {});
        const fold = make("details", {}, summary, ...rest.map((row) => row.node));
        this.folds.push({ fold, summary, rest, some: common.length > 0 });
        node.append(fold);
      }
      return node;
    }));
  }

  #update() {
    const model = this.model;
    const [recipes, values, checked, estimate, status] =
      ["recipes", "values", "checked", "estimate", "status"].map((name) => model.get(name));
    this.#buildFields();
    if (this.listed !== recipes) {
      this.listed = recipes;
      const groups = [...new Set(recipes.map((one) => one.group))];
      this.recipe.replaceChildren(...groups.map((group) => make("optgroup", { label: group },
        ...recipes.filter((one) => one.group === group).map(({ name }) =>
          make("option", { value: name, text: name })))));
    }
    this.recipe.value = this.value("recipe");
    const chosen = recipes.find((one) => one.name === this.value("recipe"));
    this.summary.textContent = chosen ? `${chosen.summary} Hardware: ${chosen.hardware}.` : "";
    const [changes, errors] = [this.value("changes"), checked.errors ?? {}];
    for (const [name, row] of this.rows) {
      row.show(changes[name] ?? values[name] ?? "", values[name] ?? "", errors[name]);
    }
    for (const { fold, summary, rest, some } of this.folds ?? []) {
      const moved = rest.filter((row) => row.field.name in changes).length;
      summary.textContent = `${count(rest.length)} ${some ? "more" : "fields"}${moved ? ` · ${moved} changed` : ""}`;
      if (rest.some((row) => errors[row.field.name])) fold.open = true;
    }
    const moved = Object.keys(changes).length;
    this.resetAll.disabled = !moved;
    this.resetAll.textContent = moved ? `Reset all ${moved}` : "Reset all";
    if (this.name !== document.activeElement) this.name.value = this.value("run_name");
    this.nameError.textContent = errors.run ?? "";
    this.problem.textContent = [errors[""], ...Object.entries(errors).filter(([name]) =>
      name && name !== "run" && !this.rows.has(name)).map(([, text]) => text)].filter(Boolean).join(" ");
    for (const node of [this.nameError, this.problem]) node.hidden = !node.textContent;
    const { images, steps, steps_per_epoch: perEpoch } = checked.facts ?? {};
    this.facts.textContent = images
      ? `${count(images)} images · ${count(perEpoch)} steps an epoch · ${count(steps)} steps` : "";
    this.warnings.replaceChildren(...(checked.warnings ?? []).map((text) => make("li", { text })));
    this.warnings.hidden = !this.warnings.children.length;
    this.#drawFollowers(checked.follows ?? []);
    this.#drawEstimate(estimate);
    this.lines.python.textContent = checked.python || "after the values above are right";
    this.lines.command.textContent = checked.command ?? "";
    const wrong = Object.keys(errors).length;
    const starting = status.state === "starting";
    this.start.disabled = !checked.ok || starting || !model.send;
    this.start.textContent = starting ? "Starting …" : wrong ? `${wrong} value${wrong > 1 ? "s are" : " is"} wrong`
      : status.state === "started" ? "Start another" : "Start";
    this.note.textContent = status.text;
    this.note.hidden = !status.text;
    if (this.state !== status.state) this.#fold(status.state === "started"); // the monitor stands below
    this.state = status.state;
    Object.assign(this.root.dataset, { state: status.state, ok: String(Boolean(checked.ok)),
      changed: String(moved), estimate: estimate.state });
    if (status.details) this.#tell(status.details);
  }

  #fold(folded) {
    for (const node of [this.body, this.summary, this.find, this.resetAll]) node.hidden = folded;
    this.unfold.hidden = !folded;
    this.root.dataset.folded = String(folded);
  }

  #drawFollowers(follows) {
    const key = JSON.stringify(follows);
    const row = this.rows.get("optim.batch_size")?.node;
    if (this.follow.parentElement === row && this.followed === key) return; // a button that is pressed stays itself
    this.followed = key;
    row?.append(this.follow);
    this.follow.hidden = !follows.length;
    if (!follows.length) return;
    const words = follows.map((one) => `${one.field} ${one.before} → ${one.after}`).join(", ");
    this.follow.replaceChildren(make("span", { text: `To follow the batch size: ${words} (${follows[0].why}). ` }),
      make("button", { type: "button", text: "Scale them", onclick: () =>
        this.wish("changes", { ...this.value("changes"),
          ...Object.fromEntries(follows.map((one) => [one.field, one.after])) }) }));
  }

  #drawEstimate(estimate) {
    this.measuring = estimate.state === "measuring";
    const words = { none: "How long it takes is not measured yet: a few steps tell, beside the kernel.",
      outdated: `${estimate.text} — of other values than those above.` };
    this.measured.textContent = words[estimate.state] ?? estimate.text;
    this.measured.dataset.state = estimate.state;
    this.notes.textContent = (estimate.notes ?? []).join(" ");
    this.notes.hidden = !this.notes.textContent;
    this.measure.textContent = this.measuring ? "Cancel" : estimate.state === "none" ? "Measure" : "Measure again";
    this.measure.disabled = !this.model.send || (!this.measuring && !this.model.get("checked").ok);
    this.#tell(estimate.details ?? "");
  }

  #tell(details) {
    this.details.hidden = !details;
    this.details.lastChild.textContent = details;
  }

  /** Show the fields whose name or sentence has the words, and open the folds around them. */
  filter() {
    const words = this.find.value.trim().toLowerCase();
    let found = 0;
    for (const [name, row] of this.rows) {
      row.node.hidden = Boolean(words) && !`${name} ${row.field.label} ${row.field.help}`.toLowerCase().includes(words);
      found += Number(!row.node.hidden);
    }
    for (const { fold, rest } of this.folds ?? []) {
      const any = rest.some((row) => !row.node.hidden);
      fold.hidden = !any;
      fold.open = Boolean(words) && any;
    }
    for (const group of this.fields.children) {
      group.hidden = ![...group.querySelectorAll(".twist-field")].some((node) => !node.hidden);
    }
    this.nothing.hidden = found > 0;
  }

  release() {
    FORM_TRAITS.forEach((name) => this.model.off(`change:${name}`, this.update));
    this.update.cancel();
    this.send.cancel();
    this.root.remove();
  }
}

/** Draw a model into an element; returns what ends it. */
function render({ model, el }) {
  const form = new LaunchFormView(model, el);
  form.nothing.hidden = true;
  return () => form.release();
}
