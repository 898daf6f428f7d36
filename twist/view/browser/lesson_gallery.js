// @ts-check
/** The images of a run class by class at one recorded moment, the surest first; and those it is least sure of. */

const LESSON_TILE = 28;
const LESSON_ROWS = 12;
const LESSON_PER_ROW = 36;
const LESSON_NAME = 142; // pixels before the first image of a row

class LessonGallery {
  /** @param {LessonRun} run  @param {{hover: Function, choose: Function}} on */
  constructor(run, images, on) {
    this.run = run;
    this.images = images;
    this.on = on;
    this.frame = -1;
    this.sized = new ResizeObserver(() => this.frame >= 0 && this.show(run.frames.steps[this.frame], true));
    this.body = make("div", { class: "lesson-rows" });
    this.heading = make("h3", {});
    this.node = make("section", { class: "lesson-gallery",
      "aria-label": `Classes${run.letter ? ` of ${run.letter}` : ""}`,
      onpointerleave: () => on.hover(-1, run) }, this.heading, this.body);
    this.sized.observe(this.node);
  }

  /** Show the recorded moment nearest to a step; the same one is not drawn again. */
  show(/** @type {number} */ step, /** @type {boolean} */ again = false) {
    const frame = this.run.nearest(step);
    if (frame === this.frame && !again) return;
    this.frame = frame;
    const { run } = this;
    const groups = Array.from({ length: run.num_classes }, () => /** @type {{i: number, p: number}[]} */ ([]));
    const torn = [];
    for (let i = 0; i < run.count; i++) {
      const { c, p } = run.likeliest(i, frame);
      if (c < 0) continue;
      groups[c]?.push({ i, p });
      torn.push({ i, p: run.entropy(i, frame) });
    }
    const used = groups.map((group, c) => ({ c, group })).filter(({ group }) => group.length);
    const shown = used.length > LESSON_ROWS
      ? used.sort((one, other) => other.group.length - one.group.length).slice(0, LESSON_ROWS) : used;
    this.heading.textContent = `${run.letter ? `${run.letter} · ` : ""}${used.length} of ${count(run.num_classes)} ` +
      `classes hold images at step ${count(run.frames.steps[frame])}` +
      (shown.length < used.length ? `; the ${shown.length} largest` : "");
    const rows = shown.map(({ c, group }) => this.#row(`class ${c}`, `${count(group.length)} · ` +
      percent(group.length / torn.length), group.sort((one, other) => other.p - one.p)));
    const doubtful = this.#row("least sure", `entropy ${nats(torn.length ? Math.max(...torn.map(({ p }) => p)) : NaN)}`,
      torn.sort((one, other) => other.p - one.p));
    doubtful.classList.add("lesson-torn");
    this.body.replaceChildren(...rows, ...(torn.length ? [doubtful] : []));
  }

  release() {
    this.sized.disconnect();
  }

  #row(name, size, group) {
    const head = make("div", { class: "lesson-class-name" }, make("b", { text: name }),
      make("span", { class: "twist-quiet", text: size }));
    const room = Math.floor((this.node.clientWidth - LESSON_NAME) / (LESSON_TILE + 4));
    const tiles = group.slice(0, clamp(room, 4, LESSON_PER_ROW)).map(({ i }) => this.#tile(i));
    return make("div", { class: "lesson-row" }, head, make("div", { class: "lesson-tiles" }, ...tiles));
  }

  #tile(i) {
    const { table, thumbnails } = this.images;
    const label = table.labels?.length ? `, ${lessonLabel(table, i)}` : "";
    const tile = make("button", { class: "lesson-tile", "aria-label": `image ${table.sample_ids?.[i] ?? i}${label}`,
      onpointerenter: () => this.on.hover(i, this.run), onfocus: () => this.on.hover(i, this.run),
      onblur: () => this.on.hover(-1, this.run), onclick: () => this.on.choose(i, this.run) });
    tile.dataset.row = String(i);
    if (table.sheets?.length) thumbnails.show(tile, i, LESSON_TILE);
    else tile.textContent = String(i);
    return tile;
  }
}
