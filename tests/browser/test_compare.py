"""The comparison of runs in a real JupyterLab: choosing, filtering, the table of classes, and what is done to runs."""

from __future__ import annotations

import re

import pytest
from browsing import ask, command, expect, start_command, wait_for_kernel
from synthetic import make_run

from twist.runs.keeping import tag

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=alert(1)>"
DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')].some(
    (plot) => (plot.data ?? []).some((trace) => trace.name === 'C c-one'))"""
CELL = "import twist\nview = twist.Compare(['c-good', 'c-flat'])\nview"


@pytest.fixture(scope="module")
def page(lab, open_page):
    """A notebook that compares two of four runs."""
    for name, kind in (("c-good", "healthy"), ("c-flat", "uniform"), ("c-one", "one-class"), ("c-spare", "healthy")):
        make_run(lab.runs, kind, name=name, label_names=[EVIL, *map(str, range(1, 10))])
    tag(lab.runs / "c-one", EVIL)
    lab.write("compare.ipynb", [CELL, "import time; time.sleep(6)"])
    page = open_page()
    lab.open(page, "compare.ipynb")
    command(page, "notebook:run-cell")
    return page


@pytest.fixture
def table(page):
    found = page.locator(".twist-compare")
    expect(found).to_have_attribute("data-state", "ready", timeout=60_000)
    return found


@pytest.fixture
def pair(page):
    found = page.locator(".twist-pair")
    expect(found).to_have_attribute("data-state", "ready", timeout=60_000)
    return found


def row(table, name):
    return table.locator(f'tr[data-run="{name}"]')


def cell(pair, share_x, share_y):
    box = pair.locator(".twist-matrix canvas").bounding_box()
    return {"x": box["width"] * share_x, "y": box["height"] * share_y}


def test_runs_are_listed_with_state_and_verdict_in_words_and_sign(page, table):
    expect(row(table, "c-good").locator('[data-column="verdict"]')).to_have_text("✓ healthy", timeout=60_000)
    expect(row(table, "c-flat").locator('[data-column="verdict"]')).to_have_text("▲ uniform collapse", timeout=60_000)
    expect(row(table, "c-good").locator('[data-column="state"]')).to_contain_text("completed")
    expect(row(table, "c-one").locator(".twist-tag")).to_have_text(EVIL)
    assert page.locator("img[onerror]").count() == 0


def test_filters_and_order_need_no_kernel(page, table):
    start_command(page, "notebook:run-cell")  # a cell that keeps the kernel busy for six seconds
    table.locator('input[type="search"]').fill("c-fl")
    expect(table.locator("tbody tr[data-run]")).to_have_count(1, timeout=2_000)
    table.locator('input[type="search"]').fill("no such run")
    expect(table.locator(".twist-empty")).to_contain_text("No run is like that", timeout=2_000)
    table.get_by_role("button", name="Show all").click()
    table.locator('th[data-column="information"] button').click()
    expect(table.locator("tbody tr[data-run]").first).to_have_attribute(
        "data-run", re.compile("good|spare"), timeout=2_000
    )
    table.locator('th[data-column="information"] button').click()
    expect(table.locator("tbody tr[data-run]").first).not_to_have_attribute("data-run", "c-good", timeout=2_000)


def test_a_cell_of_the_table_of_classes_shows_its_images(page, pair):
    canvas = pair.locator(".twist-matrix canvas")
    canvas.click(position=cell(pair, 0.6, 0.6))
    expect(pair.locator('button[data-mode="cell"]')).to_have_attribute("aria-pressed", "true")
    said = pair.locator(".twist-pair-right h3").inner_text()
    count = int(re.search(r": ([\d,]+) images", said)[1].replace(",", ""))
    expect(pair.locator(".twist-pair-card")).to_have_count(min(48, count))
    canvas.press("ArrowLeft")
    canvas.press("Enter")
    expect(pair.locator(".twist-pair-right h3")).not_to_have_text(said)
    pair.locator('button[data-mode="differ"]').click()
    card = pair.locator(".twist-pair-card").first
    assert "url(" in card.locator(".twist-picture").evaluate("node => node.style.backgroundImage")
    assert "confidence" in card.get_attribute("title")
    assert page.locator("img[onerror]").count() == 0


def test_choosing_a_third_run_redraws_curves_and_choosers(page, table, pair):
    row(table, "c-one").get_by_role("checkbox").click()
    expect(row(table, "c-one").get_by_role("checkbox")).to_have_text("C")
    expect(pair.locator("select").first.locator("option")).to_have_count(3, timeout=20_000)
    page.wait_for_function(DRAWN, timeout=20_000)
    assert (
        ask(page, "print(view.selected, view.comparison.names)") == "['c-good', 'c-flat', 'c-one'] ('c-good', 'c-flat')"
    )
    pair.locator("select").nth(1).select_option("c-one")
    expect(pair.locator(".twist-pair-hover")).to_contain_text("c-one", timeout=20_000)
    expect(table.locator(".twist-recipes h3")).to_have_text("The recipes are equal, field by field")


def test_tagging_and_renaming_from_the_table(lab, table):
    row(table, "c-spare").get_by_role("combobox").select_option("tags")
    question = table.locator(".twist-question")
    question.get_by_label("Tags, with commas between").fill("paper")
    question.get_by_role("button", name="Keep tags").click()
    expect(row(table, "c-spare").locator(".twist-tag")).to_have_text("paper", timeout=20_000)
    row(table, "c-spare").get_by_role("combobox").select_option("rename")
    question.get_by_label("New name").fill("../evil")
    question.get_by_role("button", name="Rename").click()
    expect(question.get_by_role("alert")).to_contain_text("cannot name a folder", timeout=20_000)
    question.get_by_label("New name").fill("c-renamed")
    question.get_by_role("button", name="Rename").click()
    expect(row(table, "c-renamed")).to_have_count(1, timeout=20_000)
    assert (lab.runs / "c-renamed").is_dir() and not (lab.runs / "c-spare").exists()


def test_deletion_waits_for_the_name(lab, table):
    row(table, "c-renamed").get_by_role("combobox").select_option("delete")
    question = table.locator(".twist-question")
    expect(question).to_contain_text("nothing brings it back", timeout=20_000)
    button = question.get_by_role("button", name="Delete for good")
    expect(button).to_be_disabled()
    question.get_by_label("Type c-renamed to confirm").fill("c-ren")
    expect(button).to_be_disabled()
    question.get_by_label("Type c-renamed to confirm").press("Escape")
    expect(question).to_be_hidden()
    assert (lab.runs / "c-renamed").is_dir()
    row(table, "c-renamed").get_by_role("combobox").select_option("delete")
    question.get_by_label("Type c-renamed to confirm").fill("c-renamed")
    button.click()
    expect(row(table, "c-renamed")).to_have_count(0, timeout=20_000)
    expect(table.locator("> .twist-note")).to_have_text("c-renamed is deleted.")
    assert not (lab.runs / "c-renamed").exists()


def test_a_reloaded_page_shows_what_it_showed(page, table, pair):
    pair.locator('button[data-mode="alike"]').click()
    ask(page, "pass")
    command(page, "docmanager:save")
    page.reload()
    wait_for_kernel(page)
    expect(pair.locator('button[data-mode="alike"]')).to_have_attribute("aria-pressed", "true", timeout=60_000)
    expect(row(table, "c-one").get_by_role("checkbox")).to_have_text("C")
    page.wait_for_function(DRAWN, timeout=60_000)


def test_without_a_choice_one_sentence_says_what_to_do(page, table):
    advice = table.locator(".twist-advice")
    expect(advice).to_be_hidden()
    table.get_by_role("button", name="Unselect all").click()
    expect(advice).to_have_text(re.compile("Choose up to six runs"))
    expect(page.locator(".js-plotly-plot")).to_have_count(0, timeout=20_000)
    expect(page.locator(".twist-pair")).to_have_count(0)
    row(table, "c-good").get_by_role("checkbox").click()
    expect(advice).to_be_hidden()
    page.wait_for_function(DRAWN.replace("C c-one", "A c-good"), timeout=20_000)
    page.wait_for_function(
        """() => Math.abs(document.querySelector('.js-plotly-plot .main-svg').clientWidth
            - document.querySelector('.twist-compare').clientWidth) < 20""",
        timeout=20_000,
    )


def test_a_question_that_is_let_go_stays_away_and_one_that_is_refused_is_told(page, table):
    question = table.locator(".twist-question")
    row(table, "c-good").get_by_role("combobox").select_option("thin")
    question.get_by_label("Newest snapshots kept").fill("1")
    question.get_by_label("Newest snapshots kept").press("Escape")  # sooner than what was typed is asked
    expect(question).to_be_hidden()
    page.wait_for_timeout(1000)
    expect(question).to_be_hidden()
    expect(row(table, "c-good").get_by_role("checkbox")).to_be_focused()
    for _ in range(2):  # in the same words: nothing changes, and nobody waits
        row(table, "c-good").get_by_role("combobox").select_option("fork")
        expect(table.locator("> .twist-note")).to_contain_text("has no checkpoint yet", timeout=20_000)
        expect(question).to_be_hidden(timeout=20_000)
    row(table, "c-good").get_by_role("combobox").select_option("rename")
    question.get_by_label("New name").fill("../evil")
    for _ in range(2):
        question.get_by_role("button", name="Rename").click()
        expect(question.get_by_role("alert")).to_contain_text("cannot name a folder", timeout=20_000)
        expect(question.get_by_role("button", name="Rename", exact=True)).to_be_enabled(timeout=20_000)
    question.get_by_role("button", name="Cancel").click()
