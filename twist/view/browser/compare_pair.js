// ---------------------------------------------------------------------------------------------------------------------
// Two runs on the same images: the table of their classes, and the images of a cell with what either run says of them.

const PAIR_LETTERS = "ABCDEF";
const CARDS_AT_FIRST = 48;
const CARD_SIDE = 56;

function render({ model, el }) {
  const root = make("div", { class: "twist twist-pair" });
  const note = make("p", { class: "twist-note" });
  const choosers = [0, 1].map((side) => makeSelect(`run ${side ? "in columns" : "in rows"}`, {}, (name) => {
    const pair = [...model.get("pair")];
    if (pair[1 - side] === name) pair[1 - side] = pair[side]; // the other one takes its place
    pair[side] = name;
    save("pair", pair);
  }));
  const facts = make("span", { class: "twist-facts" });
  const said = make("p", { class: "twist-pair-hover", "aria-live": "polite" });
  const matrix = new Matrix({ choose, hover });
  const how = make("p", { class: "twist-caption" });
  const best = make("details", { class: "twist-best" });
  const modes = Object.entries({ differ: "Most different", alike: "Most alike",
    cell: "Chosen cell" }).map(([mode, text]) =>
    make("button", { type: "button", text, "data-mode": mode, onclick: () => save("show", mode) }));
  const title = make("h3");
  const key = make("p", { class: "twist-caption" });
  const cards = make("div", { class: "twist-cards" });
  const more = make("button", { type: "button", text: "More", onclick: () => { limit *= 2; drawCards(); } });
  const left = make("div", { class: "twist-pair-left" }, matrix.node, said, how, best);
  const right = make("div", { class: "twist-pair-right" }, make("header", {}, ...modes), title, key, cards, more);
  const body = make("div", { class: "twist-pair-body" }, left, right);
  root.append(make("header", {}, make("strong", { class: "twist-title", text: "The same images" }),
    choosers[0], make("span", { text: "against" }), choosers[1], facts), note, body);
  el.append(root);

  let data = null, thumbnails = null, tiles = null, limit = CARDS_AT_FIRST, order = [];
  const save = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const letterOf = (name) => PAIR_LETTERS[model.get("choices").indexOf(name)] ?? "?";
  const hueOf = (name) => model.get("hues")[model.get("choices").indexOf(name)] || "";

  function choose(row, column) {
    model.set("cell", [data.order[0][row], data.order[1][column]]);
    save("show", "cell");
  }

  function hover(row, column) {
    if (row < 0) {
      said.textContent = data ? data.sentence : "";
      return;
    }
    const [a, b] = [data.order[0][row], data.order[1][column]];
    const n = matrix.countOf([row, column]);
    const named = (side, number, place) =>
      `class ${number}${data.titles[side][place] ? ` (${data.titles[side][place]})` : ""} of ${data.letters[side]}`;
    said.textContent = `${count(n)} images in ${named(0, a, row)} and ${named(1, b, column)}: `
      + `${percent(n / matrix.totals[row])} of the former${data.partners[row] === b ? "; matched" : ""}.`;
  }

  function read() {
    const table = model.get("table");
    if (!table?.names) {
      data = null;
      return;
    }
    const kinds = { row: Int32Array, sample_id: Float64Array, label: Int32Array, disagreement: Float32Array,
      class0: Int32Array, class1: Int32Array, entropy0: Float32Array, entropy1: Float32Array, confidence0: Float32Array,
      confidence1: Float32Array };
    const columns = Object.fromEntries(Object.entries(kinds).map(([name, kind]) => [name,
      column(kind, table.columns[name])]));
    data = { ...table, columns, counts: column(Int32Array, table.counts), letters: table.names.map(letterOf),
      hues: table.names.map(hueOf) };
    matrix.show({ rows: table.order[0], columns: table.order[1], counts: data.counts, rowTitles: table.titles[0],
      columnTitles: table.titles[1], partners: table.partners, names: table.names, letters: data.letters,
        hues: data.hues });
  }

  function readWatch() {
    thumbnails?.release();
    tiles?.release();
    tiles = model.send ? tilesOf(model) : null;
    const watch = model.get("watch");
    thumbnails = watch?.count ? new Thumbnails(watch, tiles ?? undefined) : null;
  }

  /** Images in the order asked for: all of them, or those of the chosen cell. */
  function arrange() {
    const { disagreement, class0, class1 } = data.columns;
    const mode = model.get("show");
    const [a, b] = model.get("cell");
    const chosen = [...disagreement.keys()].filter((i) => mode !== "cell" || (class0[i] === a && class1[i] === b));
    const sure = (i) => data.columns.entropy0[i] + data.columns.entropy1[i];
    const apart = (i) => disagreement[i] + (data.matchedPairs.has(`${class0[i]} ${class1[i]}`) ? 0 : 1);
    if (mode === "cell") chosen.sort((i, j) => sure(i) - sure(j));
    else { // images of classes that are not matched differ more than any others
      const way = mode === "differ" ? -1 : 1;
      const keys = new Map(chosen.map((i) => [i, apart(i)]));
      chosen.sort((i, j) => way * (keys.get(i) - keys.get(j)) || sure(i) - sure(j));
    }
    return chosen;
  }

  function cardOf(i) {
    const { row, sample_id, label, disagreement } = data.columns;
    const picture = make("span", { class: "twist-picture" });
    thumbnails?.show(picture, row[i], CARD_SIDE);
    const names = model.get("watch")?.label_names ?? [];
    const said = [0, 1].map((side) => {
      const letter = make("b", { text: data.letters[side] });
      letter.style.color = data.hues[side] || "var(--ink)";
      return make("span", {}, letter, ` ${data.columns[`class${side}`][i]}`,
        make("span", { class: "twist-facts", text: ` ${data.columns[`entropy${side}`][i].toFixed(2)}` }));
    });
    const truth = label.length && label[i] >= 0 ? names[label[i]] ?? String(label[i]) : "";
    const words = [0, 1].map((side) => `${data.letters[side]}: class ${data.columns[`class${side}`][i]}, `
      + `confidence ${percent(data.columns[`confidence${side}`][i])}, `
      + `entropy ${nats(data.columns[`entropy${side}`][i])}`);
    const card = make("figure", { class: "twist-pair-card",
      title: `image ${sample_id[i]}${truth ? `, label ${truth}` : ""}\n${words.join("\n")}`
      + `\ndisagreement ${percent(disagreement[i])}`, "data-sample": String(sample_id[i]) }, picture,
      make("figcaption", {}, ...said, ...(truth ? [make("span", { class: "twist-facts twist-truth", text: truth })]
        : [])));
    return card;
  }

  function drawCards() {
    if (!data) return;
    order = arrange();
    const mode = model.get("show");
    const [a, b] = model.get("cell");
    const { class0, class1 } = data.columns;
    const agreed = order.filter((i) => data.matchedPairs.has(`${class0[i]} ${class1[i]}`)).length;
    const of = `of ${count(order.length)} images are in`;
    for (const button of modes) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
      if (button.dataset.mode === "cell") button.disabled = a < 0;
    }
    const [first, second] = data.letters;
    title.textContent = mode === "cell"
      ? `Class ${a} of ${first} and class ${b} of ${second}: ${count(order.length)} images`
      : mode === "differ" ? `${count(order.length - agreed)} ${of} classes that are not matched`
        : `${count(agreed)} ${of} matched classes`;
    cards.replaceChildren(...order.slice(0, limit).map(cardOf));
    if (!order.length) cards.append(make("p", { class: "twist-facts", text: "No image is in both of these classes." }));
    more.hidden = order.length <= limit;
    more.textContent = `Show more (${count(Math.min(limit, order.length))} of ${count(order.length)} shown)`;
    const place = [data.order[0].indexOf(a), data.order[1].indexOf(b)];
    matrix.choose(mode === "cell" && place[0] >= 0 && place[1] >= 0 ? place : null);
  }

  function drawBest() {
    const open = best.open;
    const line = (side) => data.order[side].map((number, place) => {
      const [match, share, overlap] = data.best[side][place];
      const named = (s, n, p) => `${n}${p >= 0 && data.titles[s][p] ? ` (${data.titles[s][p]})` : ""}`;
      return make("tr", {}, make("th", { scope: "row", text: named(side, number, place) }),
        make("td", { text: named(1 - side, match, data.order[1 - side].indexOf(match)) }),
          make("td", { text: percent(share) }), make("td", { text: percent(overlap) }));
    });
    const tables = [0, 1].map((side) => make("table", {}, make("thead", {}, make("tr", {},
      ...[`class of ${data.letters[side]}`, `most in class of ${data.letters[1 - side]}`, "share",
        "overlap"].map((text) => make("th", { scope: "col", text })))),
      make("tbody", {}, ...line(side))));
    best.replaceChildren(make("summary", { text: "Best match of each class" }),
      make("div", { class: "twist-best-tables" }, ...tables));
    best.open = open;
  }

  function drawChoosers() {
    const [names, pair] = [model.get("choices"), model.get("pair")];
    choosers.forEach((select, side) => {
      select.replaceChildren(...names.map((name, place) => make("option",
        { value: name, text: `${PAIR_LETTERS[place]} ${name}` })));
      select.value = pair[side] ?? "";
      select.hidden = names.length < 2;
    });
  }

  const draw = coalesce(() => {
    const { state, text } = model.get("status");
    drawChoosers();
    read();
    root.dataset.state = data ? "ready" : state;
    body.hidden = !data;
    note.hidden = !text;
    note.textContent = text;
    root.querySelectorAll("header > span").forEach((node) => { node.hidden = !data; });
    if (!data) return;
    data.matchedPairs = new Set(data.order[0].map((number, place) => `${number} ${data.partners[place]}`));
    facts.textContent = `steps ${data.steps.map(count).join(" and ")}`;
    said.textContent = data.sentence;
    const gray = " Gray: the label that most images of a class have.";
    const labelled = matrix.named && data.titles[0].some(Boolean) ? gray : "";
    how.textContent = "Rows are ordered by size, columns so that matched classes (framed) meet on the diagonal; "
      + `the shade is the share of the row.${labelled} ${data.images}`;
    key.replaceChildren(...data.letters.flatMap((letter, side) => {
      const node = make("b", { text: letter });
      node.style.color = data.hues[side] || "var(--ink)";
      return [node, " "];
    }), `class and entropy in nats${data.columns.label.length ? "; below, the label" : ""}`);
    drawBest();
    drawCards();
  });
  const all = () => { limit = CARDS_AT_FIRST; draw(); };
  const pictures = () => { readWatch(); draw(); };
  const shown = () => { limit = CARDS_AT_FIRST; drawCards(); };
  const watched = { table: all, status: draw, choices: draw, pair: draw, watch: pictures, cell: shown, show: shown };
  for (const [name, then] of Object.entries(watched)) model.on(`change:${name}`, then);
  const repainted = new MutationObserver(() => matrix.redraw());
  for (const node of [document.documentElement, document.body]) repainted.observe(node, { attributes: true });
  readWatch();
  draw();
  return () => {
    for (const [name, then] of Object.entries(watched)) model.off(`change:${name}`, then);
    draw.cancel();
    matrix.release();
    repainted.disconnect();
    thumbnails?.release();
    tiles?.release();
  };
}
