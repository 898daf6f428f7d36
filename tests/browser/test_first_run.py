"""The first notebook, as a newcomer meets it: launch, watch, lose the kernel, come back, explore."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from browsing import ask, command, expect, hover_any_point, start_command, wait_for_kernel

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_first_run.ipynb"


def events_on_disk(run: Path) -> list[dict]:
    """Every whole line of the run's event log, in the order of writing."""
    lines = [line for file in sorted((run / "events").glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def until(claim, timeout_s: float, what: str):
    deadline = time.monotonic() + timeout_s
    while not (found := claim()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.2)
    return found


def longest_curve(page) -> list[float]:
    """Steps of the longest curve that any figure on the page shows."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.js-plotly-plot')].flatMap((plot) => plot.data || [])
            .map((trace) => Array.from(trace.x?._inputArray ?? trace.x ?? []))
            .reduce((longest, x) => (x.length > longest.length ? x : longest), [])"""
    )


def keep_picture(page, name: str) -> None:
    """A screenshot for people, when TWIST_SCREENSHOTS names a folder; no test reads it."""
    if folder := os.environ.get("TWIST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_first_notebook_trains_survives_its_kernel_and_explores(lab, open_page):
    shutil.copy(NOTEBOOK, lab.root / NOTEBOOK.name)
    page = open_page(reduced_motion="reduce")
    lab.open(page, NOTEBOOK.name)
    run = lab.runs / "first-run"

    # The curves move while it trains.
    start_command(page, "notebook:run-all-cells")
    until(lambda: run.is_dir() and len(events_on_disk(run)) > 3, 120, "the run writes events")
    page.locator(".js-plotly-plot").first.wait_for(state="attached", timeout=120_000)
    before = len(until(lambda: longest_curve(page), 60, "a curve appears"))
    until(lambda: len(longest_curve(page)) > before, 60, "the curve grows")
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    keep_picture(page, "first-run-training")

    # The kernel is restarted in the middle: the run goes on, and the cells attach to it again.
    lost_at = len(events_on_disk(run))
    assert not any(event["kind"] == "end" for event in events_on_disk(run)), "the run was too short for this test"
    page.evaluate("() => [...window.jupyterapp.shell.widgets('main')][0].sessionContext.session.kernel.restart()")
    wait_for_kernel(page)
    command(page, "notebook:run-all-cells")
    until(lambda: any(event["kind"] == "end" for event in events_on_disk(run)), 240, "the run ends")
    events = events_on_disk(run)
    assert len(events) > lost_at
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["kind"] for event in events].count("start") == 1
    assert events[-1]["reason"] == "completed"
    assert len(list(lab.runs.glob("[!.]*run*"))) == 1
    steps = [event["step"] for event in events if event["kind"] == "metrics"]
    seen = ask(page, "print(*run.metrics.index)").split()
    assert [int(step) for step in seen] == steps
    until(lambda: steps[-1] - 10 <= max(longest_curve(page), default=0), 60, "the monitor shows the end")
    assert min(longest_curve(page)) <= 10, "the monitor shows the steps from before the restart"

    # Its classes are explored.
    explorer = page.locator(".twist-explorer")
    expect(explorer).to_have_attribute("data-state", "ready", timeout=180_000)
    expect(explorer).to_have_attribute("data-placement", "umap")
    expect(explorer).to_have_attribute("data-color-by", "entropy", timeout=60_000)
    row = hover_any_point(page, explorer)
    card = explorer.locator(".twist-card")
    assert card.get_attribute("data-sample") == str(row)
    assert "blob:" in card.locator(".twist-picture").evaluate("node => node.style.backgroundImage")
    button = explorer.locator(".twist-class:not(.twist-dead)[aria-pressed=false]").first
    chosen = button.get_attribute("data-class")
    button.click()
    expect(explorer).to_have_attribute("data-selected-class", chosen)
    expect(explorer.locator(".twist-gallery h3")).to_contain_text(f"Class {chosen} ·")
    assert explorer.locator(".twist-tile").count() > 0
    until(lambda: ask(page, "print(explorer.selected_class)") == chosen, 30, "the selection reaches Python")
    keep_picture(page, "first-run-explorer")
    errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
    assert errors.all_inner_texts() == []
