// @ts-check
/** The toy lab as a page of its own; what is set up stands in its address: a link, or a reload, has it again. */

const TOY_PAGE_WRITE_MS = 300; // browsers refuse to write the address more often than a hundred times in ten seconds

function renderToyPage(/** @type {HTMLElement} */ el) {
  const values = JSON.parse(el.querySelector("script")?.textContent ?? "{}");
  const place = make("div", {});
  const title = make("h1", { class: "twist lesson-toy-title", text: values.title });
  el.replaceChildren(...(values.title ? [title] : []), place, toyPageWords(values.experiments));
  let lab = /** @type {LabView | null} */ (null);
  let written = "";
  let timer = 0;

  /** The address wins over what the page was made with; a part that it does not name is that of the page. */
  const start = () => {
    const given = labFromHash(location.hash);
    if (given.data !== undefined && given.data !== "drawn" && !Object.hasOwn(TOY_SETS, given.data)) delete given.data;
    return { ...values.start, ...Object.fromEntries(Object.entries(given).filter(([, value]) =>
      value !== undefined && (!Array.isArray(value) || value.length))) };
  };
  const write = (state) => {
    written = labToHash(state);
    try {
      history.replaceState(null, "", written || "#");
    } catch {
      location.hash = written; // some browsers forbid the other to pages from disk
    }
  };
  const draw = () => {
    clearTimeout(timer); // what was set up before is not what the address says now
    lab?.close();
    const begins = start();
    lab = renderLab(place, {
      benches: { toy: labToyBench }, experiments: values.experiments, hide: begins.hide ?? [], start: begins,
      onchange: (state) => {
        clearTimeout(timer);
        timer = setTimeout(() => write(state), TOY_PAGE_WRITE_MS);
      },
      share: async (state) => {
        write(state);
        try {
          await navigator.clipboard.writeText(location.href);
          return "The link is copied: it opens this lab as it is set.";
        } catch {
          return "The address of this page is the link: copy it from above.";
        }
      },
    });
  };
  draw();
  addEventListener("hashchange", () => {
    if (location.hash !== written) draw();
  });
}

/** For a teacher: what the address can say. */
function toyPageWords(/** @type {LabExperiment[]} */ experiments) {
  const range = ({ low, high, among }) => (among ? among.join(" or ") : `${low} to ${high}`);
  const rows = [
    ["data", Object.keys(TOY_SETS).join(", ")], ["seed", "a whole number"],
    ["experiment", experiments.map(({ name }) => name).join(", ")],
    ...Object.entries(LAB_WORDS).map(([word, knob]) => [word, `${knob.knob}, ${range(knob)}`]),
    ["2.sharpness …", "the same of a second pane, side by side; panes=2 alone opens one"],
    ["hide", `controls to leave away, with commas between: ${Object.keys(LAB_HIDEABLE).join(", ")}`],
  ];
  const example = "#data=moons&seed=3&experiment=uniform&2.experiment=healthy&hide=restart,seed";
  return make("details", { class: "twist lesson-words-told" },
    make("summary", { text: "For teachers: what the address of this page can say" }),
    make("p", {}, "As in ", make("code", { text: example }), ". Set the lab up, copy the address, and edit it."),
    make("table", {}, ...rows.map(([word, told]) => make("tr", {}, make("th", { scope: "row", text: word }),
      make("td", { text: told })))));
}
