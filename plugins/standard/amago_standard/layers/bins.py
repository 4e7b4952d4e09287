"""Two-hot and HL-Gauss labels: numbers as distributions over fixed bins, and back.

Bins lie evenly in symlog space (:mod:`amago_standard.layers.symlog`), so that numbers of any magnitude
share them. Read back as a plain mean over the bins' own numbers, a mixture of numbers reads as their
mean; read as a mean in symlog space it reads as far less (0 or 100, equally likely, as 9).

Shape suffixes: K = bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amago_standard.layers.symlog import symexp, symlog


def bin_positions(bins: int, low: float, high: float) -> Tensor:
    """Return where K bins lie: evenly from ``symlog(low)`` to ``symlog(high)``, in float64."""
    first, last = symlog(torch.tensor([low, high], dtype=torch.float64)).tolist()
    return torch.linspace(first, last, bins, dtype=torch.float64)


def two_hot(x: Tensor, point_K: Tensor) -> Tensor:
    """Return distributions ``(..., K)`` over rising points whose mean is x (Hafner et al., 2023).

    All weight is on the points beside x, or on the outermost one where x is beyond it.
    """
    x = x.clamp(point_K[0], point_K[-1]).contiguous()
    right = torch.searchsorted(point_K, x, right=True).clamp_(1, len(point_K) - 1)
    below, above = point_K[right - 1], point_K[right]
    share = ((x - below) / (above - below))[..., None]
    label = x.new_zeros(*x.shape, len(point_K))
    return label.scatter_(-1, (right - 1)[..., None], 1 - share).scatter_(-1, right[..., None], share)


def gaussian_label(x: Tensor, position_K: Tensor, sigma: float) -> Tensor:
    """Return a Gaussian around x as a histogram ``(..., K)`` (HL-Gauss; arXiv:2403.03950).

    Each bin gets the Gaussian's mass within half a width of its position. Mass beyond the outermost
    bins is shared out by renormalising; an x beyond the outermost positions counts as they do.

    Args:
        x: Centers, in the space of the positions; any shape.
        position_K: Evenly rising.
        sigma: Standard deviation in bin widths.
    """
    width = (position_K[-1] - position_K[0]) / (len(position_K) - 1)
    edge_K1 = torch.cat([position_K[:1] - width / 2, position_K + width / 2])
    x = x.clamp(position_K[0], position_K[-1])[..., None]
    cumulative = torch.erf((edge_K1 - x) / (math.sqrt(2) * sigma * width))
    return cumulative.diff(dim=-1) / (cumulative[..., -1:] - cumulative[..., :1])


def sharpened_values(position_K: Tensor, sigma: float) -> Tensor:
    """Return values ``(K,)`` of the bins with which the mean of a Gaussian label is its number.

    A Gaussian that is symmetric in symlog space is skewed outside it: averaged over ``symexp`` of the
    positions, labels 0.75 bins wide read as 4 % too much with 64 bins over +-1e5, and a learner that
    bootstraps compounds that. So the numbers are drawn closer to zero, until the labels of the bins'
    own numbers are read back as these. Far from zero this is the factor ``exp(-s^2 / 2)`` of a
    log-normal's mean, with s the labels' spread. Near zero, where symlog bends, and at the limits,
    where labels are cut off, no numbers suit the returns between the bins too, and those that suit the
    bins exactly swing from one to the next; four rounds of successive correction (van Cittert, 1931)
    stop before they do.
    """
    value_K = symexp(position_K)
    label_KK = gaussian_label(position_K, position_K, sigma)
    width = (position_K[-1] - position_K[0]) / (len(position_K) - 1)
    gain = torch.exp((sigma**2 + 1 / 12) * width**2 / 2)
    sharp_K = value_K
    for _ in range(4):
        sharp_K = sharp_K + (value_K - label_KK @ sharp_K) / gain
    return sharp_K
