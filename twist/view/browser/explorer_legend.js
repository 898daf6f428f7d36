// @ts-check
/** The legend: a chip per category, with its count, that hides it or shows it alone; or the ramp of a number. */
class ExplorerLegend {
  /** @param {{hide(hidden: Set<number>): void}} on */
  constructor(on) {
    this.on = on;
    this.most = 24;
    this.hidden = /** @type {Set<number>} */ (new Set());
    this.node = make("div", { class: "twist-legend", role: "group", "aria-label": "Legend" });
  }

  /** Forget what is hidden; categories of another channel are other things. */
  reset() {
    this.hidden = new Set();
  }

  draw(/** @type {Channel} */ channel, shape) {
    const focused = this.node.contains(document.activeElement)
      ? /** @type {any} */ (document.activeElement)?.dataset.category : undefined;
    const parts = channel.kind === "number" ? this.#ramp(channel) : this.#chips(channel, shape);
    const shapes = shape ? [make("span", { class: "twist-shapes" }, ...shape.names.map(([glyph, name]) =>
      make("span", {}, make("b", { text: glyph }), ` ${name}`)))] : [];
    this.node.replaceChildren(make("span", { class: "twist-quiet", text: channel.title }), ...parts, ...shapes);
    if (focused !== undefined) this.node.querySelector(`[data-category="${focused}"]`)?.focus({ preventScroll: true });
  }

  #chips(channel, shape) {
    const counts = new Map(explorerTally(null, channel.values));
    this.present = channel.names.map((_, k) => k).filter((k) => counts.get(k));
    const shown = this.present.length > this.most
      ? [...this.present].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, this.most) : this.present;
    const chips = shown.map((k) => make("button", { type: "button", class: "twist-chip", "data-category": k,
      "aria-pressed": String(!this.hidden.has(k)), title: `${channel.names[k]}: click hides or shows it, ` +
      "double-click shows it alone", onclick: (event) => (event.detail > 1 ? undefined : this.toggle(k)),
      ondblclick: () => this.solo(k) }, swatch(channel.palette[k]), make("b", { text: channel.names[k] }),
      make("span", { text: ` ${count(counts.get(k))}` })));
    if (shown.length < this.present.length) {
      chips.push(make("button", { type: "button", class: "twist-chip", text: `and ${
        count(this.present.length - shown.length)} more`, onclick: () => {
        this.most = Infinity;
        this.draw(channel, shape);
      } }));
    }
    if (this.hidden.size) {
      chips.push(make("button", { type: "button", class: "twist-chip", text: "show all", onclick: () => {
        this.hidden = new Set();
        this.on.hide(this.hidden);
      } }));
    }
    return chips;
  }

  #ramp(channel) {
    const bar = make("div", { class: "twist-ramp" });
    bar.style.background = `linear-gradient(to right, ${channel.palette.slice(0, -1).join(",")})`;
    const ticks = make("div", { class: "twist-ticks" }, ...channel.ticks.map((text) => make("span", { text })));
    const parts = [make("div", { class: "twist-bar", title: channel.hint }, bar, ticks)];
    const missing = channel.colorOf.reduce((n, k) => n + Number(k === channel.palette.length - 1), 0);
    const none = make("span", { class: "twist-quiet" }, swatch(EXPLORER_GRAY), `no value ${count(missing)}`);
    if (missing) parts.push(none);
    return parts;
  }

  toggle(k) {
    this.before = new Set(this.hidden);
    if (this.hidden.has(k)) this.hidden.delete(k);
    else this.hidden.add(k);
    if (this.hidden.size === this.present.length) this.hidden = new Set(); // nothing left to look at: show all
    this.on.hide(this.hidden);
  }

  /** Show one alone; alone already, all come back. The first of the two clicks has toggled it. */
  solo(k) {
    const before = this.before ?? this.hidden;
    const alone = before.size === this.present.length - 1 && !before.has(k);
    this.hidden = new Set(alone ? [] : this.present.filter((other) => other !== k));
    this.on.hide(this.hidden);
  }
}
