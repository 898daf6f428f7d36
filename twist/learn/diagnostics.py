"""The numbers in which a collapse shows, from logits and features; pure, without gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn import information

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
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1]).to(logits.dtype) / len(logits)


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
def feature_std(features: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Spread of the features over the samples: mean over the dimensions of the biased standard deviation.

    Near 0 the backbone gives every sample the same features. Its scale is the network's own: follow its course, do
    not compare it between networks; for the number of directions in use read `effective_rank`.

    Returns
    -------
    Tensor
        0 upward, in units of the features.

    Examples
    --------
    >>> healthy = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> feature_std(healthy), feature_std(healthy[[0, 0]])
    (tensor(1.), tensor(0.))
    """
    return features.std(0, correction=0).mean()


@torch.no_grad()
def effective_rank(features: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Number of directions the features span: exp of the entropy of their singular values, uncentred (RankMe).

    Far below D: dimensional collapse. A falling value on fixed images is the warning; a low value on few samples is
    none, for it cannot exceed min(N, D). A common offset of all features counts as one strong direction.

    Returns
    -------
    Tensor
        1 (one direction) to min(N, D); 0 for features that are all 0, NaN when one is not finite.

    Notes
    -----
    The singular values are the roots of the eigenvalues of the smaller Gram matrix, which is much cheaper than their
    decomposition. In float64, because the root turns the rounding of float32 into singular values of 3e-4 of the
    largest: hundreds of them, which do not exist, would be counted in.

    References
    ----------
    arXiv 2210.02885, equation 1, without its 1e-7.

    Examples
    --------
    >>> [round(effective_rank(x).item(), 3) for x in (torch.eye(4), torch.ones(4, 4), torch.zeros(4, 4))]
    [4.0, 1.0, 0.0]
    """
    finite = torch.isfinite(features).all()
    # MPS has no float64, and the eigenvalues of non-finite matrices are an error: NaN is put back at the end.
    wide = (features.cpu() if features.device.type == "mps" else features).double().nan_to_num(0.0, 0.0, 0.0)
    wide = wide / wide.abs().amax().clamp(min=torch.finfo(torch.float64).tiny)
    gram = wide @ wide.T if len(wide) < wide.shape[1] else wide.T @ wide
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    rank = torch.special.entr(share).sum().exp() * (singular.sum() > 0)
    return torch.where(finite, rank.to(finite.device, features.dtype), torch.nan)


@torch.no_grad()
def summarize(
    logits: Sequence[Float[Tensor, "N C"]],
    features: Float[Tensor, "R D"] | None = None,
    *,
    temperature: int | float = 1.0,
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

    Returns
    -------
    dict
        ``agreement``, ``row_std``, ``column_std``, ``class_perplexity``, ``sample_perplexity``, ``dead_classes``,
        ``largest_class_share``, and with features ``feature_std`` and ``effective_rank``.

    Notes
    -----
    As in the loss every view has its own mean distribution, and the perplexities are those of the views' mean
    entropies. Usage and spreads are taken over the rows of all views together, as the final norm sees them. The
    effective rank is that of at most 256 evenly spread rows: cheap at any batch size.

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
        **_of_features(features, BATCH_RANK_ROWS),
    )


@torch.no_grad()
def summarize_images(
    logits: Float[Tensor, "M C"], features: Float[Tensor, "M D"] | None = None, *, temperature: int | float = 1.0
) -> dict[str, float]:
    """The collapse numbers of one set of images, by glossary name without prefix: the summary of a snapshot.

    Parameters
    ----------
    logits, features
        The network's outputs; none leaves out the numbers made from features.
    temperature
        Divisor of the logits in the entropies.

    Returns
    -------
    dict
        ``conditional_entropy``, ``marginal_entropy``, ``mutual_information`` in nats, ``class_perplexity``,
        ``sample_perplexity``, ``dead_classes``, ``largest_class_share``, ``row_std``, and with features
        ``feature_std`` and ``effective_rank``, the rank of at most 512 evenly spread images.

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
        **_of_features(features, IMAGES_RANK_ROWS),
    )


def _of_features(features: Tensor | None, rank_rows: int) -> dict[str, Tensor]:
    if features is None:
        return {}
    features = features.float()
    every = -(-len(features) // rank_rows)
    return {"feature_std": feature_std(features), "effective_rank": effective_rank(features[::every])}


def _as_floats(**values: Tensor) -> dict[str, float]:
    # One stack and one list: a GPU is waited for once, not once per number.
    return dict(zip(values, torch.stack([value.float() for value in values.values()]).tolist(), strict=True))
