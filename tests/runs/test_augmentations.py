"""Augmentations one by one: what each has, what each alone leaves, and that no field of the views is forgotten."""

from __future__ import annotations

import dataclasses

import pytest

from twist.runs.augmentations import AUGMENTATIONS, alone, dials, in_use, still, values_of
from twist.runs.config import ViewsConfig, field_help
from twist.runs.recipes import recipe, recipe_names

#: Fields of the views that turn nothing by themselves: sides, normalization, small views, own code.
NOT_TURNED = {
    *("size", "start_size", "grow_epochs", "color", "num_local_views", "local_size", "local_crop_scale"),
    *("local_blur_probability", "extra", "mean", "std"),
}


def test_every_field_that_augments_has_a_dial_with_its_own_sentence():
    turned = {dial.field for _, dial in dials()}
    assert turned | NOT_TURNED == {field.name for field in dataclasses.fields(ViewsConfig)}
    assert all(field_help(f"views.{name}") for name in turned)


@pytest.mark.parametrize("end", ["low", "high"])
def test_both_ends_of_every_dial_are_allowed(end):
    for _, dial in dials():
        value = getattr(dial, end)
        taken = (value, value) if dial.ends else value
        assert getattr(dataclasses.replace(ViewsConfig(), **{dial.field: taken}), dial.field) == taken


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_lies_within_the_dials(name):
    views = recipe(name).views
    for _, dial in dials():
        value = getattr(views, dial.field)
        for number in value if dial.ends else (value,):
            assert dial.low <= number <= dial.high, dial.field


def test_still_views_use_nothing():
    assert in_use(still(ViewsConfig(rotation_degrees=20, noise=0.1, zoom=(0.5, 2.0)))) == []


def test_alone_keeps_one_and_the_strength_it_had():
    views = dataclasses.replace(
        ViewsConfig(), rotation_degrees=20.0, noise=0.1, blur_probability=(0.1, 0.2), stretch=0.2, shift=0.1
    )
    for name in in_use(views):
        one = alone(views, name)
        assert in_use(one) == [name]
        strength = {dial.field for dial in AUGMENTATIONS[name].dials} - set(AUGMENTATIONS[name].always)
        assert all(getattr(one, field) == getattr(views, field) for field in strength)


def test_jitter_that_never_happens_is_not_in_use():
    assert in_use(ViewsConfig(jitter_probability=0)) == ["crop", "flip", "gray", "solarize"]


def test_values_cover_the_dials():
    assert set(values_of(ViewsConfig())) == {dial.field for _, dial in dials()}
