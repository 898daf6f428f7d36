"""The numbers in which a collapse shows, from logits; summaries of these and of features; pure, without gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn import geometry, information

# The rank's cost grows with the cube of the rows; a fixed number also gives every run the same cap.
BATCH_RANK_ROWS, IMAGES_RANK_ROWS = 256, 512


@torch.no_grad()
def class_usage(logits: Float[Tensor, "N C"]) -> Float[Tensor, " C"]:
    """Share of the samples assigned to each class.

    Even: all classes work; a few large shares: partial collapse. It sees only the winner of each sample: flat and
    sharp distributions look alike, so read `twist.learn.information.conditional_entropy` next.

    Returns
    -------
    Tensor
        Shares 0 to 1 that sum to 1.

    Examples
    --------
    >>> class_usage(torch.eye(4)), class_usage(torch.eye(4)[[0, 0]])
    (tensor([0.2500, 0.2500, 0.2500, 0.2500]), tensor([1., 0., 0., 0.]))
    """
    winners = logits.argmax(1)
    # Not `torch.bincount`, which waits for a GPU twice to learn how many bins there are.
    counts = torch.zeros_like(logits[0], dtype=torch.int64).index_add_(0, winners, torch.ones_like(winners))
    return counts.to(logits.dtype) / len(logits)


@torch.no_grad()
def dead_classes(usage: Float[Tensor, " C"], *, threshold: int | float = 0.0) -> Float[Tensor, ""]:
    """Number of classes whose share of the assignments is at most the threshold; 0 means never assigned.

    A batch cannot use more classes than it has samples: with C near N or above, some are idle in any batch.

    Returns
    -------
    Tensor
        Whole number, 0 to C.

    Examples
    --------
    >>> dead_classes(class_usage(torch.eye(4))), dead_classes(class_usage(torch.eye(4)[[0, 0]]))
    (tensor(0.), tensor(3.))
    """
    return (usage <= threshold).sum().to(usage.dtype)


@torch.no_grad()
def largest_class_share(usage: Float[Tensor, " C"]) -> Float[Tensor, ""]:
    """Share of the samples that the fullest class takes: 1/C when balanced, near 1 in the one-class collapse.

    Returns
    -------
    Tensor
        1/C to 1.

    Examples
    --------
    >>> largest_class_share(class_usage(torch.eye(4))), largest_class_share(class_usage(torch.eye(4)[[0, 0]]))
    (tensor(0.2500), tensor(1.))
    """
    return usage.max()


@torch.no_grad()
def agreement(logits: Float[Tensor, "N C"], other: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Share of the samples whose two views fall into the same class.

    It should rise far above 1/C. The one-class collapse reaches 1 as well: read the mutual information beside it.

    Returns
    -------
    Tensor
        0 to 1.

    Examples
    --------
    >>> agreement(torch.eye(4), torch.eye(4)), agreement(torch.eye(4), torch.eye(4).flip(0))
    (tensor(1.), tensor(0.))
    """
    return (logits.argmax(1) == other.argmax(1)).to(logits.dtype).mean()


@torch.no_grad()
def row_std(logits: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Spread of one sample's logits over the classes: mean over the samples of the biased standard deviation.

    Near 1 in a healthy run with a final norm. Near 0 every sample's distribution is flat, whatever the columns do:
    the earliest sign of the uniform collapse, which the final norm hides from `column_std`.

    Returns
    -------
    Tensor
        0 upward, in units of the logits, before the temperature.

    Examples
    --------
    >>> healthy = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> row_std(healthy), row_std(healthy[:, [0, 0]])
    (tensor(1.), tensor(0.))
    """
    return logits.std(1, correction=0).mean()


@torch.no_grad()
def column_std(logits: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Spread of one class's logit over the samples: mean over the classes of the biased standard deviation.

    1 by construction behind a final norm in training; without one, near 0 when all samples look alike to the head.

    Returns
    -------
    Tensor
        0 upward, in units of the logits, before the temperature.

    Examples
    --------
    >>> healthy = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> column_std(healthy), column_std(healthy[[0, 0]])
    (tensor(1.), tensor(0.))
    """
    return logits.std(0, correction=0).mean()


@torch.no_grad()
def summarize(
    logits: Sequence[Float[Tensor, "N C"]],
    features: Float[Tensor, "R D"] | None = None,
    *,
    temperature: int | float = 1.0,
    beside: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """The collapse numbers of a training batch, by glossary name without prefix.

    Parameters
    ----------
    logits
        One tensor per view; agreement is that of the first two.
    features
        Features of the views, first view first; none leaves out the numbers made from them.
    temperature
        Divisor of the logits in the perplexities.
    beside
        Scalars by name that come from the device in the same transfer.

    Returns
    -------
    dict
        ``agreement``, ``row_std``, ``column_std``, ``class_perplexity``, ``sample_perplexity``, ``dead_classes``,
        ``largest_class_share``, with features ``feature_std``, ``dead_units``, ``effective_rank``, ``alignment`` and
        ``uniformity``, and what is to stand beside them.

    Notes
    -----
    As in the loss every view has its own mean distribution, and the perplexities are those of the views' mean
    entropies. Usage and spreads are taken over the rows of all views together, as the final norm sees them. The
    effective rank is that of at most 256 evenly spread rows, the uniformity that of as many samples in their first
    view, the alignment that of the first two views: cheap at any batch size. In several processes it is what this one
    sees.

    Examples
    --------
    >>> healthy = summarize([100 * torch.eye(4), 100 * torch.eye(4)])
    >>> healthy["agreement"], round(healthy["class_perplexity"], 3), healthy["dead_classes"]
    (1.0, 4.0, 0.0)
    >>> collapsed = summarize([100 * torch.eye(4)[[0, 0]]] * 2)
    >>> collapsed["agreement"], round(collapsed["class_perplexity"], 3), collapsed["dead_classes"]
    (1.0, 1.0, 3.0)
    """
    views = [torch.log_softmax(view.float() / temperature, 1) for view in logits]
    rows = torch.cat([view.float() for view in logits])
    usage = class_usage(rows)
    return _as_floats(
        agreement=agreement(logits[0], logits[1]),
        row_std=row_std(rows),
        column_std=column_std(rows),
        class_perplexity=information.perplexity(torch.stack([*map(information.marginal_entropy, views)]).mean()),
        sample_perplexity=information.perplexity(torch.stack([*map(information.conditional_entropy, views)]).mean()),
        dead_classes=dead_classes(usage),
        largest_class_share=largest_class_share(usage),
        **({} if features is None else _of_features_of_views(features.float(), len(logits[0]))),
        **(beside or {}),
    )


def _of_features_of_views(features: Tensor, num_samples: int) -> dict[str, Tensor]:
    first, second = features[:num_samples], features[num_samples : 2 * num_samples]
    return {
        "feature_std": geometry.feature_std(features),
        "dead_units": geometry.dead_units(features),
        "effective_rank": geometry.effective_rank(evenly(features, BATCH_RANK_ROWS)),
        "alignment": geometry.alignment(first, second),
        "uniformity": geometry.uniformity(evenly(first, BATCH_RANK_ROWS)),
    }


@torch.no_grad()
def summarize_images(logits: Float[Tensor, "M C"], *, temperature: int | float = 1.0) -> dict[str, float]:
    """The collapse numbers of one set of images, by glossary name without prefix: the summary of a snapshot.

    Parameters
    ----------
    logits
        The network's outputs.
    temperature
        Divisor of the logits in the entropies.

    Returns
    -------
    dict
        ``conditional_entropy``, ``marginal_entropy``, ``mutual_information`` in nats, ``class_perplexity``,
        ``sample_perplexity``, ``dead_classes``, ``largest_class_share``, ``row_std``.

    Examples
    --------
    >>> round(summarize_images(100 * torch.eye(4))["mutual_information"], 3)
    1.386
    >>> round(summarize_images(torch.zeros(4, 4))["mutual_information"], 3)
    0.0
    """
    log_probs = torch.log_softmax(logits.float() / temperature, 1)
    conditional = information.conditional_entropy(log_probs)
    marginal = information.marginal_entropy(log_probs)
    usage = class_usage(log_probs)
    return _as_floats(
        conditional_entropy=conditional,
        marginal_entropy=marginal,
        mutual_information=marginal - conditional,
        class_perplexity=information.perplexity(marginal),
        sample_perplexity=information.perplexity(conditional),
        dead_classes=dead_classes(usage),
        largest_class_share=largest_class_share(usage),
        row_std=row_std(logits.float()),
    )


@torch.no_grad()
def summarize_features(features: Float[Tensor, "M D"]) -> tuple[dict[str, float], Float[Tensor, " K"]]:
    """The collapse numbers of the features of one set of images, and their spectrum, of which the rank is one.

    Returns
    -------
    dict
        ``feature_std``, ``dead_units``, ``effective_rank``, the rank of at most 512 evenly spread images, and
        ``centered_rank``, the rank of what differs between them: their mean is taken off first.
    Tensor
        The spectrum of the same images, as `twist.learn.geometry.spectrum`.

    Examples
    --------
    >>> numbers, spectrum = summarize_features(torch.eye(4))
    >>> round(numbers["effective_rank"], 3), spectrum
    (4.0, tensor([0.2500, 0.2500, 0.2500, 0.2500]))
    """
    features = features.float()
    rows = evenly(features, IMAGES_RANK_ROWS)
    spectrum = geometry.spectrum(rows)
    numbers = _as_floats(
        feature_std=geometry.feature_std(features),
        dead_units=geometry.dead_units(features),
        effective_rank=geometry.rank_of(spectrum),
        centered_rank=geometry.effective_rank(rows - rows.mean(0)),
    )
    return numbers, spectrum


def evenly(rows: Float[Tensor, "N D"], most: int) -> Float[Tensor, "K D"]:
    """At most so many rows, every second, third, … of them."""
    return rows[:: -(-len(rows) // most)]


def _as_floats(**values: Tensor) -> dict[str, float]:
    # One stack and one list: a GPU is waited for once, not once per number.
    return dict(zip(values, torch.stack([value.float() for value in values.values()]).tolist(), strict=True))
