// @ts-check
/** The gallery: the images that are selected, in an order the person chooses, a page at a time. */

const GALLERY_PAGE = 96; // tiles of one page
const GALLERY_ORDERS = {
  most: "most confident first", least: "least confident first", entropy: "highest entropy first",
  margin: "smallest margin first", flips: "most class changes first", close: "closest to the chosen image",
};

class ExplorerGallery {
  /**
   * @param {{order(name: string): void, hover(i: number): void, pin(i: number): void, clear(): void,
   *   between(a: number, b: number): void, name(id: number, values: object): void}} on
   * @param {boolean} alive  Whether a kernel keeps what is written.
   */
  constructor(on, alive) {
    this.on = on;
    this.page = 0;
    const button = (text, label, onclick) =>
      make("button", { type: "button", text, "aria-label": label, title: label, onclick });
    this.title = make("h3", {});
    this.clear = button("Clear", "Clear the selection", () => on.clear());
    this.order = makeSelect("Order of the images", GALLERY_ORDERS, (value) => on.order(value));
    this.range = make("span", { class: "twist-facts" });
    this.hint = make("span", { class: "twist-hint", text: "label differs from its class's main label" });
    this.back = button("‹", "Previous page", () => this.#turn(-1));
    this.forth = button("›", "Next page", () => this.#turn(1));
    this.pair = [0, 1].map((k) => makeSelect(`Torn between, class ${k + 1} of 2`, { "-1": "class" }, () => {
      const [a, b] = this.pair.map((select) => Number(select.value));
      if (a >= 0 && b >= 0 && a !== b) on.between(a, b);
      else if (this.isTorn) on.clear();
    }));
    this.named = ["name", "note"].map((part) => make("input", { type: "text", class: `twist-${part}-input`,
      placeholder: part === "name" ? "Name this class" : "Note", "aria-label": part === "name" ? "Name of the class"
        : "Note on the class", maxlength: part === "name" ? 80 : 2000, autocomplete: "off",
      "data-lm-suppress-shortcuts": "true",
      onchange: (event) => on.name(this.chosen, { [part]: event.target.value }),
      onkeydown: (event) => {
        event.stopPropagation(); // a letter written here is no shortcut of the notebook or the explorer
        if (event.key === "Enter") event.target.blur();
      } }));
    this.naming = make("span", { class: "twist-naming" }, ...(alive ? this.named : []));
    this.note = make("p", { class: "twist-caption twist-class-note" });
    this.tiles = make("div", { class: "twist-tiles", role: "group", "aria-label": "Images",
      onkeydown: (event) => this.#walk(event), onpointerleave: () => on.hover(-1) });
    this.node = make("section", { class: "twist-gallery" },
      make("header", {}, this.title, this.clear, this.naming, make("span", { class: "twist-gap" }), this.hint,
        make("label", { class: "twist-torn" }, "torn between ", this.pair[0], " and ", this.pair[1]), this.order,
        make("span", { class: "twist-pages" }, this.back, this.range, this.forth)), this.note, this.tiles);
  }

  /** Begin at the first page again. */
  restart() {
    this.page = 0;
  }

  /** What the next `draw` draws anew, even the same images: thumbnails or colors are others. */
  forget() {
    this.drawn = null;
  }

  /**
   * @param {{table: Table, shown: ArrayLike<number>, title: string, pinned: number, chosen: number, torn: number[],
   *   order: string, closeness: Float32Array | null, colors: string[], names: Record<string, any>,
   *   nameOf(id: number): string, isOdd(i: number): boolean, describe(i: number): string, thumbnails: any}} state
   */
  draw(state) {
    this.state = state;
    const { table, shown, closeness, colors } = state;
    const order = state.order === "close" && !closeness ? "most" : state.order;
    this.order.value = order;
    this.order.querySelector("[value=close]").disabled = !closeness;
    this.order.querySelector("[value=flips]").disabled = !table.flips;
    const sorted = this.#sorted(order);
    this.page = Math.min(this.page, Math.max(0, Math.ceil(sorted.length / GALLERY_PAGE) - 1));
    const first = this.page * GALLERY_PAGE;
    const page = sorted.slice(first, first + GALLERY_PAGE);
    this.title.textContent = `${state.title} · ${count(shown.length)} of ${count(table.count)} images`;
    this.range.textContent = sorted.length ? `${count(first + 1)}–${count(first + page.length)}` : "none";
    this.back.disabled = this.page === 0;
    this.forth.disabled = first + GALLERY_PAGE >= sorted.length;
    this.hint.hidden = !page.some(state.isOdd);
    this.#drawControls(state);
    const key = page.join();
    if (this.drawn !== key) {
      this.drawn = key;
      this.tiles.replaceChildren(...Array.from(page, (i) => this.#tile(i)));
      if (!page.length) this.tiles.append(make("p", { class: "twist-quiet", text: "No image is in this selection." }));
    }
    for (const tile of this.tiles.children) {
      const i = Number(tile.dataset.sample);
      tile.setAttribute("aria-pressed", String(i === state.pinned));
      tile.style.setProperty("--color", colors[table.assignment[i]]);
      tile.classList.toggle("twist-odd", state.isOdd(i));
      tile.setAttribute("aria-label", state.describe(i));
    }
  }

  #sorted(order) {
    const { table, shown, closeness } = this.state;
    const [values, sign] = { most: [table.confidence, -1], least: [table.confidence, 1], entropy: [table.entropy, -1],
      margin: [table.margin, 1], flips: [table.flips ?? table.confidence, -1], close: [closeness, -1] }[order]
      ?? [table.confidence, -1];
    const key = new Float64Array(table.count);
    for (const i of shown) key[i] = Number.isFinite(values[i]) ? sign * values[i] : Infinity;
    return Int32Array.from(shown).sort((a, b) => key[a] - key[b] || a - b);
  }

  #drawControls({ chosen, torn, nameOf, names, table }) {
    this.clear.hidden = !this.state.active;
    this.isTorn = torn[0] >= 0;
    const key = `${table.numClasses} ${JSON.stringify(names)}`;
    if (this.listed !== key) {
      this.listed = key;
      for (const select of this.pair) {
        const listed = Array.from({ length: table.numClasses }, (_, id) =>
          make("option", { value: id, text: nameOf(id) }));
        select.replaceChildren(make("option", { value: "-1", text: "class" }), ...listed);
        select.parentElement.hidden = table.numClasses < 2;
      }
    }
    const waiting = this.pair.some((select) => select === document.activeElement) && !this.isTorn;
    if (!waiting) this.pair.forEach((select, k) => (select.value = String(torn[k])));
    this.chosen = this.isTorn ? -1 : chosen;
    this.naming.hidden = this.chosen < 0;
    const said = names[String(this.chosen)] ?? { name: "", note: "" };
    ["name", "note"].forEach((part, k) => {
      if (this.named[k] !== document.activeElement) this.named[k].value = said[part];
    });
    this.note.textContent = said.note;
    this.note.hidden = this.chosen < 0 || !said.note || this.naming.childElementCount > 0;
  }

  #tile(i) {
    const tile = make("button", { type: "button", class: "twist-tile", "data-sample": i,
      onpointerenter: () => this.on.hover(i), onfocus: () => this.on.hover(i), onblur: () => this.on.hover(-1),
      onclick: () => this.on.pin(i) });
    this.state.thumbnails.show(tile, i, this.state.thumbnails.enlarged(48));
    return tile;
  }

  #turn(pages) {
    this.page += pages;
    this.draw(this.state);
  }

  /** Arrow keys walk over the tiles. */
  #walk(event) {
    const here = /** @type {any} */ (document.activeElement);
    const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    if (!step || !here?.dataset.sample) return;
    event.preventDefault();
    here[step]?.focus();
  }
}
