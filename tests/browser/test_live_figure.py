"""A plotly figure whose page misses nothing: what comes before, while and after plotly's script loads is shown."""

import pytest

from twist.view.browser import script

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# A stand-in for plotly's script that comes when the test says so, and a kernel that answers when it does.
PAGE = """
let bring;
const loadPlotly = () => new Promise((resolve) => (bring = () => resolve({ default: makePlotly })));
const makePlotly = () => {
  let model;
  return {
    initialize: (given) => (model = given.model),
    render({ el }) {
      const text = [model.get("_widget_layout").title];
      const show = () => (el.textContent = text.join(" "));
      model.on("change:_py2js_relayout", () => {
        text.push(model.get("_py2js_relayout").relayout_data.title);
        show();
      });
      show();
      window.draws = (window.draws ?? 0) + 1;
      window.first ??= el.style.visibility;
      setTimeout(() => document.dispatchEvent(
        new CustomEvent("plotlywidget-after-render", { detail: { element: el } })), 20);
      return () => (el.textContent = "");
    },
  };
};
const values = { _widget_layout: { title: "0" }, _whole: "0 0" };
const events = new EventTarget(), listeners = new Map();
const asked = [];
const model = {
  get: (name) => values[name] ?? null,
  on(event, then) { listeners.set(then, event); events.addEventListener(event, then); },
  off(event, then) { listeners.delete(then); events.removeEventListener(event, then); },
  send: (message) => asked.push(message.known),
};
const receive = (state) => {
  Object.assign(values, state);
  for (const name of Object.keys(state)) events.dispatchEvent(new Event(`change:${name}`));
};
let edits = 0;
const change = (title, lost = false) => {
  edits += 1;
  if (lost) return;
  receive({ _py2js_relayout: { layout_edit_id: edits, relayout_data: { title } } });
  receive({ _py2js_relayout: null });
};
const whole = (title) => receive({ _widget_layout: { title }, _whole: `${edits} 0` });
const widget = makeLiveFigure();
const begin = () => widget.initialize({ model });
const place = (name) => document.body.appendChild(Object.assign(document.createElement("p"), { id: name }));
Object.assign(window, { begin, change, whole, asked, listeners, bring: () => bring(),
  show: (name) => (window[name] = widget.render({ model, el: place(name) })) });
"""


@pytest.fixture
def page(open_page):
    shown = open_page()
    shown.set_content("<body></body>")
    code = script("dom", "live_figure", widget="makeLiveFigure") + PAGE
    shown.add_script_tag(content=code, type="module")
    shown.wait_for_function("() => window.begin")
    return shown


def reads(page, name, text):
    page.wait_for_function(
        "([name, text]) => document.getElementById(name).textContent === text", arg=[name, text], timeout=20_000
    )


def test_a_change_before_or_while_plotly_loads_is_shown_in_its_turn(page):
    page.evaluate("begin(); change('1'); show('a'); change('2');")
    assert "Loading" in page.locator("#a").inner_text()
    page.evaluate("bring()")
    reads(page, "a", "0 1 2")
    assert page.evaluate("first") == "hidden"  # until it has heard all: no light picture first on a dark page
    assert page.evaluate("document.getElementById('a').style.visibility") == ""
    page.evaluate("change('3')")
    reads(page, "a", "0 1 2 3")
    page.evaluate("show('b'); bring()")  # a second view, later
    reads(page, "b", "0 1 2 3")
    assert page.evaluate("draws") == 2


def test_what_the_page_missed_is_asked_for_and_drawn(page):
    page.evaluate("change('lost', true); begin(); show('a'); bring()")
    assert page.evaluate("asked") == ["0 0"]  # Python knows better, and sends the whole
    reads(page, "a", "0")
    page.wait_for_timeout(100)
    page.evaluate("whole('1')")
    reads(page, "a", "1")
    page.evaluate("change('also lost', true); change('3')")
    assert page.evaluate("asked") == ["0 0", ""]
    page.evaluate("whole('3')")
    reads(page, "a", "3")


def test_a_whole_figure_that_comes_while_a_view_is_being_drawn_is_drawn_next(page):
    page.evaluate("change('lost', true); begin(); show('a'); bring()")
    page.evaluate("whole('1'); change('2')")  # nothing is waited for: the view is at work, or has not begun
    reads(page, "a", "1 2")
    page.evaluate("change('3')")
    reads(page, "a", "1 2 3")
    assert page.evaluate("document.getElementById('a').style.visibility") == ""


def test_a_whole_figure_without_news_draws_nothing_anew_and_what_is_kept_stays_short(page):
    page.evaluate("begin(); show('a'); bring()")
    reads(page, "a", "0")
    page.wait_for_timeout(100)
    page.evaluate("for (let k = 0; k < 90; k++) change('x')")
    assert page.evaluate("asked") == ["0 0", ""]  # once, after so many changes
    page.evaluate("whole('y'); show('b'); bring()")
    reads(page, "b", "y")
    assert page.evaluate("draws") == 2


def test_a_closed_view_hears_nothing_and_a_closed_figure_listens_to_nothing(page):
    page.evaluate("window.end = begin(); show('a'); bring()")
    reads(page, "a", "0")
    page.wait_for_timeout(100)
    page.evaluate("async () => (await window.a)()")
    page.evaluate("change('1')")
    assert page.locator("#a").inner_text() == ""
    page.evaluate("end()")
    assert page.evaluate("listeners.size") == 0


def test_a_view_forgets_the_width_that_plotly_kept_until_it_is_closed(page):
    page.evaluate("begin(); show('one'); bring()")
    page.wait_for_function("() => document.querySelector('#one').textContent === '0'")
    kept = """() => {
        const layout = document.querySelector('#one').layout = { width: 700 };
        window.dispatchEvent(new Event('resize'));
        return [layout.width ?? null, layout.autosize ?? null];
    }"""
    assert page.evaluate(kept) == [None, True]
    page.evaluate("one.then((close) => close())")
    assert page.evaluate(kept) == [700, None]
