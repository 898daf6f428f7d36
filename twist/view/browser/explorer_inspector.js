// @ts-check
/** The inspector: one image to the last number, or what a selection has in common. */
class ExplorerInspector {
  /** @param {{pin(i: number): void, choose(id: number): void, hover(i: number): void, step(t: number): void}} on */
  constructor(on) {
    this.on = on;
    this.node = make("section", { class: "twist-inspector", "aria-label": "Inspector" });
  }

  /** An image: its picture, what the network says, its neighbors, its way through the checkpoints. */
  drawImage(i, state) {
    const { table, colors, nameOf, thumbnails, channel } = state;
    const c = table.assignment[i];
    const picture = make("div", { class: "twist-picture", role: "img", "aria-label": state.describe(i) });
    thumbnails.show(picture, i, thumbnails.enlarged(112));
    const facts = make("dl", { class: "twist-fact-list" });
    const fact = (name, ...value) => facts.append(make("dt", { text: name }), make("dd", {}, ...value));
    fact("class", swatch(colors[c]), make("b", { text: nameOf(c) }));
    if (table.labels) {
      const label = table.labels[i] < 0 ? "unknown" : table.labelNames[table.labels[i]];
      fact("label", state.isOdd(i) ? make("span", { class: "twist-odd-word", text: label }) : label);
    }
    const share = percent(table.entropy[i] / (Math.log(table.numClasses) || 1));
    fact("entropy", `${nats(table.entropy[i])} · ${share} of log ${table.numClasses}`);
    fact("margin", percent(table.margin[i], 1));
    if (table.flips) fact("class changes", `${count(table.flips[i])}, settled at step ${count(table.settled[i])}`);
    if (channel && !(channel.name in EXPLORER_COLORS)) fact(channel.name, channel.spell(i));
    const close = make("button", { type: "button", class: "twist-close", text: "✕", title: "Let go of this image",
      "aria-label": "Let go of this image", onclick: () => this.on.pin(i) });
    this.node.replaceChildren(
      make("header", {}, make("h3", { text: `Image ${count(table.sampleIds[i])}` }),
        make("span", { class: "twist-gap" }), close),
      make("div", { class: "twist-image" }, picture, make("div", {}, facts, explorerBars(i, table, colors, nameOf))),
      this.#neighbors(state), this.#history(state.curve, state));
    this.node.dataset.sample = String(i);
  }

  #neighbors({ neighbors, thumbnails, describe, table, colors }) {
    if (!neighbors) return make("p", { class: "twist-quiet", text: "Nearest in feature space: asked of the kernel …" });
    if (!neighbors.rows.length) return make("p", { class: "twist-quiet", text: neighbors.reason });
    const tiles = neighbors.rows.map((j) => {
      const tile = make("button", { type: "button", class: "twist-tile", "data-sample": j, "aria-label": describe(j),
        title: describe(j), onclick: () => this.on.pin(j), onpointerenter: () => this.on.hover(j),
        onpointerleave: () => this.on.hover(-1), onfocus: () => this.on.hover(j), onblur: () => this.on.hover(-1) });
      tile.style.setProperty("--color", colors[table.assignment[j]]);
      thumbnails.show(tile, j, thumbnails.enlarged(32));
      return tile;
    });
    const row = make("div", { class: "twist-tiles" }, ...tiles);
    row.style.maxHeight = `${thumbnails.enlarged(32) + 9}px`; // one row: what has no room is left out whole
    const when = neighbors.step === table.step ? "" : ` at step ${count(neighbors.step)}`;
    return make("div", { class: "twist-neighbors" },
      make("span", { class: "twist-quiet", text: `nearest in feature space${when}` }), row);
  }

  /** Its entropy as a line over a strip of the classes it had. */
  #history(curve, { colors, table, nameOf }) {
    if (!curve || curve.steps.length < 2) return "";
    const plot = new ExplorerCurve(curve.steps, table);
    const bands = curve.steps.map((step, t) => {
      const [from, to] = plot.span(t);
      const id = curve.assignment[t];
      const band = makeSvgNode("rect", { x: from.toFixed(1), y: plot.height + 4, height: 9,
        width: Math.max(1, to - from + 0.3).toFixed(1), fill: id < 0 ? "var(--line)" : colors[id],
        onclick: () => this.on.step(step) });
      const words = `step ${count(step)}: class ${id < 0 ? "unknown" : nameOf(id)}, entropy ${nats(curve.entropy[t])}`;
      band.append(makeSvgNode("title", { text: words }));
      return band;
    });
    const changes = curve.assignment.reduce((n, id, t) => n + Number(t > 0 && id !== curve.assignment[t - 1]), 0);
    return plot.figure(`${plot.spell(curve.entropy)}, ${count(changes)} changes of class`, 13,
      `entropy (line, 0 to log ${table.numClasses}) and class (strip)`, plot.line(curve.entropy), ...bands);
  }

  /** Mean entropy of the selected images through the checkpoints, beside that of all. */
  #through(rows, { table, history, active }) {
    if (!history || history.steps.length < 2) return "";
    const plot = new ExplorerCurve(history.steps, table);
    const top = Math.log(table.numClasses) || 1;
    const all = history.entropy.map((values) => top * explorerMeanOfAll(values));
    const mine = rows ? history.entropy.map((values) => top * explorerMean(rows, values)) : all;
    const others = active ? [plot.line(all, "twist-curve twist-others")] : [];
    return plot.figure(`Mean: ${plot.spell(mine)}`, 0, `mean entropy, 0 to log ${table.numClasses}${
      active ? " (dashed: of all)" : ""}`, ...others, plot.line(mine));
  }

  /** What the selected images have in common, against all. */
  drawSelection(state) {
    const { table, shown, title, colors, labelColors, nameOf, active, warning } = state;
    delete this.node.dataset.sample;
    const rows = active ? shown : null;
    const size = rows ? rows.length : table.count;
    const head = make("header", {}, make("h3", { text: active ? `${title}: what these share` : "All images" }));
    if (!size) {
      this.node.replaceChildren(head, make("p", { class: "twist-quiet", text: "No image is selected." }));
      return;
    }
    const parts = [this.#shares("classes", explorerTally(rows, table.assignment), size, nameOf, colors,
      (id) => this.on.choose(id))];
    if (table.labels) {
      const spell = (label) => (label < 0 ? "unlabeled" : table.labelNames[label]);
      parts.push(this.#shares("labels", explorerTally(rows, table.labels), size, spell, labelColors));
    }
    const line = (name, values, words) => {
      const [mine, all] = [rows ? explorerMean(rows, values) : explorerMeanOfAll(values), explorerMeanOfAll(values)];
      const against = active ? make("span", { class: "twist-quiet", text: ` against ${words(all)} of all` }) : "";
      return [make("dt", { text: name }), make("dd", {}, make("b", { text: words(mine) }), against)];
    };
    const facts = make("dl", { class: "twist-fact-list" }, ...line("mean entropy", table.entropy, nats),
      ...line("mean confidence", table.confidence, (value) => percent(value, 1)),
      ...(table.flips ? line("class changes", table.flips, (value) => value.toFixed(1)) : []));
    const words = "Click an image to inspect it, choose a class, draw a lasso (Shift and drag), or drag over the " +
      "entropies below.";
    const help = active ? "" : make("p", { class: "twist-caption", text: words });
    const warn = warning ? make("p", { class: "twist-warning", role: "status", text: warning }) : "";
    this.node.replaceChildren(head, warn, ...parts, facts, this.#through(rows, state), help);
  }

  /** One bar of shares, the five largest named. */
  #shares(what, tally, total, spell, colors, onclick = null) {
    const bar = make("div", { class: "twist-shares", role: "img", "aria-label": `${what}: ${tally.slice(0, 5).map(
      ([k, n]) => `${spell(k)} ${percent(n / total)}`).join(", ")}` });
    const most = tally.slice(0, 200);
    for (const [k, n] of most) {
      const part = make("i", { title: `${spell(k)}: ${count(n)} images, ${percent(n / total, 1)}` });
      part.style.cssText = `flex: ${n} 0 0; background: ${colors[k] ?? EXPLORER_GRAY}`;
      bar.append(part);
    }
    const rest = total - most.reduce((sum, [, n]) => sum + n, 0);
    if (rest > 0) bar.append(Object.assign(make("i", { title: "others" }), { style: `flex: ${rest} 0 0` }));
    const names = tally.slice(0, 5).map(([k, n]) => {
      const inside = [swatch(colors[k] ?? EXPLORER_GRAY), make("b", { text: spell(k) }), ` ${percent(n / total)}`];
      return onclick ? make("button", { type: "button", class: "twist-chip", onclick: () => onclick(k) }, ...inside)
        : make("span", { class: "twist-chip" }, ...inside);
    });
    const more = tally.length - 5;
    if (more > 0) names.push(make("span", { class: "twist-quiet", text: `and ${count(more)} more` }));
    return make("div", { class: "twist-share-row" }, make("span", { class: "twist-quiet", text: what }), bar,
      make("div", { class: "twist-chips" }, ...names));
  }
}

/** The likeliest classes of an image as bars. */
function explorerBars(i, /** @type {Table} */ table, colors, nameOf, most = Infinity) {
  const bars = [];
  for (let k = 0; k < Math.min(most, table.topK); k++) {
    const [id, prob] = [table.topClasses[i * table.topK + k], table.topProbs[i * table.topK + k]];
    if (id < 0) continue;
    const bar = make("i", {});
    bar.style.cssText = `width: ${100 * clamp(prob || 0)}%; background: ${colors[id]}`;
    const name = make("b", { class: "twist-name", text: nameOf(id), title: nameOf(id) });
    bars.push(make("div", { class: "twist-prob" }, name, make("span", {}, bar), percent(prob, 1)));
  }
  return make("div", { class: "twist-probs" }, ...bars);
}

/** A small plot over the steps of the checkpoints: 0 to log C upward. */
class ExplorerCurve {
  constructor(/** @type {number[]} */ steps, /** @type {Table} */ table) {
    [this.width, this.height, this.steps, this.now] = [360, 44, steps, table.step];
    this.top = Math.log(table.numClasses) || 1;
  }

  x(step) {
    const [first, last] = [this.steps[0], this.steps[this.steps.length - 1]];
    return 4 + ((this.width - 8) * (step - first)) / (last - first || 1);
  }

  /** From half way to the checkpoint before to half way to the next. */
  span(t) {
    const at = this.steps.map((step) => this.x(step));
    return [t ? (at[t - 1] + at[t]) / 2 : 0, t < at.length - 1 ? (at[t] + at[t + 1]) / 2 : this.width];
  }

  line(values, name = "twist-curve") {
    const points = this.steps.map((step, t) => [this.x(step), values[t]]).filter(([, value]) => Number.isFinite(value))
      .map(([x, value]) => `${x.toFixed(1)},${(2 + (this.height - 4) * (1 - value / this.top)).toFixed(1)}`);
    return makeSvgNode("polyline", { points: points.join(" "), class: name });
  }

  spell(values) {
    const last = this.steps.length - 1;
    return `entropy from ${nats(values[0])} at step ${count(this.steps[0])} to ${nats(values[last])} at step ${
      count(this.steps[last])}`;
  }

  figure(words, below, caption, ...parts) {
    const [tall, now] = [this.height + below, this.x(this.now)];
    const svg = makeSvgNode("svg", { viewBox: `0 0 ${this.width} ${tall}`, role: "img", "aria-label": words },
      makeSvgNode("line", { x1: 0, x2: this.width, y1: this.height, y2: this.height, class: "twist-axis" }),
      makeSvgNode("line", { x1: now, x2: now, y1: 0, y2: tall, class: "twist-now" }), ...parts);
    const ticks = [`step ${count(this.steps[0])}`, caption, count(this.steps[this.steps.length - 1])];
    return make("figure", { class: "twist-history" }, svg,
      make("figcaption", { class: "twist-ticks" }, ...ticks.map((text) => make("span", { text }))));
  }
}
