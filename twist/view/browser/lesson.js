// @ts-check
/**
 * A recorded experiment, or two side by side, as a page of its own: a slider through time moves the point in the
 * entropy plane, every image between its classes, and the words that say what is happening.
 *
 * One state (the step, whether it plays, the image pointed at, the image chosen) is shown by every part; parts tell
 * what a person does by `go`, `play`, `hover` and `choose`.
 */

const LESSON_GALLERY_MS = 350; // between two galleries while it plays
const LESSON_KEYS = "Space plays and pauses; arrow keys go from one recorded moment to the next, at a picture from " +
  "dot to dot; Enter keeps an image, Esc lets it go.";

class Lesson {
  constructor(/** @type {HTMLElement} */ el, values, /** @type {LessonRun[]} */ runs) {
    this.el = el;
    this.runs = runs;
    this.title = values.title;
    this.images = values.images.map((table) => ({ table: lessonImages(table), thumbnails: table.count
      ? new Thumbnails({ ...table, tile: table.tile }) : null }));
    const last = Math.max(...runs.map((run) => run.newest));
    const moments = [...new Set(runs.flatMap((run) => run.moments))].sort((a, b) => a - b);
    const spread = moments.length > 24 ? [] : Array.from({ length: 100 }, (_, k) => Math.round((k / 99) * last));
    const all = [...new Set([...moments, ...spread])].sort((a, b) => a - b).filter((step) => step >= moments[0]);
    this.range = { first: Math.min(moments[0], last), last, moments: all };
    this.step = this.range.first;
    this.playing = false;
    this.ticking = 0;
    this.hovered = this.chosen = -1;
    this.labels = true;
    this.shared = this.images.length < 2; // one image is one row in both runs
    this.of = runs.find((run) => run.frames) ?? runs[0]; // whose row is meant where they are not
    this.usual = this.#usual();
    this.redraw = coalesce(() => this.#show());
    this.channel = new AbortController();
    this.build();
    const { signal } = this.channel;
    addEventListener("hashchange", () => this.#read(true), { signal });
    document.addEventListener("keydown", (event) => this.#key(event), { signal });
    document.addEventListener("click", (event) => this.#link(event), { signal });
    this.#read(false);
    this.#show();
  }

  imagesOf(/** @type {LessonRun} */ run) {
    return this.images[run.images] ?? this.images[0];
  }

  /** The image that is shown before one is chosen: that which the first run is least sure of in the end. */
  #usual() {
    const run = this.of;
    if (!run?.frames) return -1;
    let best = 0;
    const end = run.frames.steps.length - 1;
    for (let i = 1; i < run.count; i++) if (!(run.entropy(i, end) <= run.entropy(best, end))) best = i;
    return best;
  }

  build() {
    const on = { hover: (row, run) => this.hover(row, run), choose: (row, run) => this.choose(row, run) };
    this.panes = this.runs.map((run) => new LessonPane(this, run, on));
    this.time = new LessonTimeline(this.runs, this.range, { go: (step) => this.go(step), play: (on) => this.play(on) });
    this.inspector = new LessonInspector(this.runs, this.range, (run) => this.imagesOf(run), (step) => this.go(step));
    this.galleries = this.runs.filter((run) => run.frames).map((run) => new LessonGallery(run, this.imagesOf(run), on));
    this.spoken = make("p", { class: "twist-spoken", "aria-live": "polite" });
    this.guessing = make("button", { text: "Guess the end", "aria-pressed": "false",
      title: "Click into the plane where you expect the point to end", onclick: () => this.#guess() });
    const labels = make("input", { type: "checkbox", onchange: () => {
      this.labels = labels.checked;
      this.legend.hidden = !labels.checked;
      this.redraw();
    } });
    labels.checked = true;
    const labeled = this.runs.some((run) => run.frames && this.imagesOf(run).table.labels?.length);
    this.labeled = labeled;
    const two = this.runs.length > 1;
    const asked = document.querySelector(".lesson-notes:has(details, .twist-question)");
    this.root = make("div", { class: `twist lesson${two ? " lesson-two" : ""}` },
      make("header", {}, make("h1", { class: "lesson-title", text: this.title }), make("span", { class: "twist-gap" }),
        this.legend = make("span", { class: "lesson-legend" }), this.guessing,
        ...(asked ? [make("button", { text: "Questions", title: "What to ask before you look; answers wait there too",
          onclick: () => asked.scrollIntoView({ behavior: labStill() ? "auto" : "smooth" }) })] : []),
        ...(labeled ? [make("label", { class: "lesson-check",
          title: "Labels color the dots; the network never saw them" }, labels, " labels")] : [])),
      make("div", { class: "lesson-stage" }, make("div", { class: "lesson-panes" },
        ...this.panes.map((pane) => pane.node)), ...(two ? [] : [this.inspector.node])),
      this.time.node, ...(two ? [this.inspector.node] : []), this.spoken,
      make("p", { class: "twist-caption", text: this.#caption() }),
      make("div", { class: "lesson-galleries" }, ...this.galleries.map(({ node }) => node)),
      make("details", { class: "lesson-numbers" }, make("summary", { text: "The numbers at this step" }),
        this.table = make("table", {})));
    this.el.replaceChildren(this.root);
    this.drawGallery = 0;
    this.#name();
  }

  /** Color and shape of every label, where they are few enough to be told apart. */
  #name() {
    const { label_names: names = [], labels } = this.images.find(({ table }) => table.labels?.length)?.table ?? {};
    if (!this.labeled || !labels || names.length > LAB_SHAPES * 2) return;
    const stamps = new LabStamps();
    const unit = 2;
    stamps.prepare(labInks(this.root), 4.6, unit, false);
    this.legend.replaceChildren(...names.map((text, k) => {
      const stamp = stamps.of(k);
      const picture = make("canvas", { "aria-hidden": "true" });
      [picture.width, picture.height] = [stamp.width, stamp.height];
      picture.style.width = `${stamp.width / unit}px`;
      picture.getContext("2d").drawImage(stamp, 0, 0);
      return make("span", { title: `label ${text}` }, picture, text);
    }));
  }

  #caption() {
    const said = this.runs.flatMap((run) => [...run.said, run.way.said, run.frames?.said ?? ""]
      .map((line) => (line && run.letter ? `${run.letter}: ${line}` : line)));
    const pictures = this.images.map(({ table }) => [table.said,
      table.of > table.count ? `${count(table.count)} of ${count(table.of)} images are shown.` : ""]).flat();
    const kinds = new Set(this.runs.map((run) => run.frames?.kind));
    const what = kinds.has("outputs")
      ? "A dot is what training last said of an image, the mean of two augmented views. "
      : kinds.has("snapshots") ? "A dot is an image as it is, not augmented; the plane is of augmented batches. " : "";
    const moves = what ? "Between recorded moments dots move straight. " : "";
    return `${what}${moves}${[...said, ...pictures].filter(Boolean).join(" ")} ` +
      LESSON_KEYS;
  }

  // -- what a person does -------------------------------------------------------------------------------------------

  go(/** @type {number} */ step) {
    this.step = clamp(step, this.range.first, this.range.last);
    if (this.playing) this.play(false);
    this.redraw();
  }

  play(/** @type {boolean} */ on) {
    if (on === this.playing) return;
    this.playing = on;
    if (on) {
      if (this.step >= this.range.last) this.step = this.range.first;
      let before = performance.now();
      const tick = (now) => {
        this.ticking = requestAnimationFrame(tick);
        this.#advance(Math.min(100, Math.max(0, now - before)));
        before = now;
      };
      this.held = 0;
      this.ticking = requestAnimationFrame(tick);
    } else {
      cancelAnimationFrame(this.ticking);
      this.#write();
    }
    this.redraw();
  }

  /** On in time; with reduced motion from one recorded moment to the next. */
  #advance(passed) {
    const { first, last } = this.range;
    const on = ((last - first) * passed) / (1000 * this.time.seconds);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.held += on;
      const next = this.time.beside(1);
      if (this.step + this.held < next) return;
      this.held = 0;
      this.step = next;
    } else this.step = Math.min(last, this.step + on);
    if (this.step >= last) this.play(false);
    this.#show();
  }

  hover(/** @type {number} */ row, /** @type {LessonRun} */ run) {
    this.hovered = row;
    if (row >= 0) this.#mean(run);
    this.redraw();
  }

  /** Rows are now those of a run. */
  #mean(run) {
    if (this.shared || run === this.of) return;
    this.of = run;
    this.chosen = -1;
    this.usual = this.#usual();
  }

  choose(/** @type {number} */ row, /** @type {LessonRun} */ run) {
    this.#mean(run);
    this.chosen = row === this.chosen ? -1 : row;
    this.#write();
    this.redraw();
  }

  #guess() {
    const on = this.guessing.getAttribute("aria-pressed") !== "true";
    this.guessing.setAttribute("aria-pressed", String(on));
    this.panes.forEach((pane) => pane.plane.pick(on));
    if (on) {
      this.play(false);
      this.spoken.textContent = "Click into the plane where you expect the point to end, or use arrow keys and Enter.";
    }
  }

  /** A guess was made in one of the planes. */
  guessed() {
    this.guessing.setAttribute("aria-pressed", "false");
    this.panes.forEach((pane) => pane.plane.pick(false));
    this.redraw();
  }

  #key(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && this.chosen >= 0) this.choose(this.chosen, this.of);
    const own = target.closest("button, select, summary, a, textarea, input:not([type=range])");
    if (target === document.body && (event.key === "ArrowLeft" || event.key === "ArrowRight")) this.time.key(event);
    if (event.key === " " && !own) {
      event.preventDefault();
      this.play(!this.playing);
    }
  }

  /** A link in the notes to a step goes there even when the address says so already. */
  #link(event) {
    const link = /** @type {HTMLElement} */ (event.target).closest?.("a[href^='#step=']");
    if (link && link.getAttribute("href") === location.hash) this.#read(true);
  }

  // -- the address: #step=120&image=5 -------------------------------------------------------------------------------

  #read(/** @type {boolean} */ scroll) {
    const words = new URLSearchParams(location.hash.slice(1));
    const step = Number(words.get("step") ?? NaN);
    const image = Number(words.get("image") ?? NaN);
    const { table } = this.imagesOf(this.of) ?? {};
    const row = Number.isInteger(image) && table?.sample_ids ? table.sample_ids.indexOf(image) : -1;
    if (row >= 0) this.chosen = row;
    if (!Number.isFinite(step)) return;
    this.go(step);
    if (scroll) this.root.scrollIntoView({ behavior: labStill() ? "auto" : "smooth" });
  }

  #write() {
    const image = this.chosen >= 0 ? `&image=${this.imagesOf(this.of).table.sample_ids[this.chosen]}` : "";
    try {
      history.replaceState(null, "", `#step=${Math.round(this.step)}${image}`);
    } catch {
      // some browsers forbid it to pages from disk: the address stays as it is
    }
  }

  // -- showing ------------------------------------------------------------------------------------------------------

  #show() {
    const { step } = this;
    this.panes.forEach((pane, k) => pane.show(step, this.panes[1 - k]));
    this.time.show(step, this.playing);
    const row = this.hovered >= 0 ? this.hovered : this.chosen >= 0 ? this.chosen : this.usual;
    if (row >= 0) {
      const why = this.hovered >= 0 ? "under the pointer" : this.chosen >= 0 ? "chosen; Esc lets it go"
        : "least sure in the end. Point at a dot for another, click to keep it.";
      this.inspector.show(row, step, this.shared ? null : this.of, why);
    }
    const now = performance.now();
    if (!this.playing || now - this.drawGallery > LESSON_GALLERY_MS) {
      this.drawGallery = now;
      this.galleries.forEach((gallery) => gallery.show(step));
    }
    Object.assign(this.root.dataset, { step: String(Math.floor(step)), playing: String(this.playing),
      image: String(row) });
    if (!this.playing) this.#numbers();
    const said = this.panes.map((pane) => pane.spoken).join(" ");
    if (said !== this.said) this.spoken.textContent = this.said = said;
  }

  #numbers() {
    const heads = ["", ...this.runs.map((run) => run.name)];
    const terms = ["consistency", "sharpness", "diversity", "total"];
    const number = (value) => (Number.isFinite(value) ? value.toFixed(3) : "–");
    const rows = terms.map((term) => [`${term}, nats`, ...this.runs.map((run) => number(run.term(term, this.step)))]);
    rows.push(["information, nats", ...this.runs.map((run) => number(run.term("diversity", this.step) -
      run.term("sharpness", this.step)))]);
    rows.push(["views agree", ...this.runs.map((run) => percent(run.term("agreement", this.step)).replace(
      "not finite", "–"))]);
    this.table.replaceChildren(make("tr", {}, ...heads.map((text) => make("th", { text }))), ...rows.map((cells) =>
      make("tr", {}, ...cells.map((text, k) => make(k ? "td" : "th", { text })))));
  }

  release() {
    cancelAnimationFrame(this.ticking);
    this.redraw.cancel();
    this.channel.abort();
    this.time.release();
    this.panes.forEach((pane) => pane.release());
    this.galleries.forEach((gallery) => gallery.release());
    this.images.forEach(({ thumbnails }) => thumbnails?.release());
  }
}

/** One run: the words, the plane, the simplex, the knobs. */
class LessonPane {
  constructor(/** @type {Lesson} */ lesson, /** @type {LessonRun} */ run, on) {
    this.lesson = lesson;
    this.run = run;
    this.guess = null;
    this.sign = make("span", { class: "lesson-sign", "aria-hidden": "true" });
    this.heading = make("h2", {});
    this.sentence = make("p", { class: "lesson-sentence" });
    this.cause = make("p", { class: "lesson-why" });
    this.knobs = make("p", { class: "lesson-knobs" });
    const canvas = () => make("canvas", {});
    const planeCanvas = canvas();
    this.plane = new LabPlane(planeCanvas, { onpick: (place) => {
      this.guess = place;
      lesson.guessed();
    } });
    const pictures = [make("figure", {}, planeCanvas)];
    this.simplex = null;
    if (run.frames) {
      const simplexCanvas = canvas();
      this.simplex = new LabSimplex(simplexCanvas, { hover: (row) => on.hover(row, run),
        choose: (row) => on.choose(row, run), describe: (row) => this.describe(row) });
      pictures.push(make("figure", {}, simplexCanvas, this.caption = make("figcaption", { class: "twist-caption",
        text: labSimplexCaption(run.num_classes, "image") })));
    } else {
      pictures.push(make("p", { class: "twist-note lesson-none",
        text: "This run kept no snapshot and no outputs of its images: only its way is shown." }));
    }
    this.node = make("section", { class: "lesson-pane", "aria-label": `Run ${run.name}` },
      make("div", { class: "lesson-words" }, this.sign, make("div", {}, this.heading, this.sentence, this.cause)),
      make("div", { class: "lesson-pictures" }, ...pictures), this.knobs);
  }

  /** An image in words. */
  describe(/** @type {number} */ row) {
    const { table } = this.lesson.imagesOf(this.run);
    const label = table.labels?.length ? `, ${lessonLabel(table, row)}` : "";
    const own = this.run.distribution(row, this.run.num_classes).sort((one, other) => other.p - one.p).slice(0, 3);
    return `image ${table.sample_ids?.[row] ?? row}${label}: ` +
      own.map(({ c, p }) => `class ${c} ${percent(p)}`).join(", ");
  }

  /** What the plane draws of this run at a step. */
  scene(/** @type {number} */ step) {
    const { run } = this;
    return { trail: run.way, upto: run.upTo(step), letter: run.letter };
  }

  show(/** @type {number} */ step, /** @type {LessonPane | undefined} */ other) {
    const { run } = this;
    const knobs = run.knobsAt(step);
    const own = this.scene(step);
    const past = step > run.newest;
    this.plane.show({ ...own, numClasses: run.num_classes, temperature: knobs.temperature, finalNorm: run.final_norm,
      batchSize: run.batch_size, marks: run.turns.filter((turn) => turn.step <= step), guess: this.guess,
      ghost: other && other.run.num_classes === run.num_classes ? other.scene(step) : null });
    if (this.simplex) {
      const { table } = this.lesson.imagesOf(run);
      const there = this.lesson.labels && table.labels?.length;
      const newest = run.frames.steps.at(-1);
      run.lay(Math.min(step, newest));
      const late = step > newest ? ` These are as of step ${count(newest)}: none were recorded later.` : "";
      this.caption.textContent = labSimplexCaption(run.num_classes, "image") + late;
      this.simplex.show({ numClasses: run.num_classes, count: run.count, probs: run.probs, visited: run.seen,
        labels: there ? table.labels : null, labelNames: there ? table.label_names : null });
      const mine = this.lesson.shared || this.lesson.of === run;
      this.simplex.mark(!mine ? -1 : this.lesson.hovered >= 0 ? this.lesson.hovered : this.lesson.chosen);
    }
    const found = run.verdict(step);
    this.sign.textContent = found?.sign ?? "…";
    this.node.dataset.level = found?.level ?? "open";
    const title = found ? found.title : "Before the first step";
    this.heading.replaceChildren(run.letter ? `${run.letter} · ${run.name}: ${title}` : title,
      ...(found ? [make("span", { class: "lesson-asof", text: ` as of step ${count(found.step)}` })] : []));
    this.sentence.textContent = found?.sentence ??
      "Nothing is learned yet: every image gets what the fresh network happens to say.";
    this.cause.textContent = [found?.why, found?.level === "good" ? "" : found?.cure, this.#far(step)]
      .filter(Boolean).join(" ");
    this.spoken = `${run.letter ? `${run.letter}: ` : ""}${title}.`;
    this.#knobs(knobs, step, past);
    Object.assign(this.node.dataset, { step: String(Math.floor(step)), verdict: found?.kind ?? "",
      sharpness: run.term("sharpness", step).toFixed(4), diversity: run.term("diversity", step).toFixed(4) });
  }

  /** At the end: how far from it a guess lies. */
  #far(step) {
    const { run, guess } = this;
    if (!guess || step < run.newest) return "";
    const at = ["sharpness", "diversity"].map((term) => guess[term] - run.term(term, step));
    return `Your guess is ${nats(Math.hypot(...at))} from where it ended.`;
  }

  #knobs(knobs, step, past) {
    const { run } = this;
    const key = JSON.stringify([knobs, past]);
    if (key === this.known) return;
    this.known = key;
    const parts = Object.entries(knobs.weights).map(([name, value]) => [name, value, run.knobs.weights[name]]);
    parts.push(["temperature", knobs.temperature, run.knobs.temperature]);
    parts.push(["learning rate", knobs.rate, run.knobs.rate]);
    const nodes = parts.flatMap(([name, value, first]) => {
      const node = make("span", { class: value === first ? "" : "lesson-turned",
        text: `${name} ${Number(value.toPrecision(3))}` });
      return [node, " · "];
    });
    const norm = run.final_norm === "none" ? "no norm before the softmax" : "norm before the softmax";
    this.knobs.replaceChildren("weights: ", ...nodes,
      `${norm} · C = ${count(run.num_classes)} · N = ${count(run.batch_size)}` +
      (past ? ` · it ended at step ${count(run.newest)}` : ""));
  }

  release() {
    this.plane.release();
    this.simplex?.release();
  }
}

/** A table of images with its columns read. */
function lessonImages(table) {
  if (!table.count) return table;
  const labels = table.labels.length ? Uint8Array.from(table.labels) : null;
  const names = [...table.label_names];
  if (labels?.includes(255)) { // images without a label are a kind of their own
    for (let k = 0; k < labels.length; k++) if (labels[k] === 255) labels[k] = names.length;
    names.push("unlabeled");
  }
  return { ...table, labels, label_names: names, sample_ids: Array.from(column(Float64Array, table.sample_ids)) };
}

/** Draw a lesson from the values of its page. */
function render({ model, el }) {
  let lesson = /** @type {Lesson | null} */ (null);
  let released = false;
  el.replaceChildren(make("p", { class: "twist twist-note", text: "Unpacking …" }));
  (async () => {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser is older than 2023 and cannot unpack what is in the page: open it in a newer one");
    }
    const runs = await Promise.all(model.get("runs").map((run) => LessonRun.of(run)));
    if (!released) lesson = new Lesson(el, { title: model.get("title"), images: model.get("images") }, runs);
  })().catch((error) => {
    const box = make("div", { class: "twist", "data-state": "error" },
      make("p", { class: "twist-note", text: `The lesson cannot be shown: ${error.message}.` }));
    el.replaceChildren(box);
    console.error(error);
  });
  return () => {
    released = true;
    lesson?.release();
  };
}
