"""Self-labelling: the network's own confident answers to one view teach the other views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class SelfLabelTerms(NamedTuple):
    """The self-labelling loss and what it learned from.

    Attributes
    ----------
    total
        What is minimized: cross-entropy of the taught views against the pseudo labels, in nats.
    threshold
        Confidence that a sample had to exceed.
    share
        Share of this process's samples that taught; 0 means an empty mask: nothing was learned in this step.
    """

    total: Float[Tensor, ""]
    threshold: Float[Tensor, ""]
    share: Float[Tensor, ""]


class PseudoLabels(NamedTuple):
    """Which samples teach, and what.

    Attributes
    ----------
    labels
        Class of each sample, from the more confident of its two global views.
    mask
        Whether the sample is confident enough to teach.
    from_first
        Whether that view was the first one; then the second is taught, and the other way round.
    threshold
        Confidence that had to be exceeded.
    """

    labels: Int64[Tensor, " N"]
    mask: Bool[Tensor, " N"]
    from_first: Bool[Tensor, " N"]
    threshold: Float[Tensor, ""]


def self_label_loss(
    logits: Sequence[Float[Tensor, "N C"]],
    *,
    source: Sequence[Float[Tensor, "N C"]] | None = None,
    temperature: int | float = 1.0,
    mask_temperature: int | float | None = None,
    quantile: int | float = 0.5,
    threshold: int | float = 0.0,
    balance_classes: bool = False,
    gather_processes: Callable[[Tensor], Tensor] | None = None,
    mean_over_processes: Callable[[Tensor], Tensor] | None = None,
) -> SelfLabelTerms:
    """The loss of the self-labelling stage, in nats: the confident samples' classes become their labels.

    Each sample's more confident global view says its class; its other global view and all local views are taught. It
    sharpens what was learned and invents nothing: begun on a collapsed network it confirms the collapse.

    Parameters
    ----------
    logits
        The student's, one tensor per view, global views first.
    source
        Logits of the two global views that say the class, the teacher's; none asks the student itself.
    temperature
        Divisor of the source's logits in the confidence, of which the threshold is taken.
    mask_temperature
        Divisor of the logits in the confidence that is compared with the threshold; none means `temperature`. The
        authors' is 1 whatever their temperature, so that with 0.5 far fewer samples teach than the quantile says.
    quantile
        Share of the samples that teach, the most confident first; 0 uses the fixed threshold.
    threshold
        Confidence to exceed when the quantile is 0.
    balance_classes
        Weigh every sample by the inverse of how often its class is taught, so that all classes count alike.
    gather_processes
        Concatenation of a tensor over the processes that share a batch, `twist.learn.distributed.gather`: the quantile
        is then one of the joined batch. None, as the authors do, takes this process's samples alone.
    mean_over_processes
        Mean of a tensor over the processes, `twist.learn.distributed.mean`: every teaching sample of the joined batch
        then weighs the same, and gradients averaged over the processes are those of the joined batch.

    Returns
    -------
    SelfLabelTerms
        ``total`` is differentiable through the taught views alone; 0, with zero gradient, where no sample teaches.

    Raises
    ------
    ValueError
        For fewer than two views, a source of other than two, or a quantile outside 0 to 1.

    References
    ----------
    arXiv 2110.07402; method section 3.3.

    Examples
    --------
    >>> sure, torn = torch.tensor([9.0, 0.0]), torch.tensor([0.2, 0.0])
    >>> terms = self_label_loss([torch.stack([sure, torn]), torch.stack([torn, torn])], quantile=0.5)
    >>> round(terms.total.item(), 4), terms.share.item()  # the sure view teaches the torn one: log(1 + exp(-0.2))
    (0.5981, 0.5)
    """
    source = logits[:2] if source is None else source
    if len(logits) < 2 or len(source) != 2:
        raise ValueError(
            f"{len(logits)} views, {len(source)} in the source: give two global views or more, and a source of two"
        )
    chosen = choose_pseudo_labels(
        source,
        temperature=temperature,
        mask_temperature=mask_temperature,
        quantile=quantile,
        threshold=threshold,
        gather_processes=gather_processes,
    )
    other = torch.where(chosen.from_first[:, None], logits[1], logits[0])
    losses = [
        masked_cross_entropy(
            view,
            chosen.labels,
            chosen.mask,
            balance_classes=balance_classes,
            mean_over_processes=mean_over_processes,
        )
        for view in (other, *logits[2:])
    ]
    share = chosen.mask.to(losses[0].dtype).mean()
    return SelfLabelTerms(torch.stack(losses).mean(), chosen.threshold, share)


@torch.no_grad()
def choose_pseudo_labels(
    source: Sequence[Float[Tensor, "N C"]],
    *,
    temperature: int | float = 1.0,
    mask_temperature: int | float | None = None,
    quantile: int | float = 0.5,
    threshold: int | float = 0.0,
    gather_processes: Callable[[Tensor], Tensor] | None = None,
) -> PseudoLabels:
    """The class that each sample's more confident view says, and whether the sample may teach.

    Parameters are those of `self_label_loss`. Where both views are equally confident the second one speaks. A sample
    teaches when its confidence lies strictly above the threshold, so with quantile 1 all but the least confident do.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile is {quantile}: give the share of the samples that teach, 0 to 1")
    first, second = (_confidence(view, temperature) for view in source)
    confidence = torch.maximum(first, second)
    if quantile:
        everyone = confidence if gather_processes is None else gather_processes(confidence)
        rank = min(int(quantile * len(everyone)), len(everyone) - 1)
        limit = everyone.sort(descending=True).values[rank]
    else:
        limit = torch.full_like(confidence[0], threshold)
    from_first = first > second
    spoken: Tensor = torch.where(from_first[:, None], source[0], source[1])
    if mask_temperature is not None and mask_temperature != temperature:
        confidence = _confidence(spoken, mask_temperature)
    return PseudoLabels(spoken.argmax(1), confidence > limit, from_first, limit)


def masked_cross_entropy(
    logits: Float[Tensor, "N C"],
    labels: Int64[Tensor, " N"],
    mask: Bool[Tensor, " N"],
    *,
    balance_classes: bool = False,
    mean_over_processes: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the samples of a mask, in nats; 0, with zero gradient, when there are none.

    Parameters
    ----------
    logits, labels, mask
        What is taught, the classes, and who counts.
    balance_classes
        Weigh every sample by the inverse of how often its class stands under the mask, so that all classes count
        alike.
    mean_over_processes
        Mean over processes, of the numbers of samples; see `self_label_loss`.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weight = mask.to(wide.dtype)
    if balance_classes:
        counts = torch.zeros_like(wide[0]).index_add_(0, labels, weight)
        if mean_over_processes is not None:
            counts = mean_over_processes(counts)
        weight = weight / torch.where(counts > 0, counts, 1.0)[labels]
    # A mask of weights instead of an index: nothing waits for the device to know how many samples there are.
    losses = torch.nn.functional.cross_entropy(wide, labels, reduction="none")
    total = weight.sum()
    if mean_over_processes is not None:
        total = mean_over_processes(total)
    return (weight * losses).sum() / torch.where(total > 0, total, 1.0)


def _confidence(logits: Tensor, temperature: int | float) -> Tensor:
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (wide / temperature).softmax(1).amax(1)
