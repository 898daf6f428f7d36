"""The launch form in a real JupyterLab: typing, checking, measuring, starting."""

from __future__ import annotations

import re

import pytest
from browsing import ask, command, expect, wait_for_kernel
from conftest import TINY

from twist.view.launch_fields import spell_field

pytestmark = pytest.mark.browser

CHANGES = ", ".join(f"{name.replace('.', '__')}={value!r}" for name, value in TINY.items())
CELL = f"import twist\nform = twist.LaunchForm('digits', {CHANGES})\nform"


@pytest.fixture(scope="module")
def page(lab, open_page):
    """A notebook with the form of a tiny recipe."""
    lab.write("launch_form.ipynb", [CELL])
    page = open_page()
    lab.open(page, "launch_form.ipynb")
    command(page, "notebook:run-all-cells")
    return page


@pytest.fixture
def form(page):
    found = page.locator(".twist-launch")
    expect(found).to_have_attribute("data-ok", "true", timeout=60_000)
    return found


def field(form, name: str):
    return form.locator(f"[data-field='{name}']")


def test_fields_stand_in_groups_with_their_sentences(page, form):
    expect(form.locator(".twist-group")).to_have_count(10)
    epochs = field(form, "optim.epochs").locator("input")
    expect(epochs).to_have_value("3")
    assert "Passes over the images" in epochs.get_attribute("title")
    expect(field(form, "views.noise")).to_be_hidden()
    form.locator("[data-group=views] summary").click()
    expect(field(form, "views.noise")).to_be_visible()
    expect(form).to_contain_text("200 images · 4 steps an epoch · 12 steps")
    expect(form.locator("[data-group=network] summary")).to_contain_text("changed")


def test_a_wrong_value_is_refused_beside_its_field_while_it_is_typed(page, form):
    row = field(form, "optim.epochs")
    row.locator("input").fill("")
    row.locator("input").press_sequentially("ten")
    expect(row.locator(".twist-field-error")).to_have_text(re.compile("optim.epochs is 'ten': expected a whole number"))
    assert row.locator("input").get_attribute("aria-invalid") == "true"
    expect(form.get_by_role("button", name="1 value is wrong")).to_be_disabled()
    expect(row.locator("input")).to_have_value("ten")
    row.locator("input").fill("2")
    expect(row.locator(".twist-field-error")).to_be_hidden()
    expect(form).to_have_attribute("data-ok", "true")
    expect(form.locator(".twist-line code").first).to_contain_text("optim__epochs=2")
    expect(form.locator(".twist-line code").last).to_contain_text("--set optim.epochs=2")
    assert ask(page, "print(form.recipe.optim.epochs)") == "2"


def test_a_changed_field_is_marked_and_reset(page, form):
    row = field(form, "seed")
    row.locator("input").fill("5")
    expect(row).to_have_class(re.compile("twist-changed"))
    row.get_by_role("button", name="Reset seed").click()
    expect(row.locator("input")).to_have_value("0")
    expect(row).not_to_have_class(re.compile("twist-changed"))


def test_fields_are_found_by_words(page, form):
    form.get_by_label("Find a field").fill("solarize")
    expect(field(form, "views.solarize_probability")).to_be_visible()
    expect(field(form, "optim.epochs")).to_be_hidden()
    form.get_by_label("Find a field").fill("")
    expect(field(form, "optim.epochs")).to_be_visible()


def test_a_small_batch_is_warned_about_and_learning_rates_follow_on_request(page, form):
    expect(form.locator(".twist-warnings li").first).to_contain_text("optim.batch_size")
    follow = form.locator(".twist-follow")
    expect(follow).to_contain_text("optim.learning_rate 0.01 → 0.005")
    follow.get_by_role("button", name="Scale them").click()
    expect(field(form, "optim.learning_rate").locator("input")).to_have_value("0.005")
    expect(follow).to_be_hidden()


def test_measuring_says_time_memory_and_disk(page, form):
    form.get_by_role("button", name="Measure").click()
    expect(form.get_by_role("button", name="Cancel")).to_be_visible()
    expect(form).to_have_attribute("data-estimate", "ready", timeout=120_000)
    words = form.locator(".twist-measured").inner_text()
    assert re.match(r"about .* on this machine, measured over \d+ steps; .* memory; .* disk", words), words
    field(form, "optim.epochs").locator("input").fill("4")
    expect(form).to_have_attribute("data-estimate", "outdated")
    field(form, "optim.epochs").locator("input").fill("2")
    expect(form).to_have_attribute("data-estimate", "ready")


def test_a_reload_of_the_page_keeps_what_was_typed(page, form):
    command(page, "docmanager:save")
    page.reload()
    wait_for_kernel(page)
    again = page.locator(".twist-launch")
    expect(field(again, "optim.epochs").locator("input")).to_have_value("2", timeout=60_000)
    widths = field(again, "network.widths").locator("input")
    expect(widths).to_have_value(spell_field(TINY["network.widths"]))


def test_start_launches_the_run_and_shows_its_monitor(page, form, lab):
    form.get_by_label("Name of the run").fill("started")
    expect(form.locator(".twist-line code").first).to_contain_text("name='started'")
    form.get_by_role("button", name="Start", exact=True).click()
    expect(form).to_have_attribute("data-state", "started", timeout=60_000)
    expect(form.locator(".twist-note")).to_contain_text("started is started.")
    output = page.locator(".jp-OutputArea-output")
    expect(output.get_by_text("started", exact=False).first).to_be_visible(timeout=30_000)
    assert ask(page, "print(form.run.name, form.run.wait(120).state, len(form.children))") == "started COMPLETED 2"
    assert (lab.runs / "started" / "recipe.json").is_file()
    form.get_by_role("button", name="Set up another run").click()
    form.get_by_label("Name of the run").fill("started")
    expect(form).to_contain_text("a run named 'started' exists already")
