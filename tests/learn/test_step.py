"""Whole steps: ten of them as the authors' loop takes them, and what each variant moves."""

import copy

import golden
import numpy as np
import pytest
import torch
from torch import nn

from twist.learn.networks import ProjectionHead, TwistNet
from twist.learn.optim import make_optimizer
from twist.learn.schedules import values_at
from twist.learn.step import TrainState, evaluate_loss, follow, gradient_norms, make_teacher, move_weights
from twist.runs.config import ConfigError, Recipe

TRAJECTORY = 1e-7


class TwoConvs(nn.Module):
    """The backbone of the recorded runs."""

    def __init__(self, first, second):
        super().__init__()
        self.conv1 = nn.Conv2d(3, first, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(second)

    def forward(self, images):
        maps = self.bn2(self.conv2(self.bn1(self.conv1(images)).relu())).relu()
        return maps.mean((2, 3))


def recorded_recipe(meta):
    optim = {
        "optimizer": meta["opt"],
        "epochs": meta["mme_epochs"],
        "batch_size": meta["B"],
        "warmup_epochs": meta["warmup_epochs"],
        "learning_rate": meta["lr"],
        "weight_decay": meta["wd"],
        "final_weight_decay": meta["wd_end"],
    }
    objective = {
        "temperature": meta["tau"],
        "consistency_temperature": None if meta["ema"] else 1.0,  # against a teacher theirs divides by tau as well
        "sharpness_weight": 1 + meta["lam1"],
        "diversity_weight": meta["lam2"],
    }
    labelling = {
        "epochs": meta["epochs"] - meta["mme_epochs"],
        "warmup_epochs": meta["sl_warmup_epochs"],
        "learning_rate": meta["lr_sl"],
        "quantile": (meta["q0"], meta["q1"]),
        "mask_temperature": 1.0,
        "global_quantile": False,
    }
    changes = {f"optim__{name}": value for name, value in optim.items()}
    changes |= {f"objective__{name}": value for name, value in objective.items()}
    changes |= {f"self_label__{name}": value for name, value in labelling.items()}
    if meta["ema"]:
        changes |= {"teacher__enabled": True, "teacher__momentum": (meta["m0"], meta["m1"])}
    return Recipe().replace(**changes)


def recorded_network(case):
    meta = case.meta
    head = ProjectionHead(meta["c2"], meta["hid"], meta["dim"], activation=meta["act"])
    network = TwistNet(TwoConvs(meta["c1"], meta["c2"]), head).double()
    network.load_state_dict({name: torch.tensor(value) for name, value in case.group("init.").items()})
    return network


def checksums(network):
    values = [parameter.detach() for parameter in network.parameters()]
    return np.array([(v.sum(), v.abs().sum(), v.norm()) for v in values])


@pytest.mark.parametrize("case", golden.files("j_end_to_end_*.npz"))
def test_whole_runs_follow_the_authors_step_by_step(case):
    meta, arrays = case.meta, case.arrays
    recipe, network = recorded_recipe(meta), recorded_network(case)
    assert [name for name, _ in network.named_parameters()] == list(arrays["param_names"])
    teacher = make_teacher(network) if meta["ema"] else None
    state = TrainState(network.train(), make_optimizer(network, recipe.optim), teacher)

    def close(actual, name, atol=TRAJECTORY):
        np.testing.assert_allclose(actual, arrays[name] if isinstance(name, str) else name, rtol=0, atol=atol)

    for step in range(meta["steps"]):
        values = values_at(step, recipe, meta["n_iter"])
        assert values.learning_rate == pytest.approx(arrays["log_lr"][step], abs=1e-12)
        assert values.weight_decay == pytest.approx(arrays["log_wd"][step], abs=1e-12)
        views = [*torch.tensor(arrays["global_views"][step]).double()]
        views += [*torch.tensor(arrays["local_views"][step]).double()] if meta["L"] else []
        report = evaluate_loss(state, views, recipe, values)
        close(report.total.item(), arrays["log_final"][step])
        if report.self_label is None:
            close([term.item() for term in report.terms[1:]], [arrays[f"log_{n}"][step] for n in ("kl", "eh", "he")])
        else:
            close(report.self_label.share.item(), arrays["log_frac"][step], golden.SHARES)
            close(report.self_label.threshold.item(), arrays["log_threshold"][step])
        move_weights(state, report.total, recipe, values)
        close(checksums(network), arrays["checksums"][step])
        if teacher is not None:
            close(checksums(teacher), arrays["teacher_checksums"][step])
        for name, value in case.group(f"step{step + 1}.").items():
            close(network.state_dict()[name], value)
    for name, value in case.group("final.").items():
        close(network.state_dict()[name], value)
    for name, value in case.group("teacher_final.").items():
        close(teacher.state_dict()[name], value)
    network.eval()
    features, logits = network(torch.tensor(arrays["global_views"][-1][0]).double())
    close(logits.detach(), "eval_logits")
    close(features.detach(), "eval_features")


@pytest.mark.parametrize("case", golden.cases("e_momentum.npz"))
def test_the_teacher_follows_as_the_authors_does(case):
    def holder(prefix):
        names = [name for name in case.arrays if name.startswith(f"{prefix}_p")]
        return nn.ParameterList([nn.Parameter(torch.tensor(case.arrays[name])) for name in names])

    teacher, student, after = holder("teacher"), holder("student"), holder("teacher_after")
    follow(teacher, student, case.meta["m"])
    for mine, expected in zip(teacher, after, strict=True):
        np.testing.assert_allclose(mine.detach(), expected.detach(), rtol=0, atol=golden.FLOAT64)


def small_state(recipe, seed=0):
    torch.manual_seed(seed)
    network = TwistNet(TwoConvs(4, 6), ProjectionHead(6, 8, 5))
    teacher = make_teacher(network) if recipe.teacher.enabled else None
    return TrainState(network.train(), make_optimizer(network, recipe.optim), teacher)


def batch(local=0, samples=8):
    generator = torch.Generator().manual_seed(3)
    shapes = [(samples, 3, 8, 8)] * 2 + [(samples, 3, 4, 4)] * local
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def test_the_teacher_takes_no_gradient_and_moves_after_the_student():
    recipe = Recipe().replace(teacher__enabled=True, teacher__momentum=(0.75, 1.0), optim__warmup_epochs=0)
    state = small_state(recipe)
    values = values_at(0, recipe, 10)
    before = copy.deepcopy(state.teacher)
    move_weights(state, evaluate_loss(state, batch(local=2), recipe, values).total, recipe, values)
    for mine, was, student in zip(
        state.teacher.parameters(), before.parameters(), state.network.parameters(), strict=True
    ):
        assert mine.grad is None
        torch.testing.assert_close(mine, 0.75 * was + 0.25 * student)


@pytest.mark.parametrize("evaluation_mode", [False, True])
def test_the_teachers_statistics_are_its_own_or_untouched(evaluation_mode):
    recipe = Recipe().replace(
        teacher__enabled=True, teacher__evaluation_mode=evaluation_mode, teacher__average_buffers=evaluation_mode
    )
    state = small_state(recipe)
    before = {name: value.clone() for name, value in state.teacher.named_buffers()}
    evaluate_loss(state, batch(), recipe, values_at(5, recipe, 10))
    moved = [name for name, value in state.teacher.named_buffers() if not torch.equal(value, before[name])]
    assert (moved == []) == evaluation_mode


def test_buffers_are_averaged_only_when_asked():
    for average in (False, True):
        recipe = Recipe().replace(teacher__enabled=True, teacher__average_buffers=average, teacher__momentum=(0.5, 0.5))
        state, values = small_state(recipe), values_at(5, recipe, 10)
        report = evaluate_loss(state, batch(), recipe, values)
        own = state.teacher.projection_heads.norm.running_var.clone()
        move_weights(state, report.total, recipe, values)
        student = state.network.projection_heads.norm.running_var
        expected = (own + student) / 2 if average else own
        torch.testing.assert_close(state.teacher.projection_heads.norm.running_var, expected)


def test_a_teacher_in_evaluation_mode_must_average_its_statistics():
    with pytest.raises(ConfigError, match=r"give teacher.average_buffers=true with it"):
        Recipe().replace(teacher__enabled=True, teacher__evaluation_mode=True)


def test_an_own_temperature_of_the_consistency_is_refused_with_a_teacher():
    with pytest.raises(ConfigError, match="against a teacher all logits have one temperature"):
        Recipe().replace(teacher__enabled=True, objective__consistency_temperature=0.5)


def test_in_every_stage_the_twist_loss_tells_which_head_speaks():
    recipe = Recipe().replace(optim__epochs=1, self_label__epochs=1, network__num_heads=2, network__num_classes=5)
    torch.manual_seed(0)
    network = TwistNet(TwoConvs(4, 6), ProjectionHead(6, 8, 5), [ProjectionHead(6, 8, 5)]).train()
    state = TrainState(network, make_optimizer(network, recipe.optim))
    plain = evaluate_loss(state, batch(), recipe, values_at(0, recipe, 10))
    noted = network.losses.clone()
    network.losses.zero_()
    labelled = evaluate_loss(state, batch(), recipe, values_at(15, recipe, 10))
    assert labelled.self_label is not None and labelled.total != plain.total
    torch.testing.assert_close(network.losses, noted)


def test_a_gradient_that_is_no_number_is_told():
    recipe = Recipe()
    state, values = small_state(recipe), values_at(5, recipe, 10)
    report = evaluate_loss(
        state, batch(), recipe, values, extra=lambda logits, features: (0 * features).abs().sqrt().sum()
    )
    assert report.total.isfinite()
    assert not move_weights(state, report.total, recipe, values).isfinite()


def test_the_teacher_labels_in_the_second_stage():
    recipe = Recipe().replace(teacher__enabled=True, optim__epochs=1, self_label__epochs=1)
    state, values = small_state(recipe), values_at(10, recipe, 10)
    views = batch(local=1)
    with torch.no_grad():
        for parameter in state.teacher.projection_heads.last_linear.parameters():
            parameter.zero_()
        state.teacher.projection_heads.norm = nn.Identity()
        state.teacher.projection_heads.last_linear.bias[3] = 5.0
    report = evaluate_loss(state, views, recipe.replace(self_label__quantile=(0.0, 0.0)), values._replace(quantile=0.0))
    targets = [report.logits[0], report.logits[2]]  # equally confident views: the second speaks, the first is taught
    expected = torch.stack([-view.log_softmax(1)[:, 3].mean() for view in targets]).mean()
    torch.testing.assert_close(report.total, expected)
    assert report.self_label.share == 1


@pytest.mark.parametrize("changes", [{}, {"teacher__enabled": True}, {"objective__consistency_temperature": 1.0}])
def test_gradient_norms_are_those_of_each_weighted_term(changes):
    weights = {"consistency": 0.5, "sharpness": 1.0, "diversity": 2.0}
    changes = {**changes, "objective__temperature": 0.5} | {f"objective__{n}_weight": w for n, w in weights.items()}
    recipe = Recipe().replace(**changes)
    found = gradient_norms(evaluate_loss(small_state(recipe), batch(2), recipe, values_at(0, recipe, 10)), recipe)
    for name, weight in weights.items():
        report = evaluate_loss(small_state(recipe), batch(2), recipe, values_at(0, recipe, 10))
        (gradient,) = torch.autograd.grad(getattr(report.terms, name), report.logits_of_heads[0])
        assert found[name].item() == pytest.approx(weight * gradient.norm().item(), rel=1e-5)


def test_asking_for_gradient_norms_leaves_the_steps_own_gradients_alone():
    recipe = Recipe()
    state, values = small_state(recipe), values_at(0, recipe, 10)
    report = evaluate_loss(state, batch(), recipe, values)
    gradient_norms(report, recipe)
    assert all(parameter.grad is None for parameter in state.network.parameters())
    move_weights(state, report.total, recipe, values)
    alone = small_state(recipe)
    move_weights(alone, evaluate_loss(alone, batch(), recipe, values).total, recipe, values)
    for mine, theirs in zip(state.network.parameters(), alone.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_report_speaks_for_the_head_that_speaks():
    recipe = Recipe()
    torch.manual_seed(0)
    network = TwistNet(TwoConvs(4, 6), ProjectionHead(6, 8, 5), [ProjectionHead(6, 8, 5)]).train()
    network.losses.copy_(torch.tensor([1.0, -1.0]))
    state = TrainState(network, make_optimizer(network, recipe.optim))
    report = evaluate_loss(state, batch(), recipe, values_at(0, recipe, 10))
    assert torch.equal(report.global_logits, report.logits_of_heads[1][:2])
    assert torch.equal(report.before_norm, report.before_norm_of_heads[1])
    normed = torch.nn.functional.batch_norm(report.before_norm, None, None, training=True)
    torch.testing.assert_close(normed, report.logits_of_heads[1].flatten(0, 1))


@pytest.mark.parametrize("speaking", [0, 1, 2])
def test_the_head_that_speaks_is_picked_even_beside_heads_that_are_no_numbers(speaking):
    recipe = Recipe()
    torch.manual_seed(0)
    network = TwistNet(TwoConvs(4, 6), ProjectionHead(6, 8, 5), [ProjectionHead(6, 8, 5) for _ in range(2)]).train()
    network.losses.copy_(1 - torch.eye(3)[speaking])
    for number, head in enumerate([network.projection_heads, *network.more_heads]):
        if number != speaking:
            torch.nn.init.constant_(head.last_linear.bias, torch.nan)
    state = TrainState(network, make_optimizer(network, recipe.optim))
    report = evaluate_loss(state, batch(2), recipe, values_at(0, recipe, 10))
    assert report.logits.isfinite().all() and not report.logits.requires_grad
    assert torch.equal(report.logits, report.logits_of_heads[speaking])
    assert torch.equal(report.global_logits, report.logits[:2])
    assert report.terms.total.isfinite() and not report.total.isfinite()


def test_a_persons_own_term_is_added_with_its_weight():
    recipe = Recipe().replace(objective__extra="own.py:term", objective__extra_weight=0.25)
    values = values_at(0, recipe, 10)
    plain = evaluate_loss(small_state(recipe), batch(), recipe, values)
    report = evaluate_loss(
        small_state(recipe), batch(), recipe, values, extra=lambda logits, features: features.square().mean()
    )
    torch.testing.assert_close(report.total, plain.total + 0.25 * plain.features.square().mean())
    assert report.named()["extra"].item() == pytest.approx(plain.features.square().mean().item())


def test_local_views_do_not_change_the_global_views_features():
    recipe = Recipe()
    values = values_at(0, recipe, 10)
    two = evaluate_loss(small_state(recipe), batch(), recipe, values)
    four = evaluate_loss(small_state(recipe), batch(local=2), recipe, values)
    torch.testing.assert_close(four.features[: len(two.features)], two.features)
    assert len(four.logits) == 4 and len(four.features) == 2 * len(two.features)
