// ---------------------------------------------------------------------------------------------------------------------
// The table of runs: filters, order, choice of those compared, and where their recipes differ. Rows outside of what is
// scrolled to are not built, so that thousands of runs cost no more than dozens.

const LETTERS = "ABCDEF";
const ROW_HEIGHT = 31;
const BRIEF_FROM = 6;
const STATES = { CREATED: ["○", "not started"], STARTING: ["◌", "starting"], RUNNING: ["▶", "running"],
  HELD: ["⏸", "held"], STALLED: ["⚠", "stalled"], STOPPED: ["■", "stopped"], COMPLETED: ["✓", "completed"],
  INTERRUPTED: ["⚠", "interrupted"], FAILED: ["✕", "failed"], UNREADABLE: ["✕", "unreadable"] };

const bytesAsWords = (n) => {
  let [value, unit] = [n, 0];
  while (value >= 999.5 && unit < 4) [value, unit] = [value / 1000, unit + 1];
  return `${Number(value.toPrecision(3))} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
};
const secondsAsWords = (s) => s < 60 ? `${s.toFixed(0)} s` : s < 3600 ? `${(s / 60).toFixed(1)} min`
  : `${(s / 3600).toFixed(1)} h`;
const inColor = (hue) => hue || "var(--ink)";

/** Columns: heading, what it means, value to sort by, text. A missing value sorts last, whatever the direction. */
const COLUMNS = {
  name: ["Run", "name; tags; the run it was forked from", (r) => r.name.toLowerCase()],
  state: ["State", "what the run is doing", (r) => r.state],
  verdict: ["Verdict", "what its numbers say", (r) => r.verdict],
  recipe: ["Recipe", "name of its recipe", (r) => r.recipe || null, (r) => r.recipe],
  step: ["Steps", "steps done of those asked for", (r) => r.step,
    (r) => r.total_steps && r.step !== r.total_steps ? `${count(r.step)} / ${count(r.total_steps)}` : count(r.step)],
  matched_accuracy: ["Matched", "matched accuracy: share of images whose class is matched with their label",
    (r) => r.matched_accuracy, (r) => percent(r.matched_accuracy, 1)],
  nmi: ["NMI", "normalized mutual information with the labels", (r) => r.nmi, (r) => r.nmi.toFixed(3)],
  information: ["I(X;Y)", "mutual information of the watch images, nats", (r) => r.information,
    (r) => r.information.toFixed(2)],
  seconds: ["Time", "time of training", (r) => r.seconds, (r) => secondsAsWords(r.seconds)],
  bytes: ["Disk", "place on the disk", (r) => r.bytes, (r) => bytesAsWords(r.bytes)],
  created: ["Created", "when it was made", (r) => r.created || null,
    (r) => r.created.slice(5, 16).replace("T", " ")],
};
const NUMBERS = new Set(["step", "matched_accuracy", "nmi", "information", "seconds", "bytes"]);

function render({ model, el }) {
  const root = make("div", { class: "twist twist-compare" });
  const rowOfRun = (run) => [...body.children].find((row) => row.dataset.run === run);
  const question = new Question(model, (run) => rowOfRun(run)?.querySelector("button")?.focus({ preventScroll: true }));
  const spoken = make("p", { class: "twist-spoken", "aria-live": "polite" });
  const notice = make("p", { class: "twist-note", hidden: "" });
  const counted = make("span", { class: "twist-facts" });
  const search = make("input", { type: "search", placeholder: "name, recipe, tag", "aria-label": "filter runs by text",
    oninput: () => ask({ text: search.value }) });
  search.addEventListener("keydown", (event) => event.stopPropagation());
  const filters = Object.fromEntries(["state", "verdict", "recipe", "tag"].map((name) =>
    [name, makeSelect(`filter by ${name}`, {}, (value) => ask({ [name]: value }))]));
  const clear = make("button", { type: "button", text: "Show all", onclick: () => {
    search.value = "";
    ask({ text: "", state: "", verdict: "", recipe: "", tag: "" });
  } });
  const unchoose = make("button", { type: "button", text: "Unselect all", onclick: () => choose([]) });
  const body = make("tbody");
  const heads = make("tr");
  const scroller = make("div", { class: "twist-runs", tabindex: "0", role: "region", "aria-label": "table of runs" },
    make("table", {}, make("thead", {}, heads), body));
  const empty = make("p", { class: "twist-empty", hidden: "" });
  const advice = make("p", { class: "twist-advice", text: "Choose up to six runs by the boxes before their names: "
    + "where their recipes differ, their curves and their classes are then shown here." });
  const recipes = make("section", { class: "twist-recipes", "aria-label": "where the recipes differ" });
  root.append(
    make("header", {}, make("strong", { class: "twist-title", text: "Runs" }), counted,
      make("span", { class: "twist-gap" }),
      search, ...Object.values(filters), clear, unchoose),
    scroller, empty, notice, question.node, advice, recipes, spoken);
  el.append(root);

  let shown = [];
  const all = () => {
    const living = model.get("living") ?? {};
    return model.get("rows").map((row) => living[row.name] ?? row);
  };
  const save = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const ask = (change) => {
    scroller.scrollTop = 0;
    save("query", { ...model.get("query"), ...change });
  };
  const choose = (names) => save("selected", names);
  const toggle = (name) => {
    const chosen = model.get("selected");
    if (chosen.includes(name)) choose(chosen.filter((other) => other !== name));
    else if (chosen.length < LETTERS.length) choose([...chosen, name]);
    else spoken.textContent = say(`At most ${LETTERS.length} runs are compared at a time: take one away first.`);
  };
  const say = (text) => {
    notice.textContent = text;
    notice.hidden = !text;
    return text;
  };

  function matching(rows) {
    const { text = "", state = "", verdict = "", recipe = "", tag = "" } = model.get("query") ?? {};
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return rows.filter((row) => {
      const said = `${row.name} ${row.recipe} ${row.tags.join(" ")} ${row.parent}`.toLowerCase();
      return words.every((word) => said.includes(word)) && (!state || row.state === state)
        && (!verdict || row.verdict === verdict) && (!recipe || row.recipe === recipe)
          && (!tag || row.tags.includes(tag));
    });
  }

  function sorted(rows) {
    const { column, down } = model.get("order");
    const value = (COLUMNS[column] ?? COLUMNS.created)[2];
    const keyed = rows.map((row) => [value(row), row]);
    keyed.sort(([a], [b]) => {
      if (a == null || b == null) return (a == null) - (b == null);
      return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
    });
    return keyed.map(([, row]) => row);
  }

  function drawFilters(rows) {
    const query = model.get("query") ?? {};
    const values = { state: (r) => [r.state], verdict: (r) => [r.verdict], recipe: (r) => [r.recipe],
      tag: (r) => r.tags };
    for (const [name, select] of Object.entries(filters)) {
      const found = [...new Set(rows.flatMap(values[name]))].filter(Boolean).sort();
      const key = found.join("\n");
      if (select.dataset.key !== key) {
        select.dataset.key = key;
        const words = name === "state" ? (s) => STATES[s]?.[1] ?? s.toLowerCase() : (s) => s;
        select.replaceChildren(make("option", { value: "", text: `any ${name}` }),
          ...found.map((value) => make("option", { value, text: words(value) })));
      }
      select.value = query[name] ?? "";
      select.hidden = found.length < 2 && !query[name];
    }
    if (document.activeElement !== search) search.value = query.text ?? "";
    clear.hidden = !Object.values(query).some(Boolean);
    unchoose.hidden = !model.get("selected").length;
  }

  function drawHeads() {
    const { column, down } = model.get("order");
    heads.replaceChildren(make("th", { scope: "col", class: "twist-pick" },
      make("span", { class: "twist-spoken", text: "compared" })),
      ...Object.entries(COLUMNS).map(([name, [title, meaning]]) => {
        const on = name === column;
        const button = make("button", { type: "button", title: `${meaning}; click to sort`,
          text: `${title}${on ? (down ? " ↓" : " ↑") : ""}`,
          onclick: () => save("order", { column: name, down: on ? !down : NUMBERS.has(name) || name === "created" }) });
        return make("th", { scope: "col", "data-column": name, "aria-sort": on ? (down ? "descending" : "ascending")
          : "none" }, button);
      }),
      make("th", { scope: "col", "data-column": "actions" }, make("span", { class: "twist-spoken", text: "actions" })));
  }

  function rowOf(row) {
    const place = model.get("selected").indexOf(row.name);
    const hue = inColor(model.get("hues")[place]);
    const pick = make("button", { type: "button", role: "checkbox", "aria-checked": String(place >= 0),
      class: "twist-letter",
      "aria-label": `compare ${row.name}`, text: place < 0 ? "" : LETTERS[place], onclick: () => toggle(row.name) });
    if (place >= 0) pick.style.background = hue;
    const cells = Object.entries(COLUMNS).map(([name, [, , value, spell]]) => {
      const cell = make("td", { "data-column": name });
      if (name === "name") cell.append(...nameOf(row));
      else if (name === "state") {
        const [glyph, words] = STATES[row.state] ?? ["?", row.state.toLowerCase()];
        cell.append(make("span", { class: "twist-glyph", text: glyph }), words);
        cell.title = row.message || words;
        if (["FAILED", "UNREADABLE", "INTERRUPTED", "STALLED"].includes(row.state)) cell.dataset.tone = "bad";
        if (row.alive) cell.dataset.tone = "live";
      } else if (name === "verdict") {
        const otherwise = row.state === "UNREADABLE" ? row.message : row.settled ? row.title : "…";
        cell.textContent = row.verdict ? `${row.sign} ${row.verdict}` : otherwise;
        cell.title = row.title || cell.textContent;
        cell.dataset.tone = row.sign === "✓" ? "good" : row.sign === "▲" ? "bad" : "quiet";
      } else cell.textContent = value(row) == null ? "" : spell(row);
      return cell;
    });
    const act = makeSelect(`actions on ${row.name}`, { "": "⋯", ...ACTIONS }, (action) => {
      act.value = "";
      if (action) question.ask(action, row.name);
    });
    act.title = `fork, tag, rename, thin or delete ${row.name}`;
    const line = make("tr", { "data-run": row.name, "aria-selected": String(place >= 0) },
      make("td", { class: "twist-pick" }, pick),
      ...cells, make("td", { "data-column": "actions" }, act));
    if (row.total_steps && row.alive) line.style.setProperty("--done", String(row.step / row.total_steps));
    return line;
  }

  function nameOf(row) {
    const parts = [make("span", { class: "twist-run-name", text: row.name, title: row.name })];
    if (row.parent) parts.push(make("span", { class: "twist-facts", text: `from ${row.parent}`,
      title: `forked from ${row.parent}` }));
    for (const tag of row.tags) {
      parts.push(make("button", { type: "button", class: "twist-tag", text: tag, title: `show runs tagged ${tag}`,
        onclick: () => ask({ tag: model.get("query")?.tag === tag ? "" : tag }) }));
    }
    return [make("span", { class: "twist-run-cell" }, ...parts)];
  }

  /** Build the rows that can be seen, and two empty ones as high as the rest; what has the focus keeps it. */
  function drawRows() {
    const held = body.contains(document.activeElement) ? document.activeElement : null;
    if (held?.tagName === "SELECT") return; // its list is open: the next look draws
    const at = held && [held.closest("tr")?.dataset.run, held.getAttribute("aria-label") ?? held.textContent];
    const top = Math.max(0, Math.floor(scroller.scrollTop / ROW_HEIGHT) - 8);
    const seen = Math.ceil((scroller.clientHeight || 330) / ROW_HEIGHT) + 16;
    const part = shown.slice(top, top + seen);
    const gap = (rows) => make("tr", { "aria-hidden": "true", style: `height:${rows * ROW_HEIGHT}px` });
    body.replaceChildren(gap(top), ...part.map(rowOf), gap(Math.max(0, shown.length - top - part.length)));
    if (at) {
      const same = [...(rowOfRun(at[0])?.querySelectorAll("button, select") ?? [])]
        .find((node) => (node.getAttribute("aria-label") ?? node.textContent) === at[1]);
      same?.focus({ preventScroll: true });
    }
  }
  const scrolled = coalesce(drawRows);
  scroller.addEventListener("scroll", scrolled);

  function drawRecipes() {
    const { rows = [], places = [], names = [], problems = [] } = model.get("differences") ?? {};
    recipes.hidden = places.length + problems.length < 2;
    if (recipes.hidden) return;
    const hues = model.get("hues");
    const badge = (place) => {
      const node = make("span", { class: "twist-letter", text: LETTERS[place] });
      node.style.background = inColor(hues[place]);
      return node;
    };
    const words = rows.length > 1 ? `The recipes differ in ${rows.length} fields` : "The recipes differ in one field";
    const parts = [make("h3", { text: rows.length ? words : "The recipes are equal, field by field" })];
    const brief = rows.length > BRIEF_FROM; // meanings then go into tooltips, and the list scrolls
    const key = JSON.stringify([rows, places, names, problems]);
    if (recipes.dataset.key === key) return; // what is scrolled stays where it is
    recipes.dataset.key = key;
    if (rows.length) {
      const head = make("tr", {}, make("th", { scope: "col", text: "field" }),
        ...places.map((place) => make("th", { scope: "col" }, badge(place), ` ${names[place]}`)));
      const lines = rows.map(({ field, sentence, values }) => {
        const usual = mostCommon(values);
        return make("tr", { title: sentence }, make("th", { scope: "row" }, make("code", { text: field }),
          ...(brief ? [] : [make("span", { class: "twist-facts", text: sentence })])),
          ...values.map((value) => make("td", { text: value, "data-odd": String(usual !== null && value !== usual) })));
      });
      const scroll = { class: "twist-scroll", tabindex: "0", role: "region", "aria-label": "fields that differ" };
      parts.push(make("div", scroll, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines))));
    }
    recipes.replaceChildren(...parts, ...problems.map((text) => make("p", { class: "twist-note", text })));
  }

  function drawNotice() {
    const { state = "", text = "" } = model.get("notice") ?? {};
    root.dataset.notice = state;
    spoken.textContent = say(text);
  }

  const draw = coalesce(() => {
    const rows = all();
    shown = sorted(matching(rows));
    const folder = model.get("folder");
    counted.textContent = rows.length === shown.length ? `${count(rows.length)} in ${folder}`
      : `${count(shown.length)} of ${count(rows.length)} in ${folder}`;
    empty.hidden = shown.length > 0;
    empty.textContent = rows.length ? "No run is like that: “Show all” takes the filters away."
      : "No run here yet: start one with twist.launch('digits'). This table looks again by itself.";
    scroller.hidden = !shown.length;
    advice.hidden = !rows.length || model.get("selected").length > 0;
    root.dataset.state = rows.length ? "ready" : "waiting";
    root.dataset.runs = String(shown.length);
    drawFilters(rows);
    drawHeads();
    drawRows();
    drawRecipes();
  });
  const asked = () => question.draw();
  const answered = (message) => message?.type === "answered" && question.answered();
  const watched = { rows: draw, living: draw, selected: draw, query: draw, order: draw, folder: draw, differences: draw,
    notice: drawNotice, question: asked };
  for (const [name, then] of Object.entries(watched)) model.on(`change:${name}`, then);
  model.on("msg:custom", answered);
  draw();
  drawNotice();
  asked();
  const resized = new ResizeObserver(scrolled);
  resized.observe(scroller);
  const ended = model.send ? watchLighting(model, root) : () => {};
  return () => {
    for (const [name, then] of Object.entries(watched)) model.off(`change:${name}`, then);
    model.off("msg:custom", answered);
    question.release();
    draw.cancel();
    scrolled.cancel();
    resized.disconnect();
    ended();
  };
}

/** The value that most have, when more than one has it and not all pairs are alike; else null. */
function mostCommon(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const [[best, times], next] = [...counts].sort((a, b) => b[1] - a[1]);
  return times > 1 && (!next || next[1] < times) ? best : null;
}
