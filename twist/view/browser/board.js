// ---------------------------------------------------------------------------------------------------------------------
// The board above a monitor's pictures: state, what may be asked, verdict, alarms, steps to look at, earlier runs.

const SILENT_S = 8; // a living run's board hears from Python every two seconds

/** @param {{model: Model, el: HTMLElement}} context */
function render({ model, el }) {
  const board = new Board(model, el);
  return () => board.release();
}

class Board {
  constructor(model, el) {
    this.model = model;
    this.drawn = {};
    this.heard = Date.now();
    const say = (message) => model.send(message);
    this.say = say;

    this.name = make("h3", { class: "twist-title" });
    this.state = make("span", { class: "twist-state" });
    this.facts = make("span", { class: "twist-facts" });
    this.asks = make("span", { class: "twist-asks", role: "group", "aria-label": "What may be asked of the run" });
    this.progress = make("progress", { max: 1, "aria-label": "Share of the steps done" });
    this.message = make("p", { class: "twist-message" });
    this.stale = make("p", { class: "twist-stale" });
    this.answers = make("p", { class: "twist-answers", role: "status" });
    this.silence = make("p", { class: "twist-stale", hidden: "" });
    this.problem = make("p", { class: "twist-problem", role: "alert", hidden: "" });
    this.failure = make("section", { class: "twist-failure", hidden: "", "aria-label": "Why it failed" });
    this.judged = make("section", { class: "twist-verdict", "aria-label": "Verdict" });
    this.numbers = make("details", {}, make("summary", { text: "The numbers" }));
    this.alarms = make("section", { class: "twist-alarms", "aria-label": "Alarms of this run" });
    this.findings = make("div", { class: "twist-findings" }, this.judged, this.alarms);
    this.foot = make("span", { class: "twist-facts twist-foot" });
    this.saves = make("span", { class: "twist-saves" }, ...["PNG", "SVG"].map((kind) =>
      make("button", { text: `Save ${kind}`, onclick: () => this.save(kind.toLowerCase()),
        title: `Save the pictures below as one ${kind} file, with the line that says where they come from` })));
    this.spoken = make("div", { class: "twist-spoken", "aria-live": "polite" });

    el.classList.add("twist", "twist-board");
    el.append(
      make("header", {}, this.name, this.state, this.facts, make("span", { class: "twist-gap" }), this.asks),
      this.progress, this.message, this.stale, this.silence, this.answers, this.problem, this.failure, this.findings,
      make("div", { class: "twist-controls" }, this.makeSteps(), this.makeGhosts()),
      make("div", { class: "twist-last" }, this.foot, this.saves), this.spoken,
    );
    this.el = el;
    const page = make("div", { class: "twist-width" });
    el.prepend(page);
    this.endLighting = watchLighting(model, page);
    this.onShown = () => {
      this.heard = Date.now();
      this.draw(model.get("shown"));
    };
    this.onSight = () => (this.heard = Date.now());
    document.addEventListener("visibilitychange", this.onSight);
    model.on("change:shown", this.onShown);
    this.timer = setInterval(() => this.drawSilence(), 1000);
    this.onShown();
  }

  release() {
    clearInterval(this.timer);
    clearTimeout(this.later);
    document.removeEventListener("visibilitychange", this.onSight);
    this.model.off("change:shown", this.onShown);
    this.endLighting();
  }

  draw(shown) {
    const sections = { status: "drawStatus", asks: "drawAsks", answers: "drawAnswers", problem: "drawProblem",
      failure: "drawFailure", verdict: "drawVerdict", alarms: "drawAlarms", look: "drawSteps", ghosts: "drawGhosts",
      foot: "drawFoot" };
    for (const [name, method] of Object.entries(sections)) {
      const words = JSON.stringify(shown[name] ?? null);
      if (words === this.drawn[name]) continue;
      this.drawn[name] = words;
      const focused = this.el.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
      this[method](shown[name] ?? null);
      if (focused && !this.el.contains(document.activeElement)) {
        [...this.el.querySelectorAll("[data-focus]")].find((node) => node.dataset.focus === focused)?.focus();
      }
    }
    this.el.dataset.state = shown.status?.state?.toLowerCase() ?? "empty";
    this.figure = shown.figure;
    this.file = shown.file;
    this.saves.hidden = !shown.figure;
    const plot = this.plot();
    plot?.setAttribute("role", "figure");
    plot?.setAttribute("aria-label", shown.summary ?? "");
    const { glyph, words, name } = shown.status ?? {};
    const spoken = [`${name ? `Run ${name}: ` : ""}${words}`, shown.verdict?.title].filter(Boolean).join(". ");
    if (glyph && this.spoken.textContent !== spoken) this.spoken.textContent = spoken;
  }

  drawStatus(status) {
    this.name.textContent = status.name;
    this.name.hidden = !status.name;
    this.state.textContent = `${status.glyph} ${status.words}`;
    this.facts.replaceChildren(...status.facts.map((text) => make("span", { text })));
    this.message.textContent = status.message;
    this.message.hidden = !status.message;
    this.stale.textContent = status.stale ? `⚠ ${status.stale}` : "";
    this.stale.hidden = !status.stale;
    this.progress.value = status.done;
    this.progress.hidden = !status.name;
    this.alive = Boolean(status.alive);
  }

  drawSilence() {
    const silent = Math.round((Date.now() - this.heard) / 1000);
    this.silence.hidden = !(this.alive && silent > SILENT_S && !document.hidden);
    this.silence.textContent =
      `⚠ nothing heard from the kernel for ${silent} s: it is busy or gone. The run goes on; what is shown may be old.`;
  }

  drawAsks(asks) {
    this.asks.replaceChildren(...asks.map(({ ask, words, tooltip, enabled }) => {
      const button = make("button", { text: words, title: tooltip, "data-focus": `ask-${ask}`, "data-ask": ask,
        onclick: () => this.say({ do: "ask", ask }) });
      button.disabled = !enabled;
      return button;
    }));
  }

  drawAnswers(answers) {
    this.answers.textContent = answers.join(" ");
    this.answers.hidden = !answers.length;
  }

  drawProblem(problem) {
    this.problem.textContent = problem ? `✕ ${problem}` : "";
    this.problem.hidden = !problem;
  }

  drawFailure(failure) {
    this.failure.hidden = !failure;
    if (!failure) return;
    const fold = (title, text, open) => {
      const details = make("details", {}, make("summary", { text: title }), make("pre", { text, tabindex: "0" }));
      details.open = open;
      return details;
    };
    this.failure.replaceChildren(make("p", { class: "twist-problem", text: `✕ ${failure.message}` }),
      ...(failure.traceback ? [fold("Traceback of the training process", failure.traceback, false)] : []),
      ...(failure.log ? [fold("End of its log", failure.log, !failure.traceback)] : []));
  }

  drawVerdict(verdict) {
    this.judged.hidden = !verdict;
    if (!verdict) return;
    const { sign, title, since, sentence, advice, causes, missing, look, evidence, at } = verdict;
    this.judged.dataset.sign = { "✓": "good", "▲": "alarm" }[sign] ?? "open";
    const head = make("p", {}, make("b", { text: `${sign} ${title}` }),
      make("span", { class: "twist-facts", text: since }));
    if (at) head.prepend(make("span", { class: "twist-at", text: `As of step ${count(at)}: ` }));
    if (look !== null) head.append(this.makeLook(look));
    const open = this.numbers.open;
    const cell = (tag) => (text, place) => make(tag, { text, class: place === 1 || place === 2 ? "twist-number" : "" });
    const table = make("table", {},
      make("thead", {}, make("tr", {}, ...["what was measured", "value", "held against", "which is"].map(cell("th")))),
      make("tbody", {}, ...evidence.map((row) => make("tr", {}, ...row.map(cell("td"))))));
    this.numbers = make("details", {}, make("summary", { text: `The numbers (${evidence.length})`,
      "data-focus": "numbers" }), table);
    this.numbers.open = open;
    this.judged.replaceChildren(head, make("p", {}, `${sentence} `, make("i", { text: advice })),
      ...(causes.length ? [make("p", { text: "Likely causes, the likeliest first:" }),
        make("ul", {}, ...causes.map((text) => make("li", { text })))] : []),
      ...(missing ? [make("p", { class: "twist-facts", text: `Missing: ${missing}` })] : []),
      ...(evidence.length ? [this.numbers] : []));
  }

  makeLook(step) {
    return make("button", { class: "twist-look", text: `Look at step ${count(step)}`, "data-focus": `look-${step}`,
      title: "Show this step in every view of the run", onclick: () => this.say({ do: "jump", step }) });
  }

  drawAlarms(alarms) {
    const { rows, more, dismissed } = alarms;
    this.alarms.hidden = !rows.length && !dismissed;
    this.findings.classList.toggle("twist-two", rows.length > 0);
    const again = make("button", { text: `Show ${count(dismissed)} dismissed`, "data-focus": "undismiss",
      title: "Bring the dismissed alarms back", onclick: () => this.say({ do: "undismiss" }) });
    this.alarms.replaceChildren(
      make("p", {}, make("b", { text: rows.length ? "Alarms of this run" : "No alarm left in the list" }),
        ...(dismissed ? [again] : [])),
      make("ol", {}, ...rows.map(({ key, step, sign, title, sentence, when }) => make("li", { "data-alarm": key },
        make("span", { class: "twist-alarm", title: sentence }, make("b", { text: `${sign} ${title}` }),
          make("span", { class: "twist-facts", text: when }),
          ...(sign === "△" ? [make("span", { text: sentence })] : [])),
        make("button", { text: "Look", "aria-label": `Look at step ${step}: ${title}`, "data-focus": `alarm-${key}`,
          title: "Show this step in every view of the run", onclick: () => this.say({ do: "jump", step }) }),
        make("button", { text: "Dismiss", "aria-label": `Dismiss: ${title} at step ${step}`,
          title: "Take it off this list; the record keeps it", onclick: () => this.say({ do: "dismiss", key }) })))),
      ...(more ? [make("p", { class: "twist-facts", text: `and ${count(more)} earlier` })] : []));
  }

  makeSteps() {
    this.range = make("input", { type: "range", min: 0, step: 1, "aria-label": "Step to look at", "data-focus": "range",
      "data-lm-suppress-shortcuts": "true", oninput: () => this.slide() });
    this.readout = make("output", { class: "twist-readout" });
    this.newest = make("button", { text: "Back to the newest", title: "Follow the run again in every view of it",
      "data-focus": "newest", onclick: () => this.say({ do: "jump", step: -1 }) });
    this.stepsRow = make("span", { class: "twist-steps" }, make("span", { text: "Look at" }), this.range, this.readout,
      this.newest);
    return this.stepsRow;
  }

  drawSteps(look) {
    this.steps = look.steps;
    this.stepsRow.hidden = look.steps.length < 2 && look.step === null;
    this.range.max = Math.max(0, look.steps.length - 1);
    const nearest = look.steps.findLastIndex((step) => step <= look.step);
    if (document.activeElement !== this.range || !this.later) {
      this.range.value = look.step === null ? look.steps.length - 1 : Math.max(0, nearest);
    }
    this.newest.hidden = look.step === null;
    this.tellStep(look.step);
  }

  tellStep(step) {
    const words = step === null ? "the newest step" : `step ${count(step)}`;
    this.readout.textContent = words;
    this.range.setAttribute("aria-valuetext", words);
  }

  slide() {
    const at = Number(this.range.value);
    const step = at >= this.steps.length - 1 ? -1 : this.steps[at];
    this.tellStep(step < 0 ? null : step);
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      this.later = 0;
      this.say({ do: "jump", step });
    }, 140);
  }

  makeGhosts() {
    this.chips = make("span", { class: "twist-chips" });
    this.choice = make("select", { "aria-label": "Add an earlier run, drawn faintly", "data-focus": "ghost",
      title: "Draw an earlier run faintly behind this one", onchange: () => {
        if (this.choice.value) this.say({ do: "haunt", run: this.choice.value });
        this.choice.value = "";
      } });
    this.ghostRow = make("span", { class: "twist-ghosts" }, this.chips, this.choice);
    return this.ghostRow;
  }

  drawGhosts({ shown, choices }) {
    this.ghostRow.hidden = !shown.length && !choices.length;
    this.choice.hidden = !choices.length;
    this.chips.replaceChildren(...shown.map(({ name, words }) => make("span", { class: "twist-ghost" },
      make("span", { text: words }),
      make("button", { text: "×", "aria-label": `Remove earlier run ${name}`, title: "Take it out of the pictures",
        onclick: () => this.say({ do: "unhaunt", run: name }) }))));
    this.choice.replaceChildren(make("option", { value: "", text: "Compare with an earlier run …" }),
      ...choices.map((name) => make("option", { value: name, text: name })));
  }

  drawFoot(foot) {
    this.foot.textContent = foot ?? "";
    this.foot.hidden = !foot;
  }

  /** The element of the pictures, once it is there. */
  plot() {
    const name = this.figure && `.${CSS.escape(this.figure)}`;
    return name ? document.querySelector(`${name} .js-plotly-plot, .js-plotly-plot${name}`) : null;
  }

  /** Let plotly save its picture: its own button does the work, told which kind of file. */
  save(format) {
    const plot = this.plot();
    const button = plot?.querySelector('.modebar-btn[data-title^="Download"]');
    if (!button) return;
    plot._context.toImageButtonOptions = { ...plot._context.toImageButtonOptions, format, filename: this.file };
    button.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  }
}
