"""What the network says of the watch images, un-augmented, at one step: one row per image."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from twist.learn import diagnostics, information
from twist.learn.compute import as_written
from twist.learn.neighbors import knn_accuracy
from twist.learn.networks import TwistNet
from twist.learn.ridge import linear_accuracy
from twist.learn.views import plain_view
from twist.runs.config import Recipe

TOP_CLASSES = 3
SPECTRUM = 64  # singular values that a snapshot keeps
PROBED = 1000  # labelled images, at most: an accuracy of 0.9 is then known to 0.013, and costs less than the rest


@torch.no_grad()
def take(
    network: TwistNet,
    images: Shaped[Tensor, "M channels H W"],
    recipe: Recipe,
    *,
    agreement: np.ndarray | None = None,
    labels: Int64[Tensor, " M"] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """A snapshot: per-sample columns, and their summary under ``watch/…`` names.

    The network is read in evaluation mode (running statistics) and left as it was found.

    Parameters
    ----------
    network
        The network being trained.
    images
        uint8 watch images, on any device.
    recipe
        Its views say how an image is presented, its objective the temperature.
    agreement
        The column of that name, which training counted; None where it was not kept.
    labels
        Labels of the images where there are any, -1 where unknown; they are measured with, never learned from.

    Returns
    -------
    columns
        The arrays of `twist.runs.record.Snapshot`.
    summary
        ``watch/conditional_entropy`` and the other collapse numbers, nats where they are entropies; ``watch/agreement``
        where any is known; with labels ``watch/knn_accuracy`` and ``watch/linear_accuracy`` of the features.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    features, logits = [], []
    with as_written(network):
        for batch in images.split(max(64, recipe.optim.batch_size * 2)):
            view = plain_view(batch.to(device, non_blocking=True), recipe.views)
            outputs = network(view.contiguous(memory_format=torch.channels_last))
            features.append(outputs.features.float())
            logits.append(outputs.logits.float())
    network.train(was_training)
    all_features, all_logits = torch.cat(features), torch.cat(logits)
    kept, summary = describe(all_features, all_logits, temperature=recipe.objective.temperature, labels=labels)
    if agreement is not None:
        kept["agreement"] = agreement
        if not np.isnan(agreement).all():
            summary["watch/agreement"] = float(np.nanmean(agreement))
    return kept, summary


@torch.no_grad()
def describe(
    features: Float[Tensor, "M D"],
    logits: Float[Tensor, "M C"],
    *,
    temperature: int | float = 1.0,
    labels: Int64[Tensor, " M"] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The columns and the summary of a snapshot, from what is known of the images: features and logits.

    Arguments and values are those of `take`; log-probabilities will do for logits.
    """
    log_probs = (logits / temperature).log_softmax(1)
    top = log_probs.exp().topk(min(TOP_CLASSES, log_probs.shape[1]), 1)
    of_features, spectrum = diagnostics.summarize_features(features)
    columns = {
        "assignment": top.indices[:, 0].int(),
        "confidence": top.values[:, 0],
        "sample_entropy": information.sample_entropy(log_probs),
        "top_classes": top.indices.int(),
        "top_probs": top.values,
        "features": features.half(),
        "mean_probs": information.mean_log_probs(log_probs).exp(),
        "feature_spectrum": spectrum[:SPECTRUM],
    }
    summary = diagnostics.summarize_images(logits, temperature=temperature) | of_features
    if labels is not None:
        summary |= probe(features, labels)
    kept = {name: column.cpu().numpy() for name, column in columns.items()}
    return kept, {f"watch/{name}": value for name, value in summary.items()}


def probe(features: Float[Tensor, "M D"], labels: Int64[Tensor, " M"]) -> dict[str, float]:
    """How well labels are read off features: ``knn_accuracy`` (10 neighbors by cosine) and ``linear_accuracy``.

    Of at most 1,000 labelled images, evenly over the labels, one half is the bank and the other is asked. Empty when
    fewer than two images have labels.
    """
    known = (labels >= 0).nonzero()[:, 0]
    known = known[watch_indices(len(known), PROBED, labels[known])]
    known = known[labels[known].argsort(stable=True)]  # neighbors in this order go to different halves
    bank, asked = known[::2], known[1::2]
    if len(asked) == 0:
        return {}
    device = features.device
    halves = [part for rows in (bank, asked) for part in (features[rows.to(device)], labels[rows].to(device))]
    return {
        "knn_accuracy": knn_accuracy(*halves, k=min(10, len(bank))),
        "linear_accuracy": linear_accuracy(*halves),
    }


def watch_indices(count: int, limit: int, labels: Tensor | None) -> Tensor:
    """Which images are watched: all of a small set, else an evenly spread choice, stratified when labels exist."""
    if count <= limit:
        return torch.arange(count)
    order = torch.arange(count) if labels is None else labels.argsort(stable=True)
    return order[torch.linspace(0, count - 1, limit, dtype=torch.float64).round().long()].sort().values
