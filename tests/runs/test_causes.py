"""Each suspect names the field and its value when it is guilty, and says nothing of the recipe for digits."""

import dataclasses

import pytest
from synthetic import facts

from twist.runs import causes as why
from twist.runs.causes import HIGH_RATE, LOUD_SHARE, STRONG_CROP, STRONG_DECAY, causes
from twist.runs.config import field_value
from twist.runs.recipes import recipe
from twist.runs.shortcuts import Shortcut

NEAR = 1e-3
# Suspect, fields that make it guilty, those that just do not; the field that it names is the first.
GUILTY = [
    (why.no_sharpness, {"objective.sharpness_weight": 0.5}, {"objective.sharpness_weight": 1.0}),
    (why.too_much_consistency, {"objective.consistency_weight": 4.0}, {"objective.consistency_weight": 1.0}),
    (why.strong_views, {"views.crop_scale": (STRONG_CROP - NEAR, 1.0)}, {"views.crop_scale": (STRONG_CROP, 1.0)}),
    (why.strong_views, {"views.noise": 0.5}, {"views.noise": 0.1}),
    (why.high_temperature, {"objective.temperature": 3.0}, {"objective.temperature": 1.0}),
    (why.no_diversity, {"objective.diversity_weight": 0.5}, {"objective.diversity_weight": 1.0}),
    (why.no_final_norm, {"network.final_norm": "none"}, {"network.final_norm": "batch"}),
    (why.too_little_consistency, {"objective.consistency_weight": 0.25}, {"objective.consistency_weight": 1.0}),
    (why.rate_that_stays, {"optim.final_learning_rate": 1.0}, {"optim.final_learning_rate": 0.1}),
    (why.no_backbone_norm, {"network.backbone_norm": "none"}, {"network.backbone_norm": "batch"}),
    (
        why.strong_decay,
        {"optim.weight_decay": STRONG_DECAY * 2, "optim.optimizer": "adamw"},
        {"optim.weight_decay": STRONG_DECAY, "optim.optimizer": "adamw"},
    ),
    (
        why.strong_decay,
        {"optim.weight_decay": 0.1, "optim.optimizer": "sgd"},
        {"optim.weight_decay": 1e-4, "optim.optimizer": "sgd"},
    ),
    *(
        (
            why.high_rate,
            {"optim.learning_rate": 2 * rate, "optim.optimizer": name},
            {"optim.learning_rate": rate, "optim.optimizer": name},
        )
        for name, rate in HIGH_RATE.items()
    ),
]
SUSPECTS = [*dict.fromkeys(case[0] for case in GUILTY), why.small_batch, why.same_light]


def asked(changes, *strongest):
    """Facts of a recipe with changes, whose classes follow the named statistics."""
    shortcuts = [Shortcut({name: 0.9}, 0.9, name, ()) for name in strongest]
    return facts(*shortcuts, recipe={name.replace(".", "__"): value for name, value in changes.items()})


@pytest.mark.parametrize(("suspect", "guilty", "innocent"), GUILTY)
def test_a_guilty_field_is_named_with_its_value_and_with_what_to_do(suspect, guilty, innocent):
    (cause,) = suspect(asked(guilty))
    name, value = next(iter(guilty.items()))
    value = value[0] if isinstance(value, tuple) else value
    assert name in cause.sentence and name in cause.advice
    assert (value if isinstance(value, str) else f"{value:g}") in cause.sentence
    assert list(suspect(asked(innocent))) == []


@pytest.mark.parametrize("suspect", SUSPECTS)
def test_nothing_is_said_of_the_recipe_for_digits(suspect):
    assert list(suspect(facts(recipe=recipe("digits"), gradient_shares={"consistency": 0.5}))) == []


def test_a_weight_of_nothing_is_told_as_such():
    sentences = [
        next(suspect(asked({name: 0.0}))).sentence
        for suspect, name in (
            (why.no_sharpness, "objective.sharpness_weight"),
            (why.too_little_consistency, "objective.consistency_weight"),
        )
    ]
    assert all("nothing asks" in sentence for sentence in sentences)


def test_a_loud_consistency_is_named_where_its_weight_is_usual():
    loud = facts(gradient_shares={"consistency": LOUD_SHARE + NEAR})
    (cause,) = why.too_much_consistency(loud)
    assert f"{LOUD_SHARE:.0%}" in cause.sentence and "objective.consistency_weight" in cause.advice
    assert list(why.too_much_consistency(facts(gradient_shares={"consistency": LOUD_SHARE - NEAR}))) == []


@pytest.mark.parametrize(("batch_size", "told"), [(4, True), (99, True), (100, False), (256, False)])
def test_a_batch_of_fewer_images_than_classes_is_named(batch_size, told):
    found = list(why.small_batch(facts(batch_size=batch_size)))
    assert bool(found) == told
    if told:
        assert f"optim.batch_size is {batch_size} for 100 classes" in found[0].sentence
        assert "Raise optim.batch_size to 100" in found[0].advice


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"views.jitter_probability": 0.0}, True),
        ({"views.brightness": 0.0, "views.contrast": 0.0}, True),
        ({"views.jitter_probability": 0.8, "views.brightness": 0.4, "views.contrast": 0.0}, False),
    ],
)
def test_views_that_keep_the_light_are_named(changes, told):
    found = list(why.same_light(asked(changes, "brightness")))
    assert bool(found) == told
    assert all("views.jitter_probability" in cause.advice for cause in found)
    assert list(why.same_light(asked(changes, "blur"))) == []


def test_views_that_keep_the_blur_are_named_where_classes_follow_it():
    still = {"views.blur_probability": (0.0, 0.0)}
    (cause,) = why.same_blur(asked(still, "blur"))
    assert "views.blur_probability" in cause.advice
    assert list(why.same_blur(asked(still, "contrast"))) == []
    assert list(why.same_blur(asked({"views.blur_probability": (0.5, 0.0)}, "blur"))) == []


def test_more_diversity_is_what_is_left_and_starts_from_the_weight_there_is():
    (cause,) = why.more_diversity(asked({"objective.diversity_weight": 2.5}))
    assert "objective.diversity_weight 2.5" in cause.sentence
    assert cause.advice.startswith("Raise objective.diversity_weight above 2.5")


def test_suspects_are_heard_in_their_order():
    guilty = asked({"objective.sharpness_weight": 0.0, "network.final_norm": "none"})
    first, second = causes(guilty, why.no_final_norm, why.no_diversity, why.no_sharpness)
    assert "network.final_norm" in first.sentence and "objective.sharpness_weight" in second.sentence
    assert field_value(guilty.recipe, "network.final_norm") == "none"


def test_views_that_keep_colors_are_named_where_classes_follow_them():
    still = {"views.hue": 0.0, "views.saturation": 0.0, "views.gray_probability": 0.0}
    (cause,) = why.same_hue(asked(still, "red-green"))
    assert "views.hue" in cause.advice
    assert list(why.same_hue(asked(still, "brightness"))) == []
    assert list(why.same_hue(asked({**still, "views.gray_probability": 0.2}, "blue-yellow"))) == []


def test_a_term_of_ones_own_that_is_no_number_is_named():
    (cause,) = why.own_term(dataclasses.replace(asked({"objective.extra": "mine.py:term"}), nonfinite=("train/extra",)))
    assert "mine.py:term" in cause.sentence
    assert list(why.own_term(asked({}))) == []
