// @ts-check
/** The card beside a point of the map: the image and the likeliest classes. */
class ExplorerCard {
  constructor(/** @type {Scatter} */ map) {
    this.map = map;
    this.node = make("div", { class: "twist-card", hidden: "" });
  }

  fill(i, state) {
    this.node.hidden = i < 0;
    this.node.dataset.sample = String(i);
    if (i < 0) return;
    const { table, colors, nameOf, isOdd, describe, thumbnails } = state;
    const c = table.assignment[i];
    const picture = make("div", { class: "twist-picture", role: "img", "aria-label": describe(i) });
    thumbnails.show(picture, i, thumbnails.enlarged(64));
    const facts = [make("div", {}, swatch(colors[c]), make("b", { text: `class ${nameOf(c)}` }))];
    if (table.labels) {
      const name = table.labels[i] < 0 ? "unknown" : table.labelNames[table.labels[i]];
      facts.push(make("div", { text: `label ${name}`, class: isOdd(i) ? "twist-odd-word" : "" }));
    }
    facts.push(make("div", { text: `confidence ${percent(table.confidence[i], 1)}` }),
      make("div", { text: `entropy ${nats(table.entropy[i])}` }));
    this.node.replaceChildren(picture, make("div", {}, ...facts), explorerBars(i, table, colors, nameOf, 3));
    this.move();
  }

  /** Keep the card beside its point, inside the map. */
  move() {
    const i = Number(this.node.dataset.sample ?? -1);
    if (this.node.hidden || i < 0 || 2 * i >= this.map.target.length) return;
    const [x, y] = this.map.at(i);
    const [width, height] = [this.node.offsetWidth, this.node.offsetHeight];
    const left = x + width + 22 < this.map.width ? x + 16 : x - width - 16;
    this.node.style.left = `${clamp(left, 4, Math.max(4, this.map.width - width - 4))}px`;
    this.node.style.top = `${clamp(y - height / 2, 4, Math.max(4, this.map.height - height - 4))}px`;
  }
}
