"""Exponential moving averages of mean and variance.

Shape suffixes: N = rows, D = features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from amago_registry.ranks import ranks, sum_over_ranks


class Moments(NamedTuple):
    """Number, mean and variance of some rows; the number is a tensor, for torch.compile."""

    rows: Tensor
    mean_D: Tensor
    variance_D: Tensor

    def pooled(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows together (Chan et al., 1983)."""
        rows = self.rows + other.rows
        share, apart_D = other.rows / rows, other.mean_D - self.mean_D
        variance_D = torch.lerp(self.variance_D, other.variance_D, share)
        return Moments(
            rows,
            self.mean_D + share * apart_D,
            variance_D + share * (1 - share) * apart_D.square(),
        )


def moments_of(x_ND: Tensor) -> Moments:
    """Return the moments of rows, those of all ranks included."""
    variance_D, mean_D = torch.var_mean(x_ND, dim=0, correction=0)
    if ranks() == 1:
        return Moments(mean_D.new_full((), len(x_ND)), mean_D, variance_D)
    mean, variance, rows = mean_D.double(), variance_D.double(), len(x_ND)
    sums = [torch.full_like(mean, rows), rows * mean, rows * (variance + mean.square())]
    count, first, second = sum_over_ranks(torch.stack(sums))
    mean = first / count
    variance = (second / count - mean.square()).clamp_min(0)
    return Moments(*(x.to(mean_D.dtype) for x in (count[0], mean, variance)))


class MovingMoments(nn.Module):
    """Moving averages of mean and variance, updated in two steps: propose, then commit.

    The step size starts bias-corrected, ``rate / (1 - (1 - rate)^t)``, as if all batches so far had
    been averaged with one weighting. The same numbers as from averages of ``x`` and ``x^2``, without
    subtracting two large ones: the variance moves by its own batch's and by how far the means are
    apart (Welford).

    Args:
        dim: D.
        rate: Weight of a new batch once many have been seen.
        variance: The first variance.
        steps: Steps counted as taken before the first batch; 0 lets the first batch replace the start.
    """

    steps: Tensor
    mean_D: Tensor
    variance_D: Tensor

    def __init__(self, dim: int, *, rate: float, variance: float = 1.0, steps: int = 0) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("steps", torch.tensor(steps))
        self.register_buffer("mean_D", torch.zeros(dim))
        self.register_buffer("variance_D", torch.full((dim,), variance))
        self._seen: Moments | None = None
        self._proposed: tuple[Tensor, Tensor] | None = None

    @property
    def latest(self) -> tuple[Tensor, Tensor]:
        """Mean and variance ``(D,)``, the proposal included."""
        return self._proposed or (self.mean_D, self.variance_D)

    @torch.no_grad()
    def propose(self, x_ND: Tensor) -> None:
        """Propose moments that include these rows, and those proposed since the last commit."""
        new = moments_of(x_ND.detach().to(self.mean_D.dtype))
        self._seen = new if self._seen is None else self._seen.pooled(new)
        rate = self.rate / (1 - (1 - self.rate) ** (self.steps + 1).double())
        rate = rate.to(self.mean_D.dtype)
        apart_D = self._seen.mean_D - self.mean_D
        variance_D = torch.lerp(self.variance_D, self._seen.variance_D, rate)
        variance_D = variance_D + rate * (1 - rate) * apart_D.square()
        self._proposed = (self.mean_D + rate * apart_D, variance_D)

    def commit(self) -> None:
        """Apply the proposed moments."""
        if self._proposed is not None:
            self.mean_D.copy_(self._proposed[0])
            self.variance_D.copy_(self._proposed[1])
            self.steps += 1
        self.forget()

    def forget(self) -> None:
        """Discard the proposed moments."""
        self._seen = self._proposed = None
