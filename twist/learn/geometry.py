"""How features lie in their space: spread, directions, distances; pure, without gradient."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


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
def dead_units(features: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Share of the feature dimensions that are exactly the same for all samples: units that tell nothing.

    A few are common behind a ReLU; a rising share says that a learning rate is too high. Dimensions that copy each
    other are alive here: read `effective_rank` for those. One sample alone has only dead units.

    Returns
    -------
    Tensor
        0 to 1; a dimension with a NaN counts as alive.

    Examples
    --------
    >>> dead_units(torch.tensor([[1.0, 0.0], [2.0, 0.0]])), dead_units(torch.ones(3, 2))
    (tensor(0.5000), tensor(1.))
    """
    return (features.amin(0) == features.amax(0)).to(features.dtype).mean()


@torch.no_grad()
def spectrum(features: Float[Tensor, "N D"]) -> Float[Tensor, " K"]:
    """Singular values of the features, uncentred, as shares of their sum, largest first.

    One large share and little else: dimensional collapse, or a common offset of all features, which counts as a
    direction. A slow fall: many directions in use.

    Returns
    -------
    Tensor
        min(N, D) shares that sum to 1; all 0 for features that are all 0, all NaN when one is not finite.

    Notes
    -----
    They are the roots of the eigenvalues of the smaller Gram matrix, which is much cheaper than their decomposition.
    In float64, because the root turns the rounding of float32 into singular values of 3e-4 of the largest: hundreds of
    them, which do not exist, would be counted in.

    Examples
    --------
    >>> spectrum(torch.diag(torch.tensor([1.0, 3.0])))
    tensor([0.7500, 0.2500])
    """
    finite = torch.isfinite(features).all()
    # MPS has no float64, and the eigenvalues of non-finite matrices are an error: NaN is put back at the end.
    wide = (features.cpu() if features.device.type == "mps" else features).double().nan_to_num(0.0, 0.0, 0.0)
    wide = wide / wide.abs().amax().clamp(min=torch.finfo(torch.float64).tiny)
    gram = wide @ wide.T if len(wide) < wide.shape[1] else wide.T @ wide
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)
    share = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(finite, share.to(finite.device, features.dtype), torch.nan)


@torch.no_grad()
def rank_of(spectrum: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """Number of equally strong directions that have this spectrum's entropy: exp of it.

    Returns
    -------
    Tensor
        1 (one direction) to K; 0 for a spectrum of zeros, NaN for one of NaN.

    Examples
    --------
    >>> rank_of(torch.tensor([1.0, 0.0])), rank_of(torch.tensor([0.5, 0.5])), rank_of(torch.zeros(2))
    (tensor(1.), tensor(2.), tensor(0.))
    """
    rank = torch.special.entr(spectrum.double() if spectrum.device.type != "mps" else spectrum).sum().exp()
    return (rank * (spectrum.sum() != 0)).to(spectrum.dtype)


@torch.no_grad()
def effective_rank(features: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Number of directions the features span: exp of the entropy of their singular values, uncentred (RankMe).

    Far below D: dimensional collapse. A falling value on fixed images is the warning; a low value on few samples is
    none, for it cannot exceed min(N, D). A common offset of all features counts as one strong direction.

    Returns
    -------
    Tensor
        1 (one direction) to min(N, D); 0 for features that are all 0, NaN when one is not finite.

    References
    ----------
    arXiv 2210.02885, equation 1, without its 1e-7.

    Examples
    --------
    >>> [round(effective_rank(x).item(), 3) for x in (torch.eye(4), torch.ones(4, 4), torch.zeros(4, 4))]
    [4.0, 1.0, 0.0]
    """
    return rank_of(spectrum(features))


@torch.no_grad()
def alignment(features: Float[Tensor, "N D"], other: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Mean squared distance between the two views of a sample, their features on the unit sphere.

    Low: the backbone gives both views the same features. It is 0 as well when all samples have the same: read
    `uniformity` beside it.

    Returns
    -------
    Tensor
        0 (the same directions) to 4 (opposite ones); features that are all 0 stay at the center.

    References
    ----------
    arXiv 2005.10242, equation of the alignment loss with exponent 2.

    Examples
    --------
    >>> alignment(torch.eye(2), 3 * torch.eye(2)), alignment(torch.eye(2), -torch.eye(2))
    (tensor(0.), tensor(4.))
    """
    return (F.normalize(features, dim=1) - F.normalize(other, dim=1)).square().sum(1).mean()


@torch.no_grad()
def uniformity(features: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Logarithm of the mean of exp(-2 squared distance) over all pairs of samples, features on the unit sphere.

    Low: samples spread over the sphere; 0: all in one direction. All pairs at right angles are at -4, about the best
    that many dimensions allow.

    Returns
    -------
    Tensor
        -8 (opposite pairs) to 0; NaN for a single sample, which has no pair. Cost grows with the square of N.

    References
    ----------
    arXiv 2005.10242, equation of the uniformity loss with t = 2.

    Examples
    --------
    >>> uniformity(torch.ones(3, 2)), uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    (tensor(0.), tensor(-8.))
    """
    rows = F.normalize(features, dim=1)
    lengths = rows.square().sum(1)
    squared = (lengths[:, None] + lengths - 2 * rows @ rows.T).clamp(min=0)
    pairs = (-2 * squared).fill_diagonal_(-torch.inf)
    number = len(rows) * (len(rows) - 1)
    return torch.logsumexp(pairs.flatten(), 0) - (math.log(number) if number else -torch.inf)
