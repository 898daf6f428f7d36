"""k-means on features: what classes a network's features hold by themselves, without a head that learned any."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from twist.learn.evaluation.clusters import ClusterFigures, clusters
from twist.runs.config import ConfigError


@dataclass(frozen=True)
class KmeansSettings:
    """How the clusters are found.

    Attributes
    ----------
    normalized
        Whether every feature is scaled to length 1 first, so that its direction counts, as for the kNN.
    starts
        Random starts, by k-means++; the one with the least spread counts.
    max_steps
        Steps of a start at most.
    """

    normalized: bool = True
    starts: int = 10
    max_steps: int = 300

    def __post_init__(self):
        for name in ("starts", "max_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")


class Kmeans(NamedTuple):
    """Clusters of features.

    Attributes
    ----------
    assignment
        Cluster of each row, the nearest center's.
    centers
        float ``[C, D]``, of the features after normalizing where that is asked.
    inertia
        Sum of squared distances to the nearest center.
    """

    assignment: Int64[Tensor, " N"]
    centers: Float[Tensor, "C D"]
    inertia: float


class KmeansFigures(NamedTuple):
    """Clusters of the asked images, and how they agree with the labels.

    Attributes
    ----------
    clusters
        The clusters.
    figures
        Their agreement with the labels: see `clusters.ClusterFigures`.
    """

    clusters: Kmeans
    figures: ClusterFigures

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know, a sentence each."""
        return self.figures.notes

    def scores(self) -> dict[str, float]:
        """The agreements by their names."""
        return self.figures.scores()


def kmeans(
    asked: Float[Tensor, "N D"],
    asked_labels: Int64[Tensor, " n"],
    num_clusters: int | None = None,
    settings: KmeansSettings = KmeansSettings(),
    *,
    seed: int = 0,
) -> KmeansFigures:
    """Agreement of k-means clusters of the asked images with their labels, which the clusters never saw.

    Parameters
    ----------
    asked, asked_labels
        Features, and what is right. Rows with a label below 0 are clustered, but not compared.
    num_clusters
        Number of clusters; None takes the number of labels.
    settings
        Scaling and starts.
    seed
        Of the starts.

    Raises
    ------
    ConfigError
        When no image has a label, there are fewer images than clusters, or a feature is not finite.

    Examples
    --------
    >>> rows = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    >>> kmeans(rows, torch.tensor([0, 0, 1, 1])).figures.matched_accuracy
    1.0
    """
    if len(asked) != len(asked_labels):
        raise ConfigError(f"{len(asked)} asked features have {len(asked_labels)} labels: give one each")
    known = asked_labels[asked_labels >= 0]
    if not len(known):
        raise ConfigError("no asked image has a label: give images with labels of 0 and more")
    count = len(known.unique()) if num_clusters is None else num_clusters
    found = fit_kmeans(asked, count, settings, seed=seed)
    return KmeansFigures(found, clusters(found.assignment, asked_labels.cpu(), count))


def fit_kmeans(
    features: Float[Tensor, "N D"], num_clusters: int, settings: KmeansSettings = KmeansSettings(), *, seed: int = 0
) -> Kmeans:
    """Clusters of features by scikit-learn's ``KMeans``, on one thread of the CPU.

    The same seed gives the same clusters every time: of several threads the first to end would be the first in a sum,
    and its last bit can lead to other clusters.

    Raises
    ------
    ConfigError
        When there are fewer rows than clusters, or a feature is not finite.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if not 1 <= num_clusters <= len(features):
        raise ConfigError(f"num_clusters is {num_clusters}: give 1 to {len(features)}, the number of images")
    if not bool(features.isfinite().all()):
        row = int((~features.isfinite().all(1)).nonzero()[0, 0])
        raise ConfigError(f"the asked features are not finite (first in row {row}): the network's weights are spoiled")
    rows = features.detach().cpu()
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    if settings.normalized:
        rows = F.normalize(rows, dim=1)
    fit = KMeans(num_clusters, n_init=settings.starts, max_iter=settings.max_steps, random_state=seed)
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")  # fewer different rows than clusters: some stay empty
        assignment = fit.fit_predict(rows.numpy())
    return Kmeans(torch.from_numpy(assignment.astype(np.int64)), torch.from_numpy(fit.cluster_centers_), fit.inertia_)
