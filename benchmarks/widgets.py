"""How soon three scatter widgets answer, on the same data in the same JupyterLab: ours, plotly's and jupyter-scatter's.

    python -m benchmarks.widgets [--quick] [--output benchmarks/records/widgets.json]

Headless Chromium draws WebGL by software, so that absolute times are those of a machine without a graphics card; what
is compared is the same page, data and gestures in one run. Needs the extra ``bench`` and Chromium. A widget that gives
no answer within half a minute has none in the table.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browsing import Lab, ask, command, free_port, serving  # noqa: E402

RECORD = Path(__file__).parent / "records" / "widgets.json"
PATIENCE_S = 30
CHROMIUM = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--enable-unsafe-swiftshader"]

COMMON = """
import gc, io, json, time, weakref
import numpy as np
import ipywidgets
from PIL import Image
from IPython.display import display
heard, thumbnails = [], {}

def full(count):
    side = int(np.ceil(np.sqrt(count)))
    at = np.arange(count)
    return (np.stack([at // side, at % side], axis=1) / side).astype("f4")

def hollow(count):  # the same square without its middle
    xy = full(count)
    inside = (np.abs(xy - 0.5) < 0.2).all(axis=1)
    xy[inside, 0] = np.where(xy[inside, 0] < 0.5, 0.1, 0.9)
    return xy

def jpeg(row):
    held = io.BytesIO()
    Image.fromarray(np.full((32, 32), row % 200 + 20, np.uint8)).save(held, "JPEG")
    return held.getvalue()

picture = ipywidgets.Image(value=jpeg(0), width=96, height=96)
"""
# What each widget needs for the same four things: make one, move its points, hear of a lasso, hear of the pointer.
TOOLS = {
    "TwistScatter": {
        "package": "twist-ssl",
        "make": """
from twist.view.scatter import TwistScatter
def make(xy):
    return TwistScatter(xy, color=np.arange(len(xy)) % 7, height=420,
                        images=lambda row: np.full((32, 32), row % 200 + 20, np.uint8))
def move(widget, xy): widget.update(xy)
def listen(widget): widget.observe(lambda change: heard.append(time.time()), "selection")
def point(widget): pass
def shown(widget): return widget
def script(widget): return len(widget._esm)
""",
        "map": ".twist-map",
        "lasso": "shift",
        "picture": ".twist-picture",
    },
    "plotly FigureWidget": {
        "package": "plotly",
        "make": """
import plotly.graph_objects as go
def make(xy):
    colors = (np.arange(len(xy)) % 7).astype("f4")
    trace = go.Scattergl(x=xy[:, 0], y=xy[:, 1], mode="markers", marker={"color": colors, "size": 3})
    figure = go.FigureWidget([trace])
    figure.update_layout(height=420, width=800, dragmode="lasso", margin={"l": 0, "r": 0, "t": 0, "b": 0})
    return figure
def move(widget, xy):
    with widget.batch_update():
        widget.data[0].x, widget.data[0].y = xy[:, 0], xy[:, 1]
def listen(widget): widget.data[0].on_selection(lambda *_: heard.append(time.time()))
def point(widget):
    def answer(trace, points, state):
        if points.point_inds: picture.value = jpeg(points.point_inds[0])
    widget.data[0].on_hover(answer)
def shown(widget): return widget
def script(widget): return len(str(widget._esm))
""",
        "map": ".js-plotly-plot .nsewdrag",
        "lasso": "drag",
        "picture": ".widget-image",
    },
    "jupyter-scatter": {
        "package": "jupyter-scatter",
        "make": """
import jscatter, pandas as pd
def make(xy):
    table = pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "c": pd.Categorical(np.arange(len(xy)) % 7)})
    made = jscatter.Scatter(data=table, x="x", y="y", color_by="c", height=420, width=800, transition_points=False)
    made.widget.mouse_mode = "lasso"
    made.table = table
    return made
def move(made, xy): made.data(made.table.assign(x=xy[:, 0], y=xy[:, 1]), reset_scales=True, animate=False)
def listen(made): made.widget.observe(lambda change: heard.append(time.time()), "selection")
def point(made):
    def answer(change):
        if change["new"] is not None: picture.value = jpeg(change["new"])
    made.widget.observe(answer, "hovering")
def shown(made): return made.widget
def script(made): return len(str(made.widget._esm))
""",
        "map": "canvas",
        "lasso": "drag",
        "picture": ".widget-image",
    },
}
# The moments at which the pointer moved over a map and at which an image was there after it.
WATCH = """(selector) => {
    window.moved = 0; window.there = []; let last = '';
    document.addEventListener('pointermove', () => { window.moved = performance.now(); }, true);
    const look = async () => {
        const node = document.querySelector(selector);
        const at = node?.src || node?.style?.backgroundImage?.slice(5, -2) || '';
        if (at && at !== last) {
            last = at;
            const image = Object.assign(new Image(), { src: at });
            await image.decode().catch(() => {});
            window.there.push(performance.now());
        }
        setTimeout(look, 2);
    };
    look();
}"""


class Bench:
    """One widget on one page."""

    def __init__(self, lab: Lab, browser: Any, name: str):
        self.tool, self.name, self.lab = TOOLS[name], name, lab
        self.page = browser.new_page(viewport={"width": 1000, "height": 1000})
        self.page.set_default_timeout(60_000)

    def open(self, count: int) -> None:
        """A fresh notebook with one widget of so many points."""
        book = f"{abs(hash((self.name, count))) % 10**8}.ipynb"
        cell = f"one = make(full({count}))\nlisten(one)\npoint(one)\ndisplay(shown(one), picture)"
        self.lab.write(book, [COMMON, self.tool["make"], cell])
        self.lab.open(self.page, book)
        command(self.page, "notebook:run-all-cells")
        self.map = self.page.locator(f".jp-OutputArea-output {self.tool['map']}").first
        self.map.wait_for(state="visible")
        self.page.evaluate("() => document.querySelectorAll('.jp-InputArea').forEach((node) => node.remove())")
        self.map.scroll_into_view_if_needed()
        self.until(lambda: self.inked(), "the points are drawn")
        self.page.wait_for_timeout(1000)

    def until(self, claim: Callable[[], Any], what: str) -> float:
        """Seconds until something holds."""
        began = time.monotonic()
        while not claim():
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError(f"{self.name}: not within {PATIENCE_S} s: {what}")
        return time.monotonic() - began

    def place(self, x: Any, y: Any) -> tuple[float, float]:
        """A place on the map, in shares of its width and height from its middle, on the page."""
        box = self.map.bounding_box()
        side = min(box["width"], box["height"])
        return box["x"] + box["width"] / 2 + x * side, box["y"] + box["height"] / 2 + y * side

    def inked(self) -> bool:
        """Whether the middle of the map is covered with points, as a screenshot shows it."""
        from PIL import Image

        x, y = self.place(0, 0)
        clip = {"x": x - 8, "y": y - 8, "width": 16, "height": 16}
        pixels = np.asarray(Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB")).astype(int)
        return bool((pixels.max(axis=2) - pixels.min(axis=2) > 30).mean() > 0.2)

    def hover(self, repeats: int) -> float:
        """Seconds from the pointer's event to the decoded image, asked of Python; the median."""
        self.page.evaluate(WATCH, self.tool["picture"])
        taken = []
        for k in range(repeats + 2):
            self.page.evaluate("() => { window.there = []; }")
            self.page.mouse.move(*self.place(-0.25 + 0.05 * k, -0.2 + 0.03 * k))
            self.until(lambda: self.page.evaluate("() => window.there.length"), "an image follows the pointer")
            taken.append(self.page.evaluate("() => window.there[0] - window.moved") / 1000)
            self.page.wait_for_timeout(300)
        return statistics.median(taken[2:])

    def lasso(self, count: int, repeats: int) -> tuple[float, float]:
        """Seconds from the button's release to Python, and of the drag of 24 moves itself; medians."""
        answers, drags = [], []
        ask(self.page, f"move(one, full({count}))")
        self.until(self.inked, "the points are drawn")
        for k in range(repeats):
            ask(self.page, "heard.clear()")
            size = 0.12 + 0.03 * k
            corners = [(-size, -size), (size, -size), (size, size), (-size, size), (-size, -size + 0.02)]
            if self.tool["lasso"] == "shift":
                self.page.keyboard.down("Shift")
            self.page.mouse.move(*self.place(*corners[0]))
            self.page.mouse.down()
            began = time.monotonic()
            for before, after in zip(corners, corners[1:], strict=False):
                for share in (np.arange(6) + 1) / 6:
                    self.page.mouse.move(*self.place(*(np.array(before) + share * (np.array(after) - before))))
                    if time.monotonic() - began > PATIENCE_S:
                        raise TimeoutError(f"{self.name}: {PATIENCE_S} s, and 24 moves of the pointer are not done")
            self.page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")
            drags.append(time.monotonic() - began)
            self.page.evaluate(
                "() => document.addEventListener('pointerup', () => { window.raised = Date.now() / 1000; },"
                " { capture: true, once: true })"
            )
            self.page.mouse.up()
            self.page.keyboard.up("Shift")
            self.page.wait_for_timeout(500)
            self.until(lambda: int(ask(self.page, "print(len(heard))")), "the lasso reaches Python")
            answers.append(float(ask(self.page, "print(heard[0])")) - self.page.evaluate("() => window.raised"))
        self.page.keyboard.press("Escape")
        return statistics.median(answers), statistics.median(drags)

    def update(self, count: int, repeats: int) -> float:
        """Seconds from the call in Python until a screenshot shows the new places; the median."""
        ask(self.page, f"full_places, hollow_places = full({count}), hollow({count})")
        taken = []
        for k in range(repeats):
            name, wanted = ("hollow", False) if k % 2 == 0 else ("full", True)
            began = float(ask(self.page, f"print(time.time()); move(one, {name}_places)"))
            self.until(lambda wanted=wanted: self.inked() is wanted, "new places are drawn")
            taken.append(time.time() - began)
            self.page.wait_for_timeout(500)
        return statistics.median(taken)

    def flood(self, count: int) -> float:
        """Seconds that the map is behind when 60 updates at 20 a second are over."""
        ask(self.page, f"move(one, full({count}))")
        self.until(self.inked, "the flood begins")
        code = f"""
places = [full({count}) + np.float32(k % 3) / 1000 for k in range(3)] + [hollow({count})]
for k in range(60):
    due = time.time() + 0.05
    move(one, places[k % 3 if k < 59 else 3])
    time.sleep(max(0, due - time.time()))
print(time.time())
"""
        ended = float(ask(self.page, code))
        self.until(lambda: not self.inked(), "the last of the flood is drawn")
        return time.time() - ended

    def alive(self) -> int:
        """How many of 20 widgets that were shown and closed Python still holds."""
        code = """
seen = []
for k in range(20):
    made = make(full(500)); seen.append(weakref.ref(shown(made))); shown(made).close()
del made
gc.collect(); print(sum(ref() is not None for ref in seen))
"""
        return int(ask(self.page, code))


def measure(lab: Lab, browser: Any, name: str, *, quick: bool) -> dict[str, Any]:
    """Every figure of one widget; None where it gave no answer."""
    figures: dict[str, Any] = {}
    repeats = 3

    def note(key: str, work: Callable[[], Any]) -> None:
        try:
            figures[key] = work()
        except Exception as error:  # a peer that fails costs its own figure
            figures[key] = None
            figures.setdefault("problems", {})[key] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"

    def with_points(count: int, keys: dict[str, Callable[[Bench], Any]]) -> None:
        bench = Bench(lab, browser, name)
        try:
            bench.open(count)
            for key, work in keys.items():
                note(key, lambda work=work: work(bench))
        except Exception as error:
            for key in keys:
                figures.setdefault(key, None)
            figures.setdefault("problems", {})[f"opening {count:,}"] = str(error).splitlines()[0][:160]
        finally:
            bench.page.close()

    fifty: dict[str, Callable[[Bench], Any]] = {
        "script_mb": lambda bench: int(ask(bench.page, "print(script(one))")) / 1e6,
        "hover_50k_s": lambda bench: bench.hover(repeats + 2),
        "update_50k_s": lambda bench: bench.update(50_000, repeats),
        "flood_50k_behind_s": lambda bench: bench.flood(50_000),
        "alive_of_20": lambda bench: bench.alive(),
        "lasso_50k": lambda bench: bench.lasso(50_000, repeats),
    }
    with_points(50_000, fifty)
    with_points(200_000, {"update_200k_s": lambda bench: bench.update(200_000, repeats)})
    if not quick:
        with_points(1_000_000, {"lasso_1m": lambda bench: bench.lasso(1_000_000, repeats)})
    for key in ("lasso_50k", "lasso_1m"):
        if key in figures:
            figures[f"{key}_s"], figures[f"{key}_drag_s"] = figures.pop(key) or (None, None)
    return figures


ROWS = {
    "hover_50k_s": "pointer to image from Python, 50,000 points",
    "lasso_50k_s": "lasso released to Python, 50,000 points",
    "lasso_50k_drag_s": "drawing that lasso, 24 moves",
    "lasso_1m_s": "lasso released to Python, 1,000,000 points",
    "lasso_1m_drag_s": "drawing that lasso, 24 moves",
    "update_50k_s": "50,000 new places to pixels",
    "update_200k_s": "200,000 new places to pixels",
    "flood_50k_behind_s": "behind after 60 updates at 20 a second, 50,000 points",
    "script_mb": "script sent for each widget, MB",
    "alive_of_20": "alive in Python of 20 closed",
}


def table(record: dict[str, Any]) -> str:
    """The record as text."""
    names = list(record["widgets"])
    lines = [f"{'':56s}" + "".join(f"{name:>22s}" for name in names)]
    for key, words in ROWS.items():
        cells = []
        for name in names:
            value = record["widgets"][name].get(key)
            unit = " s" if key.endswith("_s") else ""
            cells.append(
                "no answer" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}{unit}"
            )
        lines.append(f"{words:56s}" + "".join(f"{cell:>22s}" for cell in cells))
    return "\n".join(lines)


def serve(home: Path) -> tuple[list[str], str, dict[str, str], Lab]:
    """What starts a JupyterLab with settings of its own."""
    (home / "notebooks").mkdir()
    news = home / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    port = free_port()
    env = dict(os.environ, JUPYTERLAB_SETTINGS_DIR=str(home / "settings"))
    for name in (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTERLAB_WORKSPACES_DIR",
    ):
        env[name] = str(home / name.lower())
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    arguments = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    arguments += [f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.news_url=", "--ServerApp.port_retries=0"]
    arguments += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    lab = Lab(f"http://127.0.0.1:{port}", home / "notebooks", home)
    return [sys.executable, "-m", "jupyterlab", *arguments], f"http://127.0.0.1:{port}/api", env, lab


def main() -> None:
    """Measure, write the record, show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="no million")
    parser.add_argument("--only", choices=[*TOOLS], help="one widget; nothing is written")
    parser.add_argument("--output", type=Path, default=RECORD)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium")
    load = os.getloadavg()[0]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        start, url, env, lab = serve(Path(folder))
        with serving(start, url, env=env, log=Path(folder) / "log"):
            browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
            for name in [options.only] if options.only else TOOLS:
                found[name] = {"version": installed(TOOLS[name]["package"])}
                found[name] |= measure(lab, browser, name, quick=options.quick)
                sys.stderr.write(f"{name}: {json.dumps(found[name])}\n")
            chromium = browser.version
            browser.close()
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, WebGL by software, load {load:.1f} at the start",
        "chromium": chromium,
        "jupyterlab": installed("jupyterlab"),
        "quick": options.quick,
        "widgets": found,
    }
    if not options.only:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(record) + "\n")
    for name, figures in found.items():
        for key, words in figures.get("problems", {}).items():
            sys.stdout.write(f"{name}, {key}: {words}\n")


def installed(package: str) -> str:
    """A package's version, or that it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
