// @ts-check
/**
 * The two-view probe: an image, the dials of its augmentations, two views, two distributions, and sensitivity.
 *
 * Sliders move here at once; what they ask for is sent one question at a time, the newest last, and answered through
 * the model's trait `answer` with the ticket of the question.
 */

const TWO_VIEWS_TRAITS = ["status", "facts", "dials", "images", "answer", "found", "image", "fields", "draw",
  "first_plain", "strength", "draws", "step"];
const KERNEL_BUSY_MS = 2500;

class TwoViewsProbe {
  constructor(/** @type {Model} */ model, /** @type {HTMLElement} */ el) {
    this.model = model;
    this.seen = new Map();
    this.asked = model.get("ticket");
    this.wishes = /** @type {Record<string, any>} */ ({});
    this.ask = tilesOf(model);
    this.build(el);
    this.send = coalesce(() => this.#send());
    this.update = coalesce(() => this.#update());
    TWO_VIEWS_TRAITS.forEach((name) => model.on(`change:${name}`, this.update));
    this.#update();
  }

  build(el) {
    this.title = make("strong", { class: "twist-title" });
    this.facts = make("span", { class: "twist-facts" });
    this.steps = make("select", { "aria-label": "Checkpoint", onchange: () =>
      this.wish({ step: Number(this.steps.value) }) });
    this.again = make("button", { type: "button", text: "Start again", title: "Start the probe's process anew",
      onclick: () => this.model.send?.({ type: "restart" }) });
    this.note = make("p", { class: "twist-note", role: "status" });
    this.details = make("details", {}, make("summary", { text: "What the process said" }), make("pre", {}));
    this.dials = new Dials((fields) => this.wish({ fields }));
    this.drawNumber = make("input", { type: "number", min: 0, max: 2 ** 31 - 1, step: 1, "aria-label":
      "Number of the draw", "data-lm-suppress-shortcuts": "true", onkeydown: (event) => event.stopPropagation(),
      onchange: () => this.wish({ draw: clamp(Math.round(Number(this.drawNumber.value)) || 0, 0, 2 ** 31 - 1) }) });
    const button = (text, title, onclick) => make("button", { type: "button", text, title, onclick });
    this.redraw = button("Another draw", "Draw both views anew, as the next epoch of training does",
      () => this.wish({ draw: this.value("draw") + 1 }));
    this.compare = makeSelect("What is compared", { two: "compare two views",
      plain: "compare a view with the plain image" }, (value) => this.wish({ first_plain: value === "plain" }));
    const controls = make("section", { class: "twist-controls" },
      make("header", {}, make("h3", { text: "Augmentations" }), make("span", { class: "twist-gap" }),
        this.dials.presets),
      make("div", { class: "twist-draw" }, make("label", {}, "Draw ", this.drawNumber), this.redraw, this.compare),
      this.dials.node);
    this.original = this.#figure("Image", true);
    this.views = [this.#figure("View 1"), this.#figure("View 2")];
    this.sentence = make("p", { class: "twist-agree" });
    this.numbers = make("ul", { class: "twist-numbers", "aria-label": "How far the views diverge" });
    this.wings = make("ul", { class: "twist-butterfly", "aria-label": "Class distributions of both views" });
    this.problem = make("p", { class: "twist-problem", role: "alert" });
    this.save = button("Save PNG", "Save what is shown as a picture with a line of provenance", () => this.#save());
    this.results = make("section", { class: "twist-results" }, this.problem,
      make("div", { class: "twist-figures" }, this.original.node, ...this.views.map((view) => view.node)),
      this.sentence, this.numbers,
      make("div", { class: "twist-wings twist-wings-head", "aria-hidden": "true" }, make("span", {}),
        make("span", { text: "◂ view 1" }), make("span", { class: "twist-facts", text: "class" }),
        make("span", { text: "view 2 ▸" }), make("span", {})), this.wings,
      make("p", { class: "twist-caption", text: "Probability of each class, back to back on one scale from 0 to " +
        "100 %; the tick is the plain image." }), this.#sensitivity());
    this.picker = new Picker({ choose: (image) => this.wish({ image }), ask: this.ask });
    this.body = make("div", { class: "twist-probe-body" }, controls, this.results, this.picker.node);
    this.spoken = make("p", { class: "twist-spoken", "aria-live": "polite" });
    this.source = make("p", { class: "twist-caption" });
    this.root = make("div", { class: "twist twist-two-views" }, make("header", {}, this.title, this.facts,
      make("span", { class: "twist-gap" }), make("label", {}, "Checkpoint ", this.steps), this.save, this.again),
      this.note,
      this.details, this.body, this.source, this.spoken);
    el.append(this.root);
  }

  #figure(name, outlined = false) {
    const canvas = make("canvas", { role: "img", "aria-label": name });
    const outline = outlined ? makeSvgNode("svg", { class: "twist-outlines", "aria-hidden": "true" }) : "";
    const [title, says, drawn] = ["b", "span", "span"].map((tag) => make(tag, {}));
    title.textContent = name;
    drawn.className = "twist-facts";
    const node = make("figure", { class: "twist-figure" },
      make("div", { class: "twist-frame" }, canvas, outline), make("figcaption", {}, title, says, drawn));
    return { node, canvas, outline, title, says, drawn };
  }

  #sensitivity() {
    this.strength = makeSelect("Strength of the augmentations", { recipe: "strength of the recipe",
      now: "strength as set here" }, (strength) => this.wish({ strength }));
    this.draws = makeSelect("Number of draws", { 32: "32 draws", 64: "64 draws", 256: "256 draws",
      1024: "1,024 draws" }, (draws) => this.wish({ draws: Number(draws) }));
    this.measure = make("button", { type: "button", text: "Measure", title: "Draw each augmentation alone, and count",
      onclick: () => this.model.send?.({ type: "measure" }) });
    this.ranked = make("ul", { class: "twist-ranked", "aria-label": "Sensitivity to each augmentation" });
    this.unused = make("p", { class: "twist-caption" });
    const heads = ["alone, in every draw", "draws that keep the class", "", "mean divergence, nats", "", "else"];
    return make("section", { class: "twist-sensitive" },
      make("header", {}, make("h3", { text: "What changes the class?" }), make("span", { class: "twist-gap" }),
        this.strength, this.draws, this.measure),
      make("div", { class: "twist-sensitivity twist-wings-head", "aria-hidden": "true" },
        ...heads.map((text) => make("span", { text }))), this.ranked, this.unused);
  }

  // -- to and from the kernel ----------------------------------------------------------------------------------------

  /** What a person set last, whether Python knows it yet or not. */
  value(name) {
    return name in this.wishes ? this.wishes[name] : this.model.get(name);
  }

  wish(changes) {
    Object.assign(this.wishes, changes);
    this.#show();
    this.send();
  }

  #send() {
    if (!Object.keys(this.wishes).length) return;
    if (this.waits) return; // the answer under way sends the rest
    this.asked += 1;
    this.model.set("ticket", this.asked);
    for (const [name, value] of Object.entries(this.wishes)) this.model.set(name, value);
    this.wishes = {};
    this.model.save_changes();
    this.waits = setTimeout(() => {
      this.waits = 0;
      this.root.dataset.busy = "true";
      this.#show();
      this.send();
    }, KERNEL_BUSY_MS);
  }

  #arrived(answer) {
    if (answer.ticket >= this.asked || !this.waits) {
      clearTimeout(this.waits);
      this.waits = 0;
      delete this.root.dataset.busy;
      this.send();
    }
  }

  async #save() {
    const { run, file, provenance } = this.model.get("facts");
    const { row, draw } = this.model.get("answer");
    try {
      const caption = `${provenance} · watch image ${row} · draw ${draw}`;
      const blob = await pictureOf(this.root, this.results, `${run}: two views`, caption);
      if (blob) saveAs(blob, `${file}.png`);
    } catch {
      this.spoken.textContent = this.problem.textContent = "This browser cannot save the picture: take a screenshot.";
      this.problem.hidden = false;
    }
  }

  /** Whether a trait holds another object than when last asked. */
  fresh(name) {
    const changed = this.seen.get(name) !== this.model.get(name);
    if (changed) this.seen.set(name, this.model.get(name));
    return changed;
  }

  // -- drawing -------------------------------------------------------------------------------------------------------

  #update() {
    if (this.fresh("images") && this.model.get("images").count) {
      this.picker.offer(this.model.get("images"));
      this.mainLabels = null;
    }
    if (this.fresh("dials") && this.model.get("dials").rows) this.dials.build(this.model.get("dials"));
    if (this.fresh("answer")) {
      const answer = this.model.get("answer");
      this.#arrived(answer);
      if (answer.probs && this.picker.images) this.#drawAnswer(answer);
    }
    this.#show();
  }

  /** Draw all that follows from the traits and from what was set. */
  #show() {
    const [status, facts, answer] = ["status", "facts", "answer"].map((name) => this.model.get(name));
    const known = Boolean(facts.num_classes);
    const busy = this.root.dataset.busy === "true";
    this.root.dataset.state = status.state;
    this.root.dataset.ticket = String(answer.ticket ?? -1);
    this.note.textContent = busy && status.state === "ready"
      ? "No answer yet: the kernel or the probe is busy. What is set here is answered when it is free." : status.text;
    this.note.hidden = !this.note.textContent;
    this.details.hidden = !status.details;
    this.details.lastChild.textContent = status.details ?? "";
    this.again.hidden = status.state !== "error" || !this.model.send;
    this.title.textContent = status.run || facts.run || "two views";
    this.body.hidden = !known;
    this.steps.parentElement.hidden = this.save.hidden = !known;
    if (!known) return;
    const choices = [-1, ...[...facts.steps].reverse()];
    const wanted = this.value("step");
    if (!choices.includes(wanted)) choices.push(wanted);
    this.steps.replaceChildren(...choices.map((step) => make("option", { value: step,
      text: step < 0 ? `newest (step ${count(facts.steps.at(-1))})` : `step ${count(step)}` })));
    this.steps.value = String(wanted);
    this.facts.textContent = `step ${count(facts.step)} · epoch ${+facts.epoch.toFixed(1)} · ` +
      `${count(facts.num_classes)} classes · evaluation mode` +
      (answer.milliseconds ? ` · answers in ${Math.max(1, Math.round(answer.milliseconds))} ms` : "");
    this.source.textContent = [facts.note, facts.provenance].filter(Boolean).join(" · ");
    this.dials.show(this.value("fields"));
    if (document.activeElement !== this.drawNumber) this.drawNumber.value = String(this.value("draw"));
    this.compare.value = this.value("first_plain") ? "plain" : "two";
    this.strength.value = this.value("strength");
    if (![...this.draws.options].some((option) => Number(option.value) === this.value("draws"))) {
      this.draws.append(make("option", { value: this.value("draws"), text: `${count(this.value("draws"))} draws` }));
    }
    this.draws.value = String(this.value("draws"));
    this.picker.select(this.value("image"));
    this.problem.textContent = answer.problem ?? "";
    this.problem.hidden = !answer.problem;
    this.#drawFound();
  }

  /** The label that most images of a class carry, where that is known. */
  mainLabel(c) {
    const { labels, labelNames, assignment, count: n } = this.picker.images;
    if (!labels || !assignment) return null;
    if (!this.mainLabels) {
      const tallies = new Map();
      for (let i = 0; i < n; i++) {
        if (labels[i] < 0) continue;
        const tally = tallies.get(assignment[i]) ?? tallies.set(assignment[i], new Map()).get(assignment[i]);
        tally.set(labels[i], (tally.get(labels[i]) ?? 0) + 1);
      }
      this.mainLabels = new Map([...tallies].map(([own, tally]) =>
        [own, labelNames[[...tally].reduce((best, one) => (one[1] > best[1] ? one : best))[0]]]));
    }
    const name = this.mainLabels.get(c);
    return name === undefined ? null : /^\d+$/.test(name) ? `label ${name}` : name; // a bare number looks like a class
  }

  #drawAnswer(answer) {
    const facts = this.model.get("facts");
    const { colors } = this.picker.images;
    const [height, width, channels] = answer.image_shape;
    const probs = column(Float32Array, answer.probs);
    const [, side, , viewChannels] = answer.pixels_shape;
    const pixels = column(Uint8Array, answer.pixels);
    const plainFirst = !Object.keys(answer.drawn[0]).length;
    paintPixels(this.original.canvas, column(Uint8Array, answer.image), height, width, channels);
    const margin = paintOutlines(this.original.outline, answer.corners, height, width, plainFirst);
    this.original.canvas.style.width = this.original.canvas.style.height = `${100 / (1 + 2 * margin)}%`;
    const { rows, top } = makeButterfly(probs, answer.num_classes, colors, (c) => this.mainLabel(c));
    this.views.forEach((view, k) => {
      const size = side * side * viewChannels;
      paintPixels(view.canvas, pixels.subarray((k + 1) * size, (k + 2) * size), side, side, viewChannels);
      view.title.textContent = k === 0 && plainFirst ? "View 1: the plain image" : `View ${k + 1}`;
    });
    const probOf = (k, c) => probs[k * answer.num_classes + c];
    [this.original, ...this.views].forEach((figure, k) => {
      const words = `class ${top[k]} with ${percent(probOf(k, top[k]), 1)}`;
      figure.says.replaceChildren(swatch(colors[top[k]]), `class ${top[k]} · ${percent(probOf(k, top[k]), 1)}`);
      figure.drawn.textContent = `entropy ${nats(answer.entropy[k] ?? NaN)}`;
      figure.canvas.setAttribute("aria-label", `${figure.title.textContent}: ${words}`);
    });
    this.original.title.textContent = this.picker.describe(answer.row).split(", class")[0];
    if (answer.recorded !== undefined) {
      const apart = Math.abs(answer.recorded - probOf(0, top[0]));
      this.original.drawn.textContent += apart < 5e-4 ? " · ✓ as recorded"
        : ` · recorded with ${percent(answer.recorded, 1)}`;
      this.original.drawn.title = `The snapshot of this step has ${percent(answer.recorded, 3)} for its class.`;
    }
    this.wings.replaceChildren(...rows);
    const same = top[1] === top[2];
    this.root.dataset.agree = String(same);
    this.root.dataset.classes = top.join(" ");
    this.root.dataset.draw = String(answer.draw);
    const kept = [1, 2].filter((k) => top[k] === top[0]).length;
    this.sentence.textContent = (same ? `✓ Both views are in class ${top[1]}` +
      (kept ? ", as is the plain image." : `; the plain image is in class ${top[0]}.`)
      : `✕ The views disagree: class ${top[1]} and class ${top[2]}; the plain image is in class ${top[0]}.`);
    const number = (value) => (value === null ? "not finite" : value.toFixed(3));
    const entries = [
      ["consistency", number(answer.consistency), facts.consistency === null ? "nats"
        : `nats; in training ${facts.consistency.toFixed(3)}`,
        "The loss term of these two views in evaluation mode; " +
        "that of training is the mean of the batches around this step, by their own statistics."],
      ["KL(1 ‖ 2)", number(answer.forward), "nats", "Surprise of one who expects view 2 and meets view 1."],
      ["KL(2 ‖ 1)", number(answer.backward), "nats", "Surprise of one who expects view 1 and meets view 2."],
      ["entropy", answer.entropy.slice(1).map((value) => (value === null ? "–" : value.toFixed(2))).join(" | "),
        `nats of log C = ${Math.log(answer.num_classes).toFixed(2)}`, "Of view 1 and of view 2: 0 is sure of a class."],
    ];
    this.numbers.replaceChildren(...entries.map(([name, value, unit, title]) =>
      make("li", { title }, make("span", { text: name }), make("b", { text: value }), make("span", { text: unit }))));
    this.dials.tell(answer.drawn, answer.image_size);
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => (this.spoken.textContent = this.sentence.textContent), 900);
  }

  #drawFound() {
    const found = this.model.get("found");
    const together = (row) => Number(row.augmentation === "all together");
    const rows = [...(found.rows ?? [])].sort((a, b) => together(a) - together(b) ||
      a.stays / a.draws - b.stays / b.draws || (b.divergence ?? 99) - (a.divergence ?? 99));
    const [answer, facts] = [this.model.get("answer"), this.model.get("facts")];
    const stale = found.state === "stale" || (rows.length > 0 && found.row !== answer.row);
    this.root.dataset.sensitivity = stale ? "stale" : found.state ?? "none";
    this.measure.textContent = found.state === "measuring" ? `Measuring ${rows.length + 1} of ${found.all.length}`
      : stale ? "Measure again" : "Measure";
    this.measure.disabled = found.state === "measuring";
    const most = Math.max(...rows.map((row) => row.divergence ?? 0), 1e-9);
    const own = Number((this.root.dataset.classes ?? "0").split(" ")[0]);
    if (this.drawnFound === found && this.drawnOwn === own && !stale) return;
    [this.drawnFound, this.drawnOwn] = [found, own];
    this.ranked.replaceChildren(...rows.map((row) =>
      makeSensitivityRow(row, own, this.picker.images.colors, most)));
    this.ranked.classList.toggle("twist-stale", stale);
    const left = facts.unused?.length && found.strength === "recipe"
      ? `Not in the recipe: ${facts.unused.join(", ")}. ` : "";
    this.unused.textContent = `${left}Bars: draws that stay in class ${own}, then the classes of the others, ` +
      "hatched; the line is the 95 % interval of the share. Divergence: the consistency term between a draw and the " +
      "plain image.";
  }

  release() {
    TWO_VIEWS_TRAITS.forEach((name) => this.model.off(`change:${name}`, this.update));
    this.ask.release();
    this.update.cancel();
    this.send.cancel();
    clearTimeout(this.waits);
    clearTimeout(this.speaking);
    this.picker.release();
    this.root.remove();
  }
}

/** Draw a model into an element; returns what ends it. */
function render({ model, el }) {
  const probe = new TwoViewsProbe(model, el);
  return () => probe.release();
}
