"""Classes by k-means on frozen features: the plain baseline beside every other labeler."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn.labelers.labeling import Labeling, check_task, normalized
from twist.learn.labelers.spaces import principal_space


@dataclass(frozen=True, kw_only=True)
class KMeansSettings:
    """What k-means is asked for.

    Attributes
    ----------
    num_classes
        Number of clusters C.
    dimensions
        Principal directions that it works in, at most.
    restarts
        Times it starts anew; the tightest clusters are taken.
    seed
        Of the first centers.
    """

    num_classes: int
    dimensions: int = 128
    restarts: int = 10
    seed: int = 0


def label_by_kmeans(features: Float[Tensor, "N D"], settings: KMeansSettings) -> Labeling:
    """Clusters of least squared distance to their centers, by scikit-learn's ``KMeans``.

    Distributions are those of equal round Gaussians at the centers. Their variance is that within the clusters over
    the number of directions which these span (its participation ratio), so that distances along copied or idle
    directions do not make every image look certain. They say how near another center is, no more.

    Raises
    ------
    ConfigError
        When the features or the number of classes are such that there is nothing to tell apart.

    Examples
    --------
    >>> features = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    >>> label_by_kmeans(features, KMeansSettings(num_classes=2)).classes_in_use
    2
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    check_task(features, settings.num_classes)
    space = principal_space(features, dimensions=settings.dimensions)
    # One thread: the order of a sum over threads would decide ties.
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")  # fewer different images than clusters: said in the facts
        found = KMeans(settings.num_classes, n_init=settings.restarts, random_state=settings.seed).fit(
            space.rows.numpy()
        )
    centers = torch.from_numpy(found.cluster_centers_).float()
    nearest = torch.from_numpy(found.labels_).long()
    distances = torch.cdist(space.rows, centers).square()
    distances[torch.arange(len(nearest)), nearest] *= 1 - 1e-6  # of equal ones that which k-means took
    rest = space.rows - centers[nearest]
    inertia = rest.square().sum()
    spread = rest.T @ rest
    directions = spread.trace().square() / spread.square().sum().clamp(min=torch.finfo(torch.float32).tiny)
    variance = inertia / (len(rest) * directions.clamp(min=1))
    floor = 1e-6 * space.rows.square().sum(1).mean()  # copies only: every cluster is a point
    log_probs = normalized(-distances / (2 * variance.clamp(min=floor)))
    facts = {
        "spread_kept": round(space.kept, 4),
        "within": round((inertia / space.rows.square().sum()).item(), 4),
        "classes_in_use": len(nearest.unique()),
        "steps": int(found.n_iter_),
    }
    return Labeling(log_probs, "k-means", asdict(settings), facts)
