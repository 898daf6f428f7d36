"""What the network says of the watch images, un-augmented, at one step: one row per image."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from twist.learn import diagnostics, information
from twist.learn.compute import as_written
from twist.learn.networks import TwistNet
from twist.learn.views import plain_view
from twist.runs.config import Recipe

TOP_CLASSES = 3


@torch.no_grad()
def take(
    network: TwistNet,
    images: Shaped[Tensor, "M channels H W"],
    recipe: Recipe,
    *,
    agreement: np.ndarray | None = None,
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

    Returns
    -------
    columns
        The arrays of `twist.runs.record.Snapshot`.
    summary
        ``watch/conditional_entropy`` and the other collapse numbers, nats where they are entropies.
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
    temperature = recipe.objective.temperature
    log_probs = (all_logits / temperature).log_softmax(1)
    top = log_probs.exp().topk(min(TOP_CLASSES, log_probs.shape[1]), 1)
    columns = {
        "assignment": top.indices[:, 0].int(),
        "confidence": top.values[:, 0],
        "sample_entropy": information.sample_entropy(log_probs),
        "top_classes": top.indices.int(),
        "top_probs": top.values,
        "features": all_features.half(),
        "mean_probs": information.mean_log_probs(log_probs).exp(),
    }
    summary = diagnostics.summarize_images(all_logits, all_features, temperature=temperature)
    kept = {name: column.cpu().numpy() for name, column in columns.items()}
    if agreement is not None:
        kept["agreement"] = agreement
        if not np.isnan(agreement).all():
            summary["agreement"] = float(np.nanmean(agreement))
    return kept, {f"watch/{name}": value for name, value in summary.items()}


def watch_indices(count: int, limit: int, labels: Tensor | None) -> Tensor:
    """Which images are watched: all of a small set, else an evenly spread choice, stratified when labels exist."""
    if count <= limit:
        return torch.arange(count)
    order = torch.arange(count) if labels is None else labels.argsort(stable=True)
    return order[torch.linspace(0, count - 1, limit).round().long()].sort().values
