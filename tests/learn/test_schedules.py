import golden
import numpy as np
import pytest

from twist.learn.schedules import cosine, values_at
from twist.runs.config import Recipe


def recipe_of(meta):
    """The recipe whose schedules are those of a recorded case."""
    whole = meta.get("style") == "self_label"  # the first stage's rates hold in the stage that takes its place
    optim = {
        "epochs": meta["effective_mme_epochs"],
        "warmup_epochs": meta["effective_warmup_epochs"],
        "learning_rate": meta["scaled_lr"],
        "bias_learning_rate": 1 / meta.get("lr_wbr", 1.0),
        "weight_decay": meta["wd"],
        "final_weight_decay": meta["wd_end"],
    }
    labelling = {
        "epochs": 0 if whole else meta["quantile_epochs"],
        "warmup_epochs": meta["sl_warmup_epochs"],
        "learning_rate": meta["scaled_lr_sl"],
        "quantile": (meta["q0"], meta["q1"]),
    }
    changes = {f"optim__{name}": value for name, value in optim.items()}
    changes |= {f"self_label__{name}": value for name, value in labelling.items()}
    return Recipe().replace(**changes, teacher__momentum=(meta["m0"], meta["m1"]))


@pytest.mark.parametrize("case", golden.cases("g_schedules.npz"))
def test_every_schedule_is_the_authors(case):
    meta, arrays = case.meta, case.arrays
    recipe = recipe_of(meta)
    values = [values_at(step, recipe, meta["n_iter"]) for step in range(len(arrays["lr_group0"]))]
    close = {"rtol": 0, "atol": golden.FLOAT64}
    np.testing.assert_allclose([v.learning_rate for v in values], arrays["lr_group0"], **close)
    np.testing.assert_allclose([v.bias_learning_rate for v in values], arrays["lr_group1"], **close)
    np.testing.assert_allclose([v.weight_decay for v in values], arrays["weight_decay"], **close)
    first = len(arrays["momentum"])
    np.testing.assert_allclose([v.teacher_momentum for v in values[:first]], arrays["momentum"], **close)
    if meta.get("style") != "self_label":
        np.testing.assert_allclose([v.quantile for v in values[first:]], arrays["quantile"], **close)
        assert [v.self_labelling for v in values] == [step >= first for step in range(len(values))]
    else:
        rising = [cosine(step, len(values), meta["q0"], meta["q1"]) for step in range(len(values))]
        np.testing.assert_allclose(rising, arrays["quantile"], **close)


@pytest.mark.parametrize("case", golden.cases("g_schedules.npz", "cos"))
def test_the_cosine_is_the_authors(case):
    warm = case.meta["warmup_epochs"] * case.meta["n_iter"]
    wave = case.arrays[""][warm:]
    ours = [cosine(step, len(wave), case.meta["base"], case.meta["final"]) for step in range(len(wave))]
    np.testing.assert_allclose(ours, wave, rtol=0, atol=golden.FLOAT64)


def short(**changes):
    return Recipe().replace(**changes)


def test_the_rate_rises_from_zero_to_its_peak_and_falls_to_its_end():
    recipe = short(
        optim__epochs=20, optim__warmup_epochs=2.5, optim__learning_rate=0.4, optim__final_learning_rate=0.01
    )
    rates = [values_at(step, recipe, 10).learning_rate for step in range(201)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.4) == rates[25]
    assert all(a < b for a, b in zip(rates[:25], rates[1:26], strict=True))
    assert all(a > b for a, b in zip(rates[25:-1], rates[26:], strict=True))
    assert rates[200] == pytest.approx(0.004)


def test_a_warm_up_that_would_not_end_takes_half_of_the_run():
    recipe = short(optim__epochs=4, optim__warmup_epochs=5, optim__learning_rate=1.0)
    assert values_at(20, recipe, 10).learning_rate == 1.0


def test_without_warm_up_the_first_step_has_the_peak():
    recipe = short(optim__warmup_epochs=0, optim__learning_rate=0.3)
    assert values_at(0, recipe, 7).learning_rate == pytest.approx(0.3)


def test_the_second_stage_has_a_rate_and_a_warm_up_of_its_own():
    recipe = short(optim__epochs=6, self_label__epochs=6, self_label__learning_rate=0.02, self_label__warmup_epochs=2)
    values = [values_at(step, recipe, 10) for step in range(120)]
    assert values[60].learning_rate == 0 and values[80].learning_rate == pytest.approx(0.02)
    assert [v.self_labelling for v in values].index(True) == 60
    assert values[60].quantile == pytest.approx(0.5) and values[119].quantile == pytest.approx(0.6, abs=0.01)


def test_the_teacher_keeps_its_last_momentum_in_the_second_stage():
    recipe = short(optim__epochs=6, self_label__epochs=6, teacher__momentum=(0.9, 0.99))
    assert values_at(0, recipe, 10).teacher_momentum == pytest.approx(0.9)
    assert {values_at(step, recipe, 10).teacher_momentum for step in range(60, 120)} == {0.99}


# The side of the views


def test_views_grow_in_three_equal_stages_and_stay_at_their_side():
    recipe = Recipe().replace(views__start_size=20, views__size=32, views__grow_epochs=6, optim__epochs=8)
    sides = [values_at(step, recipe, 2).view_size for step in range(16)]
    assert sides == [20] * 4 + [24] * 4 + [28] * 4 + [32] * 4


@pytest.mark.parametrize(("start", "end"), [(16, 32), (24, 32), (29, 32), (32, 32), (5, 7), (160, 224)])
def test_growing_views_begin_and_end_as_told_in_at_most_four_sides(start, end):
    recipe = Recipe().replace(views__start_size=start, views__size=end, views__grow_epochs=10)
    sides = [values_at(step, recipe, 7).view_size for step in range(100)]
    assert (sides[0], sides[-1]) == (start, end)
    assert sides == sorted(sides) and len(set(sides)) <= 4
    assert {values_at(step, recipe, 7).view_size for step in range(70, 100)} == {end}


def test_a_growth_that_would_not_end_takes_half_of_the_run():
    recipe = Recipe().replace(views__start_size=16, views__grow_epochs=100, optim__epochs=3, self_label__epochs=1)
    sides = [values_at(step, recipe, 6).view_size for step in range(24)]
    assert sides[:12] == [16] * 4 + [20] * 4 + [28] * 4 and set(sides[12:]) == {32}


def test_views_that_do_not_grow_have_one_side():
    assert values_at(0, Recipe(), 10).view_size == 32
