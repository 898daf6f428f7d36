import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twist.runs.config import (
    ConfigError,
    Recipe,
    field_help,
    field_names,
    from_dict,
    to_dict,
    with_fields,
)
from twist.runs.own_code import own_parts
from twist.runs.recipes import recipe, recipe_names, recipe_summary


def test_every_field_has_one_sentence_that_explains_it():
    for name in field_names():
        sentence = field_help(name)
        assert sentence[0].isupper() and sentence.endswith("."), name


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_survives_json(name):
    made = recipe(name)
    assert from_dict(json.loads(json.dumps(to_dict(made)))) == made
    assert made.name == name
    assert recipe_summary(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optim.epoch": 5}, "optim.epochs"),
        ({"optim.epochs": "many"}, "a whole number"),
        ({"optim.epochs": 2.5}, "a whole number"),
        ({"optim.learning_rate": "nan"}, "a finite number"),
        ({"optim.batch_size": 1}, "batch norm"),
        ({"network.num_classes": 1}, "2 or more"),
        ({"network.backbone": "resnet81"}, "resnet18"),
        ({"views.crop_scale": (0.9, 0.1)}, "smallest first"),
        ({"views.crop_scale": "0.9"}, "2 numbers"),
        ({"views.flip_probability": 1.5}, "between 0 and 1"),
        ({"data.download": "perhaps"}, "true or false"),
        ({"objective.temperature": 0}, "above 0"),
        ({"seed": -1}, "whole number"),
        ({"data.source": 5}, "text"),
        ({"views.start_size": 40}, "give a number from 4 to 32, views.size, or none"),
        ({"views.grow_epochs": -1}, "0 or more"),
        ({"views.grow_epochs": 5}, "give both it and views.start_size, now None, or neither"),
        ({"views.start_size": 16, "views.grow_epochs": 2, "network.backbone": "vit_t"}, "one grid of patches"),
    ],
)
def test_a_wrong_field_names_itself_its_value_and_the_fix(changes, said):
    with pytest.raises(ConfigError) as caught:
        with_fields(Recipe(), changes)
    (name, value), *_ = changes.items()
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert str(value) in str(caught.value) or "unknown field" in str(caught.value)


def test_text_values_are_read_as_the_fields_type():
    changed = with_fields(
        Recipe(),
        {
            "optim.epochs": "1e2",
            "views.zoom": "(0.9, 1.1)",
            "network.widths": "8,16",
            "data.download": "true",
            "optim.clip_norm": "3",
            "data.root": "none",
        },
    )
    assert changed.optim.epochs == 100
    assert changed.views.zoom == (0.9, 1.1)
    assert changed.network.widths == (8, 16)
    assert changed.data.download is True
    assert changed.optim.clip_norm == 3.0
    assert changed.data.root is None


@given(st.floats(1e-6, 1.0), st.integers(2, 10_000), st.integers(0, 2**31 - 1))
def test_replacing_fields_keeps_all_others(rate, batch, seed):
    changed = Recipe().replace(optim__learning_rate=rate, optim__batch_size=batch, seed=seed)
    before, after = to_dict(Recipe()), to_dict(changed)
    assert after["optim"].pop("learning_rate") == rate
    assert after["optim"].pop("batch_size") == batch
    assert after.pop("seed") == seed
    for key in ("learning_rate", "batch_size"):
        before["optim"].pop(key)
    before.pop("seed")
    assert before == after


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        recipe("digit")


def test_a_path_gives_the_recipe_for_ones_own_images(tmp_path):
    assert recipe(str(tmp_path)).data.source == str(tmp_path)
    assert recipe("set.npz").data.source == "set.npz"


@pytest.mark.parametrize(
    "changes",
    [{"views__size": 30}, {"views__size": 32, "views__num_local_views": 2, "views__local_size": 18}],
)
def test_views_that_patches_do_not_fill_are_refused_early(changes):
    with pytest.raises(ConfigError, match=r"give a multiple of network.patch_size, 4"):
        Recipe().replace(network__backbone="vit_t", network__patch_size=4, **changes)


def test_models_of_timm_are_no_code_of_ones_own():
    assert own_parts(Recipe().replace(network__backbone="timm:resnet18")) == {}
    assert own_parts(Recipe().replace(network__backbone="mine.py:net")) == {"network.backbone": "mine.py:net"}
