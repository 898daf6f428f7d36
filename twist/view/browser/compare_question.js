// ---------------------------------------------------------------------------------------------------------------------
// Questions before something is done to a run: a sentence, fields, and a confirmation in words.

const ACTIONS = { fork: "Fork", tags: "Tags", rename: "Rename", thin: "Thin", delete: "Delete" };
const TYPING_PAUSE_MS = 250;

class Question {
  /** @param {Model} model @param {(run: string) => void} closed  What has the focus when a question was let go. */
  constructor(model, closed) {
    this.model = model;
    this.closed = closed;
    this.typing = 0;
    this.key = "";
    this.node = make("section", { class: "twist-question", "aria-label": "question about a run", hidden: "" });
  }

  /** Ask the kernel for the question of an action; until it answers, say that it is waited for. */
  ask(action, run) {
    this.waiting = { action, run };
    this.key = "";
    this.draw();
    this.model.send?.({ type: "ask", action, run });
  }

  close() {
    const { run } = this.waiting ?? this.model.get("question");
    this.release();
    this.waiting = null;
    this.model.set("question", {}); // at once, should the kernel be busy
    this.model.save_changes();
    this.model.send?.({ type: "close" }); // and after whatever it was asked before
    this.draw();
    this.closed(run);
  }

  /** The kernel has done what it was asked; where that changed nothing, the notice or the question says why. */
  answered() {
    this.waiting = null;
    this.draw();
  }

  /** What is typed no longer asks for anything. */
  release() {
    clearTimeout(this.typing);
  }

  /** Values as they stand in the fields. */
  values() {
    return Object.fromEntries([...this.inputs].map(([name, input]) => [name, input.value]));
  }

  draw() {
    const asked = this.model.get("question");
    const open = asked?.action ? asked : null;
    if (open) this.waiting = null;
    this.node.hidden = !open && !this.waiting;
    if (!open) {
      this.key = "";
      if (this.waiting) {
        const { action, run } = this.waiting;
        const words = `${ACTIONS[action]} ${run}: waiting for the kernel …`;
        this.node.replaceChildren(make("p", { text: words, role: "status" }),
          make("button", { type: "button", text: "Cancel", onclick: () => this.close() }));
      }
      return;
    }
    const key = `${open.action} ${open.run}`;
    if (key === this.key) {
      this.#refresh(open); // what a person types meanwhile stays
      return;
    }
    this.key = key;
    this.#build(open);
  }

  #build(open) {
    this.inputs = new Map();
    this.sentence = make("p", { class: "twist-question-words" });
    this.problem = make("p", { class: "twist-question-problem", role: "alert" });
    this.act = make("button", { type: "submit", class: open.danger ? "twist-danger" : "twist-primary",
      text: open.verb });
    const cancel = make("button", { type: "button", text: "Cancel", onclick: () => this.close() });
    const form = make("form", { onsubmit: (event) => {
      event.preventDefault();
      this.#confirm(open);
    } });
    for (const field of open.fields) form.append(this.#field(field, open));
    form.append(make("div", { class: "twist-question-verbs" }, this.act, cancel));
    form.addEventListener("keydown", (event) => {
      event.stopPropagation(); // the notebook has keys of its own
      if (event.key === "Escape") this.close();
    });
    this.node.dataset.action = open.action;
    this.node.replaceChildren(make("h3", { text: `${ACTIONS[open.action]} ${open.run}` }), this.sentence, form,
      this.problem);
    this.#refresh(open);
    this.inputs.values().next().value?.focus();
  }

  #refresh(open) {
    this.sentence.textContent = open.sentence;
    this.problem.textContent = open.problem;
    this.problem.hidden = !open.problem;
    this.act.textContent = open.verb;
    this.#allow(open);
  }

  #allow(open) {
    this.act.disabled = Boolean(open.needs && this.values().confirm !== open.needs);
  }

  #field(field, open) {
    const label = make("label", {}, make("span", { text: field.label }));
    const again = () => {
      clearTimeout(this.typing); // asked when typing has paused
      this.typing = setTimeout(() => {
        this.#allow(open);
        if (field.again) this.model.send?.({ type: "ask", action: open.action, run: open.run, values: this.values() });
      }, TYPING_PAUSE_MS);
    };
    let input, whole = label;
    if (field.kind === "select") {
      input = make("select", {});
      for (const choice of field.choices) input.append(make("option", { value: choice, text: choice }));
    } else if (field.kind === "lines") {
      input = make("textarea", { rows: "3", spellcheck: "false", placeholder: field.placeholder ?? "" });
      label.append(input);
      whole = make("div", { class: "twist-wide" }, label, this.#helpOf(field, input));
    } else {
      const kind = field.kind === "number" ? { type: "number", min: "1", step: "1" } : { type: "text" };
      input = make("input", { ...kind, autocomplete: "off", spellcheck: "false",
        placeholder: field.placeholder ?? "" });
    }
    input.value = field.value;
    input.addEventListener("input", again);
    if (!input.isConnected && input.parentNode !== label) label.append(input);
    this.inputs.set(field.name, input);
    return whole;
  }

  /** The sentence of the field that is being typed, and a list to take one from. */
  #helpOf(field, input) {
    const names = Object.keys(field.helps);
    const choose = makeSelect("add a field", { "": "add a field …" }, (name) => {
      if (!name) return;
      const before = input.value.trimEnd();
      input.value = `${before}${before ? "\n" : ""}${name}=`;
      choose.value = "";
      input.focus();
      tell();
    });
    for (const name of names) choose.append(make("option", { value: name, text: name, title: field.helps[name] }));
    const words = make("span", { class: "twist-facts" });
    const tell = () => {
      const until = input.value.slice(0, input.selectionStart ?? input.value.length);
      const name = until.split("\n").pop()?.split("=")[0].trim() ?? "";
      words.textContent = field.helps[name] ?? "";
    };
    for (const event of ["input", "click", "keyup"]) input.addEventListener(event, tell);
    tell();
    return make("span", { class: "twist-question-help" }, choose, words);
  }

  #confirm(open) {
    this.release();
    this.#allow(open);
    if (this.act.disabled) return;
    this.act.disabled = true;
    this.act.textContent = `${open.verb} …`;
    this.model.send?.({ type: "do", action: open.action, run: open.run, values: this.values() });
  }
}
