// @ts-check
/** The table of classes: a row is a button; its order is the person's. */
class ExplorerClasses {
  /** @param {{choose(id: number): void}} on */
  constructor(on) {
    this.on = on;
    this.order = "id";
    const sort = makeSelect("Order of the classes", { id: "by number", count: "largest first",
      confidence: "least confident first", entropy: "highest entropy first", label: "by main label" }, (value) => {
      this.order = value;
      this.draw(...this.last);
    });
    this.title = make("h3", { text: "Classes" });
    this.list = make("div", { class: "twist-classes", role: "group", "aria-label": "Classes",
      onkeydown: (event) => this.#walk(event) });
    this.node = make("section", { class: "twist-class-panel" },
      make("header", {}, this.title, make("span", { class: "twist-gap" }), sort), this.list);
    this.last = /** @type {any} */ ([]);
  }

  /** @param {ClassRow[]} rows @param {(id: number) => string} nameOf */
  draw(rows, /** @type {Table} */ table, colors, chosen, nameOf, names) {
    const unchanged = this.last[0] === rows && this.last[5] === names && this.drawn === this.order;
    this.last = [rows, table, colors, chosen, nameOf, names];
    this.drawn = this.order;
    if (unchanged) this.#press(chosen); // a thousand rows are not made anew for one that is chosen
    else this.#fill(rows, table, colors, chosen, nameOf);
    if (chosen >= 0 && chosen !== this.reached) this.#reach(chosen);
    this.reached = chosen;
  }

  #press(chosen) {
    for (const row of this.list.querySelectorAll(".twist-class")) {
      row.setAttribute("aria-pressed", String(Number(row.dataset.class) === chosen));
    }
  }

  #fill(rows, /** @type {Table} */ table, colors, chosen, nameOf) {
    const key = { id: (row) => row.id, count: (row) => -row.count, confidence: (row) => row.confidence,
      entropy: (row) => -row.entropy, label: (row) => (row.label < 0 ? Infinity : row.label) }[this.order];
    const sorted = [...rows].sort((a, b) => Number(!a.count) - Number(!b.count) || key(a) - key(b) || a.id - b.id);
    const largest = Math.max(...rows.map((row) => row.count));
    const labeled = Boolean(table.labels);
    const used = rows.filter((row) => row.count).length;
    this.title.textContent = used < rows.length ? `Classes · ${count(used)} of ${count(rows.length)} in use`
      : `Classes · ${count(rows.length)}`;
    const focused = this.list.contains(document.activeElement)
      ? /** @type {any} */ (document.activeElement)?.dataset.class : undefined;
    const heads = ["", "class", "images", "confidence", "entropy", ...(labeled ? ["main label", ""] : [])];
    this.list.classList.toggle("twist-labeled", labeled);
    this.list.replaceChildren(
      make("div", { class: "twist-head", "aria-hidden": "true" }, ...heads.map((text) =>
        make("span", { text, title: text === "entropy" ? "mean, in nats" : "" }))),
      ...sorted.map((row) => this.#row(row, table, largest, colors[row.id], row.id === chosen, nameOf(row.id))));
    if (focused !== undefined) this.list.querySelector(`[data-class="${focused}"]`)?.focus({ preventScroll: true });
  }

  #row(row, table, largest, color, pressed, name) {
    const label = row.label < 0 ? "" : table.labelNames[row.label];
    const facts = [make("span", { class: "twist-dead-word", text: "dead: no image" })];
    let words = "dead, no image";
    if (row.count) {
      const bar = make("span", { class: "twist-count", text: count(row.count) });
      bar.style.setProperty("--share", String(row.count / largest));
      const means = [percent(row.confidence), row.entropy.toFixed(2)];
      facts.splice(0, 1, bar, ...means.map((text) => make("span", { text })));
      words = `${count(row.count)} images, mean confidence ${means[0]}, mean entropy ${nats(row.entropy)}`;
      if (table.labels) {
        facts.push(make("span", { class: "twist-name", text: label || "unlabeled", title: label }),
          make("span", { text: label ? percent(row.purity) : "" }));
        words += label ? `, mostly ${label} (${percent(row.purity)})` : ", unlabeled";
      }
    }
    return make("button", { type: "button", class: `twist-class ${row.count ? "" : "twist-dead"}`,
      "data-class": row.id, "aria-pressed": String(pressed), "aria-label": `Class ${name}: ${words}`, title: name,
      onclick: () => this.on.choose(row.id) }, swatch(color), make("b", { class: "twist-name", text: name }), ...facts);
  }

  /** Bring a class that was chosen elsewhere into view, without moving the page. */
  #reach(id) {
    const row = this.list.querySelector(`[data-class="${id}"]`);
    if (!row) return;
    const [top, bottom] = [row.offsetTop - 40, row.offsetTop + row.offsetHeight];
    if (top < this.list.scrollTop || bottom > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = top;
  }

  /** Up and down between the classes. */
  #walk(event) {
    const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (!next) return;
    event.preventDefault();
    document.activeElement?.[next]?.focus();
  }
}
