"""One training step: from the views of a batch to moved weights, in every variant of the method."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twist.learn import distributed
from twist.learn.compute import autocast
from twist.learn.networks import TwistNet
from twist.learn.norms import SyncNorm
from twist.learn.objective import LossTerms, teacher_loss, twist_loss
from twist.learn.outputs import Outputs
from twist.learn.own_code import call_own
from twist.learn.schedules import StepValues
from twist.learn.self_label import SelfLabelTerms, self_label_loss
from twist.learn.visits import Visits
from twist.runs.config import ConfigError, Recipe, TeacherConfig

ExtraTerm = Callable[[Sequence[Tensor], Tensor], Tensor]


@dataclass
class TrainState:
    """What a step changes: the network, its optimizer and teacher, the number of steps done, and what it saw of images.

    ``visits`` and ``outputs`` are None where they are not kept.
    """

    network: TwistNet
    optimizer: torch.optim.Optimizer
    teacher: TwistNet | None = None
    step: int = 0
    visits: Visits | None = None
    outputs: Outputs | None = None


@dataclass(frozen=True)
class StepReport:
    """What one step saw, on this process.

    Attributes
    ----------
    total
        What was minimized, the mean over the heads; a scalar.
    terms
        The TWIST terms of the head that speaks; in the self-labelling stage they are only watched.
    self_label
        What that stage learned from; None before it.
    extra
        The person's own term, unweighted; None without one.
    features
        Of all views, before the weights moved; rows view-major.
    logits_of_heads
        Of every head: its logits view by view, in one tensor.
    before_norm_of_heads
        Of every head: what its final norm saw, rows view-major, without gradient.
    source
        The teacher's logits of the two global views; None without one.
    speaking
        Index of the head that speaks, on the device; None with a single head.
    """

    total: Float[Tensor, ""]
    terms: LossTerms
    self_label: SelfLabelTerms | None
    extra: Tensor | None
    features: Float[Tensor, "R D"]
    logits_of_heads: list[Float[Tensor, "V N C"]]
    before_norm_of_heads: list[Float[Tensor, "R C"]]
    source: list[Float[Tensor, "N C"]] | None
    speaking: Tensor | None

    @property
    def logits(self) -> Float[Tensor, "V N C"]:
        """Logits of the head that speaks, view by view; without gradient, and without waiting."""
        return _pick(self.speaking, [logits.detach() for logits in self.logits_of_heads])

    @property
    def global_logits(self) -> Float[Tensor, "2 N C"]:
        """`logits` of the two global views."""
        return _pick(self.speaking, [logits[:2].detach() for logits in self.logits_of_heads])

    @property
    def before_norm(self) -> Float[Tensor, "R C"]:
        """What the final norm of the head that speaks saw, without waiting."""
        return _pick(self.speaking, self.before_norm_of_heads)

    def named(self) -> dict[str, Tensor]:
        """Loss and terms by name, scalars on the device."""
        named = {name: value for name, value in self.terms._asdict().items() if name != "total"}
        named["total"] = self.total
        if self.self_label is not None:
            named["self_label_threshold"] = self.self_label.threshold
            named["self_label_share"] = self.self_label.share
        if self.extra is not None:
            named["extra"] = self.extra
        return named


def over_processes(named: Mapping[str, Tensor]) -> Float[Tensor, " K"]:
    """Named scalars in their order, each the mean over the processes, in one tensor on the device."""
    return distributed.mean(torch.stack([value.detach().float() for value in named.values()]))


def make_teacher(network: TwistNet) -> TwistNet:
    """A teacher that begins as a copy of the network and takes no gradient."""
    groups = [module.group for module in network.modules() if isinstance(module, SyncNorm) and module.group is not None]
    # A group of processes cannot be copied: the teacher's norms join the same ones.
    return copy.deepcopy(network, {id(group): group for group in groups}).requires_grad_(False)


def evaluate_loss(
    state: TrainState,
    views: Sequence[Float[Tensor, "N ch _ _"]],
    recipe: Recipe,
    values: StepValues,
    *,
    extra: ExtraTerm | None = None,
    precision: torch.dtype = torch.float32,
) -> StepReport:
    """The loss of a batch, ready for ``report.total.backward()``.

    Parameters
    ----------
    state
        Network and teacher; norms and the running loss of several heads change as in training.
    views
        Views of the batch, two global ones first; this process's share of it when there are several.
    recipe
        Objective, teacher and self-labelling.
    values
        The stage and the quantile of this step.
    extra
        A person's own term of the views' logits and the features.
    precision
        Number format inside the network; whatever it is, losses are computed in float32 at least.

    Notes
    -----
    Nothing waits for the device.
    """
    network = state.network
    with autocast(views[0].device, precision):
        features, heads = network.ask_heads(views)
        source = None if state.teacher is None else _ask(state.teacher, views[:2], recipe.teacher)
    features = _at_least_float32(features)
    logits_of_heads = [_at_least_float32(head.logits).unflatten(0, (len(views), -1)) for head in heads]
    by_head = [_loss_of_head(logits, source, recipe, values) for logits in logits_of_heads]
    total = torch.stack([total for total, _, _ in by_head]).mean()
    # Which head speaks is known to the device alone: what it says is picked there.
    speaking = network.losses.argmin() if network.more_heads else None
    terms = LossTerms(*(_pick(speaking, values) for values in zip(*(terms for _, terms, _ in by_head), strict=True)))
    taught = [self_label for _, _, self_label in by_head if self_label is not None]
    self_label = SelfLabelTerms(*(_pick(speaking, v) for v in zip(*taught, strict=True))) if taught else None
    own = None
    if extra is not None:
        of_heads = [_own_term(extra, list(logits), features) for logits in logits_of_heads]
        total = total + recipe.objective.extra_weight * torch.stack(of_heads).mean()
        own = _pick(speaking, of_heads)
    # The TWIST loss tells the heads apart in every stage: pseudo labels are easiest where classes have merged.
    network.note_losses(distributed.mean(torch.stack([terms.total.detach() for _, terms, _ in by_head])))
    before_norm = [head.before_norm for head in heads]
    return StepReport(total, terms, self_label, own, features, logits_of_heads, before_norm, source, speaking)


def _pick(speaking: Tensor | None, of_heads: Sequence[Tensor]) -> Tensor:
    """The value of the head that speaks, without waiting for the device that knows which it is."""
    picked = of_heads[0]
    if speaking is not None:
        for number, value in enumerate(of_heads[1:], 1):  # a stack of all heads' logits would be large
            picked = torch.where(speaking == number, value, picked)
    return picked


def move_weights(state: TrainState, loss: Float[Tensor, ""], recipe: Recipe, values: StepValues) -> Float[Tensor, ""]:
    """Backward, the mean gradient of all processes, the update, and the teacher's step after it.

    Returns
    -------
    Tensor
        Norm of the gradient before clipping. When it is not finite, the weights may be poisoned (LARS leaves them).
    """
    weights, biases = state.optimizer.param_groups
    weights["lr"], biases["lr"] = values.learning_rate, values.bias_learning_rate
    weights["weight_decay"] = values.weight_decay
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    distributed.average_gradients(state.network.parameters())
    moved = [parameter for parameter in state.network.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in moved if parameter.grad is not None])
    if recipe.optim.clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(moved, recipe.optim.clip_norm, norm)
    state.optimizer.step()
    if state.teacher is not None:
        follow(state.teacher, state.network, values.teacher_momentum, buffers=recipe.teacher.average_buffers)
    state.step += 1
    return norm


@torch.no_grad()
def follow(teacher: nn.Module, network: nn.Module, momentum: int | float, *, buffers: bool = False) -> None:
    """Move every weight of the teacher toward the network's: ``momentum x teacher + (1 - momentum) x network``.

    Parameters
    ----------
    teacher, network
        Of the same make.
    momentum
        Share of itself that the teacher keeps, 0 to 1.
    buffers
        Whether running statistics are averaged too; the authors' teacher keeps those of its own batches.
    """
    pairs: list[tuple[Tensor, Tensor]] = list(zip(teacher.parameters(), network.parameters(), strict=True))
    if buffers:
        own = zip(teacher.buffers(), network.buffers(), strict=True)
        pairs += [(mine, theirs) for mine, theirs in own if mine.is_floating_point()]
    torch._foreach_lerp_([mine for mine, _ in pairs], [theirs for _, theirs in pairs], 1 - momentum)


def _own_term(extra: ExtraTerm, logits: list[Tensor], features: Tensor) -> Tensor:
    value = call_own("objective.extra", extra, logits, features)
    if not isinstance(value, Tensor) or value.ndim != 0 or not value.is_floating_point():
        what = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ConfigError(f"objective.extra returned {what}: return one scalar tensor made from the logits or features")
    return value


@torch.no_grad()
def _ask(teacher: TwistNet, views: Sequence[Tensor], config: TeacherConfig) -> list[Tensor]:
    teacher.train(not config.evaluation_mode)
    _, heads = teacher.forward_heads(views)
    return list(_at_least_float32(heads[0]).chunk(len(views)))


def _loss_of_head(
    logits: Tensor, source: list[Tensor] | None, recipe: Recipe, values: StepValues
) -> tuple[Tensor, LossTerms, SelfLabelTerms | None]:
    """What is minimized for one head, its TWIST terms, and what the self-labelling stage saw."""
    if not values.self_labelling:
        terms = _twist_terms(logits, source, recipe)
        return terms.total, terms, None
    with torch.no_grad():
        terms = _twist_terms(logits, source, recipe)
    config = recipe.self_label
    self_label = self_label_loss(
        list(logits),
        source=source,
        temperature=recipe.objective.temperature,
        mask_temperature=config.mask_temperature,
        quantile=values.quantile,
        threshold=config.threshold,
        balance_classes=config.balance_classes,
        gather_processes=distributed.gather if config.global_quantile else None,
        mean_over_processes=distributed.mean if config.global_quantile else None,
    )
    return self_label.total, terms, self_label


def gradient_norms(report: StepReport, recipe: Recipe) -> dict[str, Float[Tensor, ""]]:
    """Length (L2) of each weighted term's gradient at the logits of the head that speaks, by the term's name.

    Which term pulls, and how hard: where one is far below the others, its weight is as good as 0. In several processes
    it is the gradient of the joined batch, at the logits of all; all must ask together.
    """
    logits = report.logits.requires_grad_()
    terms = _twist_terms(logits, report.source, recipe)
    config = recipe.objective
    squares: list[Tensor] = []
    weights = {
        "consistency": config.consistency_weight,
        "sharpness": config.sharpness_weight,
        "diversity": config.diversity_weight,
    }
    for name, weight in weights.items():
        logits.grad = None
        getattr(terms, name).backward(retain_graph=True)
        assert logits.grad is not None
        squares.append((weight * logits.grad).square().sum())
    # A process's gradient is so many times its part of the joined batch's as there are processes, whose mean is taken.
    norms = (distributed.mean(torch.stack(squares)) / distributed.world_size()).sqrt()
    return dict(zip(weights, norms, strict=True))


def _twist_terms(logits: Tensor, source: list[Tensor] | None, recipe: Recipe) -> LossTerms:
    config = recipe.objective
    if source is not None:
        return teacher_loss(
            list(logits),
            source,
            temperature=config.temperature,
            consistency_weight=config.consistency_weight,
            sharpness_weight=config.sharpness_weight,
            diversity_weight=config.diversity_weight,
            eps=config.eps,
            mean_over_processes=distributed.mean,
        )
    return twist_loss(
        logits,
        temperature=config.temperature,
        consistency_temperature=config.consistency_temperature,
        consistency_weight=config.consistency_weight,
        sharpness_weight=config.sharpness_weight,
        diversity_weight=config.diversity_weight,
        eps=config.eps,
        mean_over_processes=distributed.mean,
        kernels=recipe.compute.kernels,
    )


def _at_least_float32(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
