import math
import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twist.cli import main
from twist.runs import bounds
from twist.runs.batch import FINAL_NORM_IMAGES, BatchWarning, batch_warnings, scaled_to_batch
from twist.runs.config import ConfigError, Recipe, field_names, field_value
from twist.runs.launcher import attach, prepare
from twist.runs.recipes import recipe, recipe_names

#: Nothing to warn about: 256 images, 64 classes.
SOUND = Recipe().replace(optim__batch_size=256, network__num_classes=64, objective__temperature=0.5)


def differing(one, other):
    return {name for name in field_names() if field_value(one, name) != field_value(other, name)}


# ---------------------------------------------------------------------------------------------------------------------
# The dial


def test_the_rates_of_both_stages_follow_the_batch_linearly_and_the_bunch_shrinks_to_it():
    scaled, derived = scaled_to_batch(recipe("resnet50"), 128)
    assert (scaled.optim.batch_size, scaled.optim.learning_rate) == (128, pytest.approx(0.25))
    assert scaled.self_label.learning_rate == pytest.approx(0.025)
    assert scaled.network.bunch_size == 128
    assert [(one.field, one.before, one.after) for one in derived] == [
        ("network.bunch_size", 256, 128),
        ("optim.learning_rate", 4.0, 0.25),
        ("self_label.learning_rate", 0.4, 0.025),
    ]
    assert "128 / 2048" in derived[1].why


@pytest.mark.parametrize("name", ["resnet50", "vit_s", "digits"])
def test_the_dial_is_linear_for_every_optimizer(name):
    before = recipe(name)
    after, _ = scaled_to_batch(before, before.optim.batch_size // 2)
    assert after.optim.learning_rate == pytest.approx(before.optim.learning_rate / 2)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_at_its_own_batch_is_left_as_it_is(name):
    made = recipe(name)
    assert scaled_to_batch(made, made.optim.batch_size) == (made, [])


@pytest.mark.parametrize("name", ["resnet50", "vit_b", "cifar10"])
def test_what_is_derived_is_all_that_changes_but_the_batch(name):
    before = recipe(name)
    after, derived = scaled_to_batch(before, 96)
    assert differing(before, after) == {one.field for one in derived} | {"optim.batch_size"}
    for one in derived:
        assert (field_value(before, one.field), field_value(after, one.field)) == (one.before, one.after)


def test_the_first_and_the_second_preset_of_the_paper_give_each_others_rates():
    scaled, _ = scaled_to_batch(recipe("resnet50"), 1920)
    wide = recipe("resnet50w2")
    assert scaled.network.bunch_size == wide.network.bunch_size == 240
    assert scaled.optim.learning_rate == pytest.approx(wide.optim.learning_rate)
    assert scaled.self_label.learning_rate == pytest.approx(wide.self_label.learning_rate)


@pytest.mark.parametrize(
    ("batch_size", "bunch"),
    [(2048, 256), (512, 256), (256, 256), (128, 128), (7, 7), (300, 150), (1000, 250), (257, 257), (514, 257)],
)
def test_a_bunch_is_the_largest_divisor_of_the_batch_not_above_it_or_the_next_larger_one(batch_size, bunch):
    scaled, _ = scaled_to_batch(recipe("resnet50"), batch_size)
    assert scaled.network.bunch_size == bunch


@settings(max_examples=200)
@given(batch_size=st.integers(2, 5000), bunch=st.integers(2, 600))
def test_every_bunch_divides_its_batch_and_is_no_handful(batch_size, bunch):
    scaled, _ = scaled_to_batch(Recipe().replace(network__bunch_size=bunch), batch_size)
    assert batch_size % scaled.network.bunch_size == 0
    assert scaled.network.bunch_size >= min(bunch, batch_size, FINAL_NORM_IMAGES)


def test_without_a_bunch_there_stays_none():
    scaled, derived = scaled_to_batch(recipe("cifar10"), 64)
    assert scaled.network.bunch_size is None
    assert "network.bunch_size" not in {one.field for one in derived}


@pytest.mark.parametrize("batch_size", [1, 0, -256])
def test_the_dial_refuses_what_is_no_batch(batch_size):
    with pytest.raises(ConfigError, match=r"optim\.batch_size"):
        scaled_to_batch(recipe("resnet50"), batch_size)


# ---------------------------------------------------------------------------------------------------------------------
# The warnings


def test_a_sound_recipe_is_not_warned_about():
    assert batch_warnings(SOUND, 10_000) == []


SYNC = {"network__final_norm": "sync"}
LABELLED = {"self_label__epochs": 5}
CASES = [
    ("information", {"network__num_classes": 257}, 1, "log N = 5.55 nats"),
    ("information", {"optim__batch_size": 1023, "network__num_classes": 4096}, 1, "83 % of log C = 8.32"),
    ("information", {"optim__batch_size": 256, "network__num_classes": 32768}, 1, "most classes are out of reach"),
    ("information", {"optim__batch_size": 1024, "network__num_classes": 2**17}, 1, "59 % of log C"),
    ("floor", {"network__num_classes": 5, "objective__temperature": 1}, 1, "0.90 nats"),
    ("floor", {"network__num_classes": 8, "objective__temperature": 1}, 1, "objective.temperature to 0.5"),
    ("floor", {"objective__temperature": 4}, 1, "64 classes at temperature 4"),
    ("final norm", {"network__bunch_size": 32}, 1, "network.bunch_size to 64"),
    ("final norm", {"optim__batch_size": 63, "network__num_classes": 63}, 1, "optim.batch_size to 64"),
    ("final norm", {}, 8, "32 images (optim.batch_size 256, 8 processes)"),
    ("batch norm", {"network__sync_norm": False} | SYNC, 32, "network.sync_norm to true"),
    ("batch norm", {"network__sync_norm": False, "network__backbone": "vit_s"} | SYNC, 32, "8 images"),
    ("few batches", {"data__max_images": 511}, 1, "511 images are fewer than two batches of 256"),
    ("local", {"views__num_local_views": 2, "views__local_size": 32}, 1, "views.local_size to about 14"),
    ("mask", LABELLED | {"self_label__quantile": (0.003, 0.5)}, 1, "0.003, of 256 images"),
    (
        "mask",
        LABELLED | {"self_label__quantile": (0.02, 0.5), "self_label__global_quantile": False} | SYNC,
        8,
        "to 0.04",
    ),
]
SUBJECTS = {
    "information": "mutual information of a batch",
    "floor": "keeps the sharpness at",
    "final norm": "norm before the softmax takes its statistics",
    "batch norm": "batch norms of the network",
    "few batches": "fewer than two batches",
    "local": "local views are no smaller",
    "mask": "no image teaches",
}


@pytest.mark.parametrize(("subject", "changes", "processes", "said"), CASES)
def test_each_warning_fires_alone_with_its_numbers(subject, changes, processes, said):
    [sentence] = batch_warnings(SOUND.replace(**changes), 10_000, processes)
    assert SUBJECTS[subject] in sentence
    assert said in sentence
    assert "set " in sentence


def test_every_warning_has_a_case():
    assert {subject for subject, *_ in CASES} == set(SUBJECTS)


@pytest.mark.parametrize(
    ("changes", "processes"),
    [
        ({"network__num_classes": 256}, 1),
        ({"optim__batch_size": 1024, "network__num_classes": 4096}, 1),  # the authors' smallest
        ({"network__num_classes": 10, "objective__temperature": 1}, 1),  # digits
        ({"network__num_classes": 3}, 1),
        ({"network__num_classes": 3, "objective__temperature": 1, "network__final_norm": "none"}, 1),
        ({"network__bunch_size": 64}, 8),  # a bunch of two processes
        (SYNC, 8),
        ({"optim__batch_size": 64, "network__num_classes": 64}, 1),
        ({"network__sync_norm": False} | SYNC, 16),
        ({"network__sync_norm": False, "network__backbone": "vit_s", "network__head_norm": "layer"} | SYNC, 32),
        ({"data__max_images": 512}, 1),
        ({"views__local_size": 32}, 1),  # without local views
        ({"views__num_local_views": 2, "views__local_size": 31}, 1),
        ({"self_label__quantile": (0.003, 0.5)}, 1),  # without the stage
        (LABELLED | {"self_label__quantile": (0.0, 0.5)}, 1),  # 0 is the fixed threshold
        (LABELLED | {"self_label__quantile": (1 / 256, 0.5)}, 1),
        (LABELLED | {"self_label__quantile": (1 / 256, 0.5)} | SYNC, 8),  # of the joined batch
    ],
)
def test_one_step_to_the_sound_side_is_silent(changes, processes):
    assert batch_warnings(SOUND.replace(**changes), 10_000, processes) == []


def test_a_batch_of_a_few_images_is_warned_about_both_norms():
    tiny = SOUND.replace(optim__batch_size=8, network__num_classes=8)
    assert [
        any(SUBJECTS[subject] in text for subject in ("final norm", "batch norm")) for text in batch_warnings(tiny, 100)
    ] == [
        True,
        True,
    ]


@pytest.mark.parametrize("batch_size", [2, 5, 16, 100, 500])
@pytest.mark.parametrize("classes", [3, 100, 4096, 100_000])
def test_either_advice_about_the_cap_is_enough(batch_size, classes):
    asked = SOUND.replace(optim__batch_size=batch_size, network__num_classes=classes)
    cap = [text for text in batch_warnings(asked, 10**7) if SUBJECTS["information"] in text]
    assert bool(cap) == (batch_size < classes)
    for text in cap:
        assert f"log N = {math.log(batch_size):.2f}" in text and f"log C = {math.log(classes):.2f}" in text
        batch, fewer = map(int, re.search(r"batch_size to (\d+) .*num_classes to (\d+)", text).groups())
        for change in ({"optim__batch_size": batch}, {"network__num_classes": max(2, fewer)}):
            assert not [t for t in batch_warnings(asked.replace(**change), 10**7) if SUBJECTS["information"] in t]


@pytest.mark.parametrize(("classes", "temperature"), [(2, 1.0), (5, 1.0), (8, 2.0), (4096, 100.0)])
def test_the_temperature_that_is_advised_lowers_the_floor_enough(classes, temperature):
    asked = SOUND.replace(optim__batch_size=4096, network__num_classes=classes, objective__temperature=temperature)
    [text] = batch_warnings(asked, 10**6)
    cooler = float(re.search(r"temperature to ([\d.]+) ", text).group(1))
    assert bounds.sharpness_floor(classes, cooler) <= bounds.log_classes(classes) / 2
    assert batch_warnings(asked.replace(objective__temperature=cooler), 10**6) == []


# ---------------------------------------------------------------------------------------------------------------------
# The command


def arguments(tiny, *more):
    changes = {name: value for name, value in tiny.items() if name != "optim.batch_size"}
    words = [
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in changes.items()
    ]
    return ["train", "digits", "--name", "mine", *(word for change in words for word in ("--set", change)), *more]


def test_train_turns_the_dial_says_what_followed_and_warns_before_training(runs, tiny, capfd):
    tiny["optim.epochs"] = 1
    more = ["--batch-size", "50", "--set", "self_label.learning_rate=0.5"]
    assert main(arguments(tiny, *more)) == 0
    made = attach("mine").recipe
    assert (made.optim.batch_size, made.optim.learning_rate, made.self_label.learning_rate) == (50, 5e-3, 0.5)
    captured = capfd.readouterr()
    assert "optim.learning_rate: 0.01 → 0.005 (linear in the batch size, 50 / 100)" in captured.out.splitlines()
    assert "self_label.learning_rate" not in captured.out
    assert captured.err.startswith("twist: warning: the norm before the softmax takes its statistics from 50 images")


def test_train_without_the_dial_says_nothing_of_it(runs, tiny, capfd):
    tiny |= {"optim.epochs": 1}
    assert main(arguments(tiny, "--set", "optim.batch_size=100", "--detach")) == 0
    captured = capfd.readouterr()
    assert "→" not in captured.out and "warning" not in captured.err
    attach("mine").wait(timeout_s=300)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--batch-size", "many"], "a whole number"),
        (["--batch-size", "1"], "2 or more"),
        (["--batch-size", "50", "--set", "optim.batch_size=60"], "given twice"),
        (["--batch-size", "5000"], "only 200 images"),
    ],
)
def test_a_batch_size_that_cannot_be_is_one_sentence(runs, tiny, capfd, more, said):
    assert main(arguments(tiny, *more)) == 2
    captured = capfd.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""
    assert not runs.exists() or not list(runs.iterdir())


def test_preparing_a_run_warns_of_what_its_batch_cannot_carry(runs):
    with pytest.warns(BatchWarning, match="optim.batch_size is 100 for 5000 classes"):
        prepare("digits", changes={"network.num_classes": 5000})
    with warnings.catch_warnings():
        warnings.simplefilter("error", BatchWarning)
        prepare("digits")


def test_a_batch_that_is_no_whole_number_of_bunches_is_refused_before_anything_is_written(runs):
    with pytest.raises(ConfigError, match="network.bunch_size is 7: give a divisor of optim.batch_size, 100"):
        prepare("digits", changes={"network.bunch_size": 7})
    assert not runs.exists() or list(runs.iterdir()) == []
