// @ts-check
/** The toy lab as a page of its own; what is set up stands in its address: a link, or a reload, has it again. */

const TOY_PAGE_WRITE_MS = 300; // browsers refuse to write the address more often than a hundred times in ten seconds

function renderToyPage(/** @type {HTMLElement} */ el) {
  const values = JSON.parse(el.querySelector("script")?.textContent ?? "{}");
  const place = make("div", {});
  const title = make("h1", { class: "twist lesson-toy-title", text: values.title });
  el.replaceChildren(...(values.title ? [title] : []), place);
  let lab = /** @type {LabView | null} */ (null);
  let written = "";
  let timer = 0;

  /** The address wins over what the page was made with; a part that it does not name is that of the page. */
  const start = () => {
    const given = labFromHash(location.hash);
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
