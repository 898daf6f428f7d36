// @ts-check
/**
 * A plotly figure whose page misses nothing, however late plotly's script is there.
 *
 * anywidget gives a script two seconds to begin, too few for the five megabytes of plotly's on a slow page; and plotly
 * shows a page that begins to listen late the figure as it was at first. So plotly is loaded when a figure is shown,
 * and what changed since the newest whole figure is kept: every view begins with that one, and then hears the rest.
 */

/** What plotly's views listen to; Python sets each and then clears it. */
const FIGURE_CHANGES = ["addTraces", "deleteTraces", "moveTraces", "restyle", "relayout", "update", "animate"]
  .map((name) => `_py2js_${name}`);
const MOST_KEPT = 60;

class LiveFigure {
  constructor(/** @type {Model} */ model) {
    this.model = model;
    this.views = /** @type {Set<FigureView>} */ (new Set());
    this.changes = /** @type {[string, any][]} */ ([]);
    this.wholes = 0;
    this.heard = [0, 0]; // the newest edit of the layout and of the traces up to which none is missing
    this.listeners = FIGURE_CHANGES.map((name) => [`change:${name}`, () => this.#keep(name)]);
    this.listeners.push(["change:_whole", () => this.#begin()]);
    for (const [event, then] of this.listeners) model.on(event, then);
    this.#begin();
    this.#send(model.get("_whole")); // answered where that is not the newest
  }

  /** Ask Python for the whole figure, once until it comes. */
  #ask() {
    if (!this.asked) this.#send("");
    this.asked = true;
  }

  #send(known) {
    try {
      this.model.send({ do: "whole", known });
    } catch {
      // its kernel was started anew: what is here is all there is
    }
  }

  #keep(name) {
    const value = this.model.get(name);
    if (value === null) return;
    this.changes.push([name, value]);
    for (const [place, edit] of [value.layout_edit_id, value.trace_edit_id].entries()) {
      if (edit === this.heard[place] + 1) this.heard[place] = edit;
      else if (edit > this.heard[place]) this.#ask();
    }
    for (const view of this.views) view.hear(name, value);
    if (this.changes.length > MOST_KEPT) this.#ask();
  }

  /** Begin with a new whole figure; views are drawn anew only where they missed something. */
  #begin() {
    const whole = this.model.get("_whole");
    const missed = whole !== this.heard.join(" ");
    this.heard = whole.split(" ").map(Number);
    this.changes = [];
    this.asked = false;
    this.wholes += 1;
    if (missed) for (const view of this.views) if (view.live) view.again(); // the others see to it when they are drawn
  }

  async render(el) {
    const note = make("p", { class: "twist-loading", role: "status", text: "Loading the pictures …" });
    el.append(note);
    let plotly;
    try {
      plotly = (await loadPlotly()).default;
    } catch (error) {
      note.textContent = `The pictures cannot be shown: plotly's script did not load (${error}). Reload the page.`;
      return () => note.remove();
    }
    note.remove();
    const view = new FigureView(this, el, plotly);
    this.views.add(view);
    return () => {
      this.views.delete(view);
      view.release();
    };
  }

  release() {
    for (const [event, then] of this.listeners) this.model.off(event, then);
  }
}

/** One view: a plotly widget of its own, whose model is this page's, seen through what the view has still to hear. */
class FigureView {
  constructor(figure, el, plotly) {
    Object.assign(this, { figure, el, plotly });
    this.onDrawn = ({ detail }) => detail.element === el && this.#drawn();
    document.addEventListener("plotlywidget-after-render", this.onDrawn);
    this.resized = new ResizeObserver(() => this.#fit());
    // A new height makes plotly keep the width of that moment, 700 pixels where it was hidden: it must forget it first.
    this.onResize = () => el.layout && Object.assign(el.layout, { width: undefined, autosize: true });
    window.addEventListener("resize", this.onResize);
    this.#draw();
  }

  #draw() {
    const { model } = this.figure;
    this.live = false;
    this.whole = this.figure.wholes;
    this.el.style.visibility = "hidden"; // until it has heard the rest: a dark page shows no light picture first
    this.handlers = new Map();
    this.hearing = new Map();
    const own = {
      get: (name) => (this.hearing.has(name) ? this.hearing.get(name) : model.get(name)),
      set: (name, value) => model.set(name, value),
      save_changes: () => model.save_changes(),
      on: (event, then) => this.handlers.set(event, [...(this.handlers.get(event) ?? []), then]),
    };
    const widget = this.plotly();
    widget.initialize({ model: own });
    this.end = widget.render({ model: own, el: this.el });
  }

  #drawn() {
    if (this.live) return;
    if (this.whole !== this.figure.wholes) {
      this.again();
      return;
    }
    this.live = true;
    for (const [name, value] of this.figure.changes) this.hear(name, value);
    this.el.style.visibility = "";
    this.resized.observe(this.el);
    this.el.on?.("plotly_afterplot", () => this.el.layout?.width !== undefined && this.#fit());
  }

  hear(name, value) {
    if (!this.live) return; // it hears all that is kept when it is drawn
    this.hearing.set(name, value);
    for (const then of this.handlers.get(`change:${name}`) ?? []) then();
    this.hearing.delete(name);
  }

  /** Be as wide as the page. */
  #fit() {
    const { width } = this.el.getBoundingClientRect();
    const drawn = this.el.querySelector(".main-svg")?.getBoundingClientRect().width ?? width;
    if (!width || Math.abs(drawn - width) < 1) return;
    window.dispatchEvent(new Event("resize")); // plotly hears of no other
  }

  /** Draw anew, from the newest whole figure. */
  again() {
    this.end?.();
    this.#draw();
  }

  release() {
    document.removeEventListener("plotlywidget-after-render", this.onDrawn);
    window.removeEventListener("resize", this.onResize);
    this.resized.disconnect();
    this.end?.();
  }
}

/** The widget of one model, as anywidget asks for it. */
function makeLiveFigure() {
  let figure;
  return {
    initialize({ model }) {
      figure = new LiveFigure(model);
      return () => figure.release();
    },
    render: ({ el }) => figure.render(el),
  };
}
