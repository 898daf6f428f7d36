// @ts-check
/**
 * One experiment of the lab: its headline, its knobs and its pictures, kept as its bench is now.
 *
 * @typedef {{step: number, changes: Record<string, any>, before: Record<string, any>}} LabTurn
 * @typedef {{kind: string, title: string, sentence: string, why: string, cure: string, level: "good"|"bad"|"open"}}
 *   LabWords
 */

const LAB_HEADLINE_MS = 700; // a sentence with new numbers is shown at most so often, one of another kind at once
const LAB_SPOKEN_MS = 4000;
const LAB_PULLS_MS = 350; // arrows of a running experiment follow at most so often, or they would flicker
const LAB_SIGNS = { good: "✓", bad: "!", open: "…" };

class LabPane {
  /**
   * @param {string} letter  "A" or "B"
   * @param {any} bench  see lab.js
   * @param {{turn: (pane: LabPane, changes: any) => void, restart: (pane: LabPane, changes: any) => void,
   *   drawn: (points: number[]) => void, guess: (pane: LabPane, place: any) => void, use: (pane: LabPane) => void,
   *   refreshed: (pane: LabPane) => void, showArrows: (shown: boolean) => void}} lab
   * @param {Set<string>} hidden
   */
  constructor(letter, bench, lab, hidden) {
    this.letter = letter;
    this.lab = lab;
    this.hidden = hidden;
    this.twin = /** @type {LabPane | null} */ (null);
    this.arrows = false;
    this.chosen = /** @type {number[]} */ ([]);
    this.guess = /** @type {any} */ (null);
    this.redraws = 0;
    this.spokenAt = -Infinity;
    this.shownAt = -Infinity;
    this.build();
    this.refresh = coalesce(() => this.#refresh());
    this.attach(bench);
  }

  /** Show a bench; the one before is closed. */
  attach(bench) {
    this.ends?.();
    this.bench?.close();
    this.bench = bench;
    this.chosen = [];
    this.pulls = null;
    this.foot.replaceChildren(...(bench.foot ? [bench.foot] : []));
    this.ends = bench.subscribe(() => this.refresh());
    this.refresh();
  }

  build() {
    this.badge = make("span", { class: "twist-lab-letter", text: this.letter });
    this.sign = make("span", { class: "twist-lab-sign", "aria-hidden": "true" });
    this.title = make("strong", { class: "twist-lab-verdict" });
    this.sentence = make("span", { class: "twist-lab-sentence" });
    this.why = make("span", { class: "twist-lab-why" });
    this.cure = make("span", { class: "twist-lab-cure" });
    this.spoken = make("p", { class: "twist-spoken", "aria-live": "polite" });
    this.message = make("p", { class: "twist-lab-message", role: "status" });
    this.answer = make("p", { class: "twist-lab-answer", "aria-live": "polite" });
    this.step = make("span", { class: "twist-lab-at" });
    this.words = make("div", { class: "twist-lab-words" },
      make("p", { class: "twist-lab-big" }, this.sign, this.title, " ", this.sentence),
      make("p", { class: "twist-lab-more" }, this.why, " ", this.cure), this.answer);
    this.question = make("div", { class: "twist-lab-question", "aria-live": "polite" });
    this.reveal = make("button", { type: "button", class: "twist-lab-reveal", text: "Show the answer" });
    this.headline = make("div", { class: "twist-lab-headline" }, this.badge, this.words, this.question,
      make("div", { class: "twist-lab-side" }, this.step, this.reveal));
    this.knobs = new LabKnobs({ turn: (changes) => this.lab.turn(this, changes),
      restart: (changes) => this.lab.restart(this, changes) });
    this.foot = make("div", {}); // what a bench has to say of itself
    this.pictures = make("div", { class: "twist-lab-pictures" });
    this.regions = this.#picture("regions", "Points and their classes", LabRegions,
      { drawn: (points) => this.lab.drawn(points) });
    this.simplex = this.#picture("simplex", "Simplex", LabSimplex, {});
    this.plane = this.#picture("plane", "Entropy plane", LabPlane, { onpick: (place) => this.lab.guess(this, place) });
    this.pictures.append(this.regions.node, this.simplex.node, this.plane.node);
    this.card = make("div", { class: "twist-lab-card", "aria-hidden": "true", hidden: "" });
    this.pictures.append(this.card);
    this.node = make("section", { class: "twist-lab-pane", "aria-label": "Experiment", "data-pane":
      this.letter.toLowerCase() || "a", onpointerdown: () => this.lab.use(this), onfocusin: () => this.lab.use(this) },
      this.headline, this.message, make("div", { class: "twist-lab-body" }, this.knobs.node, this.pictures),
      this.foot, this.spoken);
    this.rename(this.letter);
    this.knobs.hide(this.hidden);
    this.knobs.node.hidden = this.hidden.has("knobs");
    this.headline.hidden = this.hidden.has("sentence");
  }

  #picture(name, title, kind, on) {
    const canvas = make("canvas", { "data-picture": name });
    const extra = make("span", { class: "twist-lab-extra" });
    const caption = make("figcaption", {});
    const picture = new kind(canvas, { ...on, hover: (row, x, y) => this.#hover(name, row, x, y),
      choose: (row) => this.choose(row), describe: (row) => this.describe(row) });
    const head = make("div", { class: "twist-lab-figure-head" }, make("h3", { text: title }), extra);
    if (picture instanceof LabSimplex) {
      const zoom = (text, label, factor) => make("button", { type: "button", text, "aria-label": label, title:
        `${label} (keys + − 0 on the picture, or Ctrl and the wheel)`, onclick: () => picture.zoom(factor) });
      head.append(make("span", { class: "twist-gap" }), make("span", { class: "twist-lab-zoom" },
        zoom("+", "Enlarge", 1.6), zoom("−", "Make smaller", 1 / 1.6)));
    }
    const node = make("figure", { class: `twist-lab-figure twist-lab-figure-${name}` }, head, canvas, caption);
    node.hidden = this.hidden.has(name);
    return { node, canvas, picture, caption, extra };
  }

  get noun() {
    return this.bench.kind === "digits" ? "image" : "point";
  }

  /** Its letter where there are two; none where it is alone. */
  rename(/** @type {string} */ letter) {
    this.letter = letter;
    this.badge.textContent = letter;
    this.badge.hidden = !letter;
    this.node.setAttribute("aria-label", letter ? `Experiment ${letter}` : "Experiment");
    this.knobs.name(letter);
    for (const { picture } of [this.regions, this.simplex, this.plane]) picture.rename(letter);
  }

  // -- what is shown -------------------------------------------------------------------------------------------------

  #refresh() {
    const { bench } = this;
    const frame = bench.frame;
    const { dataset } = this.node;
    dataset.state = bench.state;
    dataset.step = String(frame?.step ?? 0);
    dataset.sharpness = String(frame?.sharpness ?? "");
    dataset.diversity = String(frame?.diversity ?? "");
    this.redraws += 1;
    dataset.redraws = String(this.redraws);
    this.knobs.show(bench.knobs, bench.defaults);
    this.#say();
    // What a running experiment is about, its headline says; what keeps one from running is said beside it.
    const told = frame && bench.state !== "running" && (bench.state !== "paused" || bench.kind === "digits") &&
      bench.message !== "Paused." ? bench.message : "";
    this.message.hidden = !told;
    this.message.dataset.state = bench.state;
    if (this.message.textContent !== told) this.message.textContent = told;
    this.step.textContent = frame ? `step ${count(frame.step)}` : "";
    this.#showRegions();
    this.pictures.classList.toggle("twist-lab-stale", !frame);
    if (frame) {
      this.knobs.terms(frame, frame.numClasses);
      this.#showPlane();
      this.#showSimplex();
    }
    this.lab.refreshed(this);
  }

  #showPlane() {
    const { bench, twin } = this;
    const frame = bench.frame;
    if (this.plane.node.hidden || !frame) return;
    const theirs = twin?.bench.frame?.numClasses === frame.numClasses ? twin?.bench : null;
    this.plane.picture.show({ numClasses: frame.numClasses, temperature: frame.temperature, finalNorm: frame.finalNorm,
      batchSize: frame.batchSize, trail: bench.trail, letter: this.letter,
      marks: bench.turns.map((turn) => ({ step: turn.step, words: labTurnWords(turn) })), guess: this.guess,
      ghost: theirs && { trail: theirs.trail, letter: twin?.letter ?? "" } });
    this.#caption(this.plane, `I, the height above the diagonal, is what a class tells about its ${this.noun}s. ◇: ` +
      `a turned knob.${frame.finalNorm === "none" ? "" : " Hatched: out of reach behind the norm."}`);
  }

  #showSimplex() {
    const frame = this.bench.frame;
    if (this.simplex.node.hidden) return;
    const arrows = this.arrows ? this.#pulls(frame) : null;
    this.simplex.picture.show({ numClasses: frame.numClasses, count: frame.count, probs: frame.probs,
      visited: frame.visited, labels: frame.labels, labelNames: frame.labelNames, arrows });
    const both = arrows ? ` Circles on a line: both views of a numbered ${this.noun}.` : "";
    this.#caption(this.simplex, labSimplexCaption(frame.numClasses, this.noun) + both);
    this.#legend(frame);
  }

  #showRegions() {
    const { bench } = this;
    const frame = bench.frame;
    const drawing = bench.knobs["data.source"] === "drawn";
    const points = frame?.points ?? (drawing ? bench.drawn : null);
    this.regions.node.hidden = this.hidden.has("regions") || !points;
    const shown = [this.regions, this.simplex, this.plane].filter(({ node }) => !node.hidden);
    this.pictures.dataset.count = String(shown.length);
    if (this.regions.node.hidden) return;
    this.regions.picture.show({ points, labels: frame?.labels ?? null, numClasses: frame?.numClasses ?? 2,
      classify: frame ? (xy) => bench.classify(xy) : null, step: frame?.step ?? -1, drawing,
      chosen: this.arrows && frame ? this.#rows(frame) : [] });
    this.#caption(this.regions, drawing ? "Click or drag to put points; each stroke starts anew."
      : "Hatching and number: the class a place gets. Color and shape: what a point was made as.");
  }

  #caption({ caption }, words) {
    if (caption.textContent !== words) caption.textContent = words;
  }

  /** What colors and shapes mean: never used by the training. */
  #legend(frame) {
    const names = frame.labels ? frame.labelNames ?? [] : [];
    const key = names.join();
    if (key === this.legendKey) return;
    this.legendKey = key;
    this.simplex.extra.replaceChildren(...names.slice(0, 10).map((name, k) => {
      const svg = makeSvgNode("svg", { viewBox: "-6 -6 12 12", class: "twist-lab-stamp", "aria-hidden": "true" });
      svg.append(labShapeNode(k, 4.6));
      return make("span", { class: "twist-lab-key", title: "What a sample is: for color and shape only, the training " +
        "never sees it" }, svg, String(name));
    }));
  }

  /** The samples that carry arrows: those chosen, else some of every label. */
  #rows(frame) {
    if (this.chosen.some((row) => row >= frame.count)) this.chosen = []; // of other points
    if (this.chosen.length) return this.chosen;
    if (this.spread?.count === frame.count && this.spread.labels === frame.labels) return this.spread.rows;
    const groups = /** @type {Map<number, number[]>} */ (new Map());
    for (const i of frame.batch) {
      const label = frame.labels ? frame.labels[i] : i % 3;
      if (!groups.has(label)) groups.set(label, []);
      groups.get(label)?.push(i);
    }
    // Of every label the sample that is least sure, which is pulled most, and one in the middle of the others.
    const lists = [...groups.values()].map((rows) => rows.map((row) => ({ row, entropy: labEntropy(frame.probs,
      row * frame.numClasses, frame.numClasses) })).sort((a, b) => b.entropy - a.entropy).map(({ row }) => row));
    const rows = [...lists.map((list) => list[0]), ...lists.map((list) => list[list.length >> 1])];
    this.spread = { count: frame.count, labels: frame.labels, rows: [...new Set(rows)].slice(0, 6) };
    return this.spread.rows;
  }

  /** Arrows of the chosen samples, each from the newest batch it was in, as long as its term's weight makes it. */
  #pulls(frame) {
    const rows = this.#rows(frame);
    const { numClasses } = frame;
    if (this.pulls?.numClasses !== numClasses || this.pulls.rows !== rows || frame.step < this.pulls.step) {
      const empty = () => Object.fromEntries(Object.keys(LAB_TERMS).map((name) =>
        [name, new Float32Array(rows.length * numClasses)]));
      this.pulls = { numClasses, rows, raw: empty(), terms: empty(), step: -1,
        when: -Infinity, pairs: new Float32Array(2 * rows.length * numClasses).fill(NaN) };
    }
    const { raw, terms, when } = this.pulls;
    const now = performance.now();
    const due = this.bench.state !== "running" || now - when > LAB_PULLS_MS;
    if (due && frame.step !== this.pulls.step && frame.views.length) {
      this.pulls.when = now;
      const { views, places } = labWithRows(frame, rows);
      const moves = termArrows(views, views.length / 2 / numClasses, numClasses, places.map(({ at }) => at));
      places.forEach(({ at, seen }, k) => {
        for (const v of [0, 1]) {
          const from = v * (views.length / 2) + at * numClasses;
          if (seen) this.pulls.pairs.set(views.subarray(from, from + numClasses), (2 * k + v) * numClasses);
        }
        for (const name of Object.keys(raw)) {
          const own = raw[name].subarray(k * numClasses, (k + 1) * numClasses);
          if (seen || name !== "consistency") own.set(moves[name].subarray(k * numClasses, (k + 1) * numClasses));
          else own.forEach((value, c) => { own[c] = value / 2; }); // how far its views are apart was known a while ago
        }
      });
      this.pulls.step = frame.step;
    }
    for (const name of Object.keys(raw)) {
      const weight = this.bench.knobs[`objective.${name}_weight`] ?? 1;
      for (let k = 0; k < raw[name].length; k++) terms[name][k] = weight * raw[name][k];
    }
    return { rows, terms, pairs: this.pulls.pairs };
  }

  /** The headline: what is happening, why, and what would change it. */
  #say() {
    const verdict = /** @type {LabWords | null} */ (this.bench.verdict);
    this.node.dataset.verdict = verdict?.kind ?? "";
    if (!verdict) { // nothing to see yet: who runs it says why
      this.title.textContent = this.why.textContent = this.cure.textContent = "";
      this.sign.textContent = this.bench.state === "failed" ? LAB_SIGNS.bad : LAB_SIGNS.open;
      this.headline.dataset.level = this.bench.state === "failed" ? "bad" : "open";
      if (this.sentence.textContent !== this.bench.message) this.sentence.textContent = this.bench.message;
      this.kind = "";
      return;
    }
    const now = performance.now();
    const other = verdict.kind !== this.kind;
    if (other || now - this.shownAt > LAB_HEADLINE_MS || this.bench.state !== "running") {
      this.kind = verdict.kind;
      this.shownAt = now;
      this.sign.textContent = LAB_SIGNS[verdict.level];
      this.headline.dataset.level = verdict.level;
      for (const [node, words] of [[this.title, `${verdict.title}.`], [this.sentence, verdict.sentence],
        [this.why, verdict.why], [this.cure, verdict.cure && `→ ${verdict.cure}`]]) {
        if (node.textContent !== words) node.textContent = words;
      }
      this.words.title = this.letter ? `${verdict.sentence} ${verdict.why}` : ""; // two panes have no room for all
    }
    if (other) this.unsaid = true;
    if (this.unsaid && now - this.spokenAt > LAB_SPOKEN_MS) {
      this.unsaid = false;
      this.spokenAt = now;
      this.spoken.textContent = `${this.letter ? `${this.letter}: ` : ""}${verdict.title}. ${verdict.sentence} ` +
        `${verdict.cure}`;
    }
  }

  // -- samples -------------------------------------------------------------------------------------------------------

  /** A sample in a few words: what it is, and its class distribution. */
  describe(/** @type {number} */ row) {
    const { probs, numClasses, labels, labelNames, visited } = this.bench.frame;
    const { noun } = this;
    const label = labels ? ` (${labelNames?.[labels[row]] ?? labels[row]})` : "";
    if (visited[row] < 0) return `${noun} ${row}${label}: not seen yet`;
    const own = Array.from(probs.subarray(row * numClasses, (row + 1) * numClasses));
    const order = own.map((_, c) => c).sort((a, b) => own[b] - own[a]).slice(0, 3);
    const entropy = labEntropy(own, 0, numClasses);
    return `${noun} ${row}${label}: ${order.map((c) => `class ${c} ${percent(own[c])}`).join(", ")}; entropy ` +
      labNats(entropy);
  }

  /** Give a sample arrows, or take them away. */
  choose(/** @type {number} */ row) {
    const frame = this.bench.frame;
    const before = this.chosen.length ? this.chosen : [];
    this.chosen = before.includes(row) ? before.filter((each) => each !== row)
      : [...before, row].slice(-LAB_MOST_ARROWS);
    if (frame) this.lab.showArrows(true);
    this.refresh();
  }

  /** The sample under the pointer: ringed in every picture, its image and numbers beside it. */
  #hover(name, row, x, y) {
    for (const { picture } of [this.regions, this.simplex]) picture.mark(row);
    this.card.hidden = row < 0;
    if (row < 0 || !this.bench.frame) return;
    const [who, ...facts] = this.describe(row).split(/: |, (?=class)|; /);
    const words = make("span", { class: "twist-lab-facts" }, make("strong", { text: who }), ...facts.map((text) =>
      make("span", { text })));
    const place = () => {
      const { canvas } = name === "simplex" ? this.simplex : this.regions;
      const [outer, inner] = [this.pictures.getBoundingClientRect(), canvas.getBoundingClientRect()];
      const right = inner.left - outer.left + x + 14;
      const width = this.card.offsetWidth;
      this.card.style.left = `${right + width > outer.width ? right - width - 28 : right}px`;
      this.card.style.top = `${Math.max(0, inner.top - outer.top + y - this.card.offsetHeight / 2)}px`;
    };
    this.card.replaceChildren(words);
    place();
    Promise.resolve(this.bench.image(row)).then((tile) => {
      const { simplex, regions } = this;
      if (!tile || (simplex.picture.at !== row && regions.picture.at !== row)) return;
      this.card.replaceChildren(labTile(tile, 56), words);
      place();
    });
  }

  /** What a picture costs, and how often this pane was drawn. */
  get cost() {
    return Object.fromEntries([this.regions, this.simplex, this.plane].map(({ canvas, picture }) =>
      [canvas.dataset.picture, { draws: picture.draws, ms: picture.cost }]));
  }

  release() {
    this.ends?.();
    this.bench.close();
    this.refresh.cancel();
    for (const { picture } of [this.regions, this.simplex, this.plane]) picture.release();
    this.node.remove();
  }
}

/** Both views of the newest batch, with samples that are not in it behind, and where each of the rows lies there. */
function labWithRows(frame, /** @type {ArrayLike<number>} */ rows) {
  const { numClasses, batch, views, probs } = frame;
  const size = views.length / 2;
  const at = new Map([...batch].map((row, k) => [row, k]));
  const others = [...rows].filter((row) => !at.has(row));
  const more = new Float32Array(others.length * numClasses);
  others.forEach((row, k) => more.set(probs.subarray(row * numClasses, (row + 1) * numClasses), k * numClasses));
  const both = new Float32Array(2 * (size + more.length));
  for (const v of [0, 1]) {
    both.set(views.subarray(v * size, (v + 1) * size), v * (size + more.length));
    both.set(more, v * (size + more.length) + size);
  }
  const places = [...rows].map((row) => (at.has(row) ? { at: at.get(row), seen: true }
    : { at: batch.length + others.indexOf(row), seen: false }));
  return { views: both, places };
}

/** Entropy of a distribution, nats. */
function labEntropy(/** @type {ArrayLike<number>} */ probs, from, numClasses) {
  let sum = 0;
  for (let k = from; k < from + numClasses; k++) if (probs[k] > 0) sum -= probs[k] * Math.log(probs[k]);
  return sum;
}

/** A tile of a contact sheet, enlarged. */
function labTile({ url, x, y, width, height, sheetWidth }, /** @type {number} */ side) {
  const scale = side / width;
  const node = make("span", { class: "twist-lab-tile" });
  node.style.cssText = `width: ${side}px; height: ${scale * height}px; background-image: url("${url}"); ` +
    `background-position: ${-x * scale}px ${-y * scale}px; background-size: ${sheetWidth * scale}px auto`;
  return node;
}

/** A label's shape as SVG, in its color. */
function labShapeNode(/** @type {number} */ label, /** @type {number} */ r) {
  const words = /** @type {string[]} */ ([]);
  const pen = {
    beginPath() {}, closePath: () => words.push("Z"),
    moveTo: (x, y) => words.push(`M${x.toFixed(2)} ${y.toFixed(2)}`),
    lineTo: (x, y) => words.push(`L${x.toFixed(2)} ${y.toFixed(2)}`),
    arc: () => words.push(`M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`),
    rect: (x, y, w, h) => words.push(`M${x} ${y}h${w}v${h}h${-w}Z`),
  };
  labShape(pen, label, 0, 0, r);
  return makeSvgNode("path", { d: words.join(""), fill: LAB_COLORS[label % LAB_COLORS.length] });
}
