"""The launch form without a browser: its fields, its checks, the lines it writes, its estimate and its start."""

from __future__ import annotations

import ast
import re
import shlex
import threading
import time

import pytest
from synthetic import make_run

import twist
from twist.cli.command import changes_of
from twist.runs.config import ConfigError, Recipe, field_help, field_names, with_fields
from twist.runs.recipes import recipe, recipe_names
from twist.view.launch_fields import (
    COMMON,
    check,
    command_line,
    field_table,
    python_line,
    recipe_table,
    spell_field,
    values_of,
)
from twist.view.launch_form import LaunchForm


def until(claim, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def texts(tiny):
    """Fields of a tiny recipe as a person types them."""
    return {name: spell_field(value) for name, value in tiny.items()}


@pytest.fixture
def make():
    made = []

    def build(*arguments, **keywords):
        made.append(LaunchForm(*arguments, **keywords))
        return made[-1]

    yield build
    for form in made:
        form.close()


def fields():
    return {row["name"]: row for group in field_table() for row in group["fields"]}


# -- fields -----------------------------------------------------------------------------------------------------------


def test_every_field_of_a_recipe_has_an_input_with_the_configs_own_sentence():
    assert set(fields()) == set(field_names()) - {"name"}
    assert all(row["help"] == field_help(name) for name, row in fields().items())
    assert {name for name, row in fields().items() if row["common"]} == set(COMMON)
    assert all(group["help"] for group in field_table())


def test_common_fields_come_first():
    for group in field_table():
        flags = [row["common"] for row in group["fields"]]
        assert flags == sorted(flags, reverse=True)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_read_back_from_its_texts(name):
    assert with_fields(Recipe(name=name), values_of(recipe(name))) == recipe(name)


def test_choices_are_those_that_the_config_takes():
    known = fields()
    assert known["optim.optimizer"]["choices"] == ["adamw", "sgd", "lars"]
    assert known["compute.compile"]["choices"] == ["off", "default", "reduce-overhead", "max-autotune"]
    assert known["network.backbone"]["open"] and "resnet50" in known["network.backbone"]["choices"]
    for name, row in known.items():
        if row["choices"] and not row["open"]:
            for choice in row["choices"]:
                with_fields(Recipe(), {name: choice})
            with pytest.raises(ConfigError):
                with_fields(Recipe(), {name: "nonsense"})
    closed = {name for name, row in known.items() if row["kind"] == "text" and not row["choices"]}
    assert closed == {"data.root", "views.extra", "objective.extra"}


def test_recipes_are_listed_with_their_one_line():
    table = {row["name"]: row for row in recipe_table()}
    assert set(table) == set(recipe_names())
    assert table["digits"]["summary"].startswith("Scikit-learn's 1,797 scanned digits")


# -- checks -----------------------------------------------------------------------------------------------------------


def test_what_is_right_is_counted(texts):
    found = check("digits", texts)
    assert found.errors == {} and found.facts == {"images": 200, "steps_per_epoch": 4, "steps": 12}


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"optim.epochs": "many"}, "optim.epochs", "optim.epochs is 'many': expected a whole number"),
        ({"optim.epochs": ""}, "optim.epochs", "optim.epochs is ''"),
        ({"views.crop_scale": "1"}, "views.crop_scale", "expected 2 numbers separated by commas"),
        ({"views.crop_scale": "0.9, 0.2"}, "views.crop_scale", "smallest first"),
        ({"optim.optimizer": "adamm"}, "optim.optimizer", "did you mean 'adamw'"),
        ({"data.source": "digit"}, "data.source", "digits"),
        ({"data.source": "/nowhere/at/all"}, "data.source", "/nowhere/at/all"),
        ({"optim.batch_size": "5000"}, "optim.batch_size", "has only 1797 images"),
        ({"device": "cuda:99"}, "device", "set device to cpu or auto"),
        ({"views.extra": "/nowhere.py:mine"}, "views.extra", "nowhere.py"),
        ({"seed": "-1"}, "seed", "give a whole number from 0"),
        ({"views.grow_epochs": "3"}, "views.grow_epochs", "give both it and views.start_size"),
    ],
)
def test_a_wrong_value_is_told_beside_its_field(changes, place, words):
    found = check("digits", changes)
    assert found.recipe is None and list(found.errors) == [place], found.errors
    assert words in found.errors[place]


def test_all_wrong_values_are_told_at_once():
    found = check("digits", {"optim.epochs": "x", "views.size": "2", "network.dropout": "2", "seed": "1"})
    assert set(found.errors) == {"optim.epochs", "views.size", "network.dropout"}


def test_fields_that_are_right_only_together_are_right():
    assert check("digits", {"views.start_size": "12", "views.grow_epochs": "3"}).errors == {}


def test_a_name_that_is_taken_or_none_is_told(runs, texts):
    (runs / "taken").mkdir(parents=True)
    assert "exists already" in check("digits", texts, "taken").errors["run"]
    assert "cannot name a folder" in check("digits", texts, "../x").errors["run"]
    assert check("digits", texts, "free").errors == {}


def test_a_batch_that_is_too_small_is_warned_about_and_what_follows_it_is_offered():
    found = check("digits", {"optim.batch_size": "32", "network.num_classes": "100"})
    assert found.errors == {} and "for 100 classes" in found.warnings[0]
    assert [one["field"] for one in found.follows] == ["optim.learning_rate"]
    assert found.follows[0]["after"] == "0.0032"
    moved = {"optim.batch_size": "32", "optim.learning_rate": "0.0032"}
    assert check("digits", moved).follows == []


# -- the same in words ------------------------------------------------------------------------------------------------


def test_the_lines_say_the_same_as_the_form(texts):
    changes = {**texts, "data.max_images": "", "views.crop_scale": "0.3, 1", "optim.clip_norm": "2", "seed": "3"}
    asked = check("digits", changes).recipe
    call = ast.parse(python_line("digits", asked, changes, "my-run")).body[0].value
    said = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert ast.unparse(call.func) == "twist.launch" and ast.literal_eval(call.args[0]) == "digits"
    assert said.pop("name") == "my-run"
    assert recipe("digits").replace(**said) == asked
    words = shlex.split(command_line("digits", changes, "my-run"))
    assert words[:5] == ["twist", "train", "digits", "--name", "my-run"] and words[-1] == "--detach"
    pairs = [word for before, word in zip(words, words[1:], strict=False) if before == "--set"]
    assert with_fields(recipe("digits"), changes_of(pairs)) == asked


# -- the form ---------------------------------------------------------------------------------------------------------


def test_a_form_begins_with_the_fields_it_is_given(make):
    form = make("digits", optim__epochs=5, optim__batch_size=100)
    assert form.panel.changes == {"optim.epochs": "5"}  # 100 is the recipe's own
    until(lambda: form.panel.checked.get("ok"))
    assert form.recipe == recipe("digits").replace(optim__epochs=5)
    assert form.panel.checked["python"] == "run = twist.launch('digits', optim__epochs=5)"
    assert form.panel.checked["command"] == "twist train digits --set optim.epochs=5 --detach"


def test_an_unknown_recipe_or_field_is_refused():
    with pytest.raises(ConfigError, match="unknown recipe 'digitz'"):
        LaunchForm("digitz")
    with pytest.raises(ConfigError, match="unknown field 'optim.epoch'"):
        LaunchForm("digits", optim__epoch=3)


def test_another_recipe_keeps_what_was_changed_and_differs(make):
    form = make("digits", optim__epochs=30, seed=7)
    form.panel.recipe = "fashion_mnist"  # whose epochs are 30
    assert form.panel.changes == {"seed": "7"}
    assert form.panel.values["optim.epochs"] == "30"


def test_a_wrong_value_is_told_and_python_refuses_it(make, texts):
    form = make("digits")
    form.panel.changes = {"optim.epochs": "0"}
    until(lambda: "optim.epochs" in form.panel.checked.get("errors", {}))
    assert not form.panel.checked["ok"]
    with pytest.raises(ConfigError, match="optim.epochs is 0: give 1 or more"):
        form.start()
    assert form.run is None


def test_measuring_brings_an_estimate_that_ages_with_the_fields(make, texts):
    form = make("digits")
    form.panel.changes = texts
    until(lambda: form.panel.checked.get("facts", {}).get("steps") == 12)
    form.measure()
    until(lambda: form.panel.estimate["state"] in ("ready", "error"))
    assert form.panel.estimate["state"] == "ready", form.panel.estimate
    assert re.match(r"about .* on this machine, measured over \d+ steps; ", form.panel.estimate["text"])
    assert form.estimate.total_steps == 12
    form.panel.changes = {**texts, "optim.epochs": "4"}
    until(lambda: form.panel.estimate["state"] == "outdated")
    form.panel.changes = texts
    until(lambda: form.panel.estimate["state"] == "ready")


def test_measuring_can_be_cancelled_and_its_mistakes_are_told(make, texts):
    form = make("digits")
    form.panel.changes = texts
    form.measure()
    until(lambda: form._rehearsal is not None)
    form.cancel()
    until(lambda: form.panel.estimate["state"] == "none")
    form.panel.changes = {**texts, "data.source": "/nowhere"}
    form.measure()
    until(lambda: form.panel.estimate["state"] == "error")
    assert "/nowhere" in form.panel.estimate["text"]


def test_start_launches_the_run_and_shows_its_monitor(make, runs, texts):
    form = make("digits", name="mine")
    form.panel.changes = texts
    run = form.start()
    assert run is form.run and run.name == "mine" and run.recipe == with_fields(recipe("digits"), texts)
    assert form.panel.status == {"state": "started", "text": "mine is started.", "run": "mine"}
    assert form.children == (form.panel, form.monitor) and isinstance(form.monitor, twist.RunMonitor)
    run.wait(120)
    assert form.panel.run_name == ""


def test_a_start_that_fails_is_told(make, runs, texts, monkeypatch):
    form = make("digits")
    form.panel.changes = texts
    runs.write_text("a file in the way")
    form._hear(form.panel, {"type": "start"}, [])
    until(lambda: form.panel.status["state"] == "error")
    assert "runs cannot be kept in" in form.panel.status["text"]


def test_a_double_click_starts_one_run(make, runs, texts, monkeypatch):
    import twist.view.launch_form as home

    form, started, go_on = make("digits"), [], threading.Event()

    def launch(asked, name):
        started.append(name)
        go_on.wait(60)
        raise ConfigError("no run in this test")

    monkeypatch.setattr(home, "launch", launch)
    for _ in range(3):
        form._hear(form.panel, {"type": "start"}, [])
    until(lambda: started)
    assert form.panel.status["state"] == "starting"
    go_on.set()
    until(lambda: form.panel.status["state"] == "error" and not form._starting.locked())
    assert len(started) == 1


def test_a_start_ends_the_measuring(make, runs, texts, monkeypatch):
    import twist.view.launch_form as home

    monkeypatch.setattr(home, "launch", lambda asked, name: twist.attach(str(make_run(runs, name="here"))))
    form = make("digits")
    form.panel.changes = {**texts, "optim.epochs": "1000"}
    form.measure()
    until(lambda: form._rehearsal is not None)
    assert form.start().name == "here"
    assert form.panel.estimate["state"] == "none" and form.estimate is None
