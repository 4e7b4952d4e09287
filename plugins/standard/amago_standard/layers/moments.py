"""Mean and variance as exponential moving averages.

Shape suffixes: N = rows, D = features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def corrected_rate(rate: float, step: Tensor) -> Tensor:
    """Return the weight of a new batch: 1 at step 1, bias-corrected, ``rate`` in the end.

    ``rate / (1 - (1 - rate)^step)``: as if all batches so far had been averaged with one weighting.
    """
    return rate / (1 - (1 - rate) ** step.double())


def moved_moments(
    mean_D: Tensor, variance_D: Tensor, x_ND: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance after a batch of rows has been given the weight ``rate``.

    The same numbers as from moving averages of ``x`` and ``x^2``, without subtracting two large ones:
    the variance moves by its own batch's and by how far the means are apart (Welford).
    """
    x_ND, rate = x_ND.detach().to(mean_D.dtype), rate.to(mean_D.dtype)
    batch_variance_D, batch_mean_D = torch.var_mean(x_ND, dim=0, correction=0)
    apart_D = batch_mean_D - mean_D
    new_variance_D = (
        torch.lerp(variance_D, batch_variance_D, rate) + rate * (1 - rate) * apart_D.square()
    )
    return mean_D + rate * apart_D, new_variance_D
