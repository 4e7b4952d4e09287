"""Positional encodings: sinusoidal, learned and rotary.

Shape suffixes: N = timesteps, D = features, H = heads, F = features per head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SinusoidalPositions(nn.Module):
    """Sinusoidal positions: sines, then cosines, of wavelengths 2 pi to 2 pi 10^4 steps.

    Source: Vaswani et al., 2017, arXiv:1706.03762.

    Args:
        dim: D, even.
    """

    frequency: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("frequency", _frequencies(dim // 2), persistent=False)

    def forward(self, time_N: Tensor) -> Tensor:
        """Return ``(N, D)``, float32, for steps since the task began."""
        # In single precision whatever the module was cast to, so that a double sees the same positions.
        angles = time_N.float()[:, None] * self.frequency.float()
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class LearnedPositions(nn.Module):
    """Learned positions: a table with a row per time; times beyond its end share the last row.

    Args:
        rows: Number of distinct times.
        dim: D.
    """

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, dim)
        nn.init.trunc_normal_(self.table.weight, std=0.02)

    def forward(self, time_N: Tensor) -> Tensor:
        """Return ``(N, D)`` for steps since the task began."""
        rows_ND: Tensor = self.table(time_N.clamp(max=self.table.num_embeddings - 1))
        return rows_ND


class RotaryPositions(nn.Module):
    """Rotary positions: angles to rotate queries and keys by (RoFormer; Su et al., 2021; 2104.09864).

    The product of a turned query with a turned key depends on their distance in time alone. Angles
    come from the absolute time, so a key that was turned when it was stored stays right.

    Args:
        dim: F, even; features i and i + F / 2 are the two coordinates of one turning plane.
    """

    frequency: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("frequency", _frequencies(dim // 2), persistent=False)

    def forward(self, time_N: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cosines and signed sines ``(N, 1, F)`` for steps since the task began."""
        # In double precision: rounded angles of late times would change what distances look like.
        angles = time_N.double()[:, None, None] * self.frequency.float()
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def turned(x_NHF: Tensor, cos_N1F: Tensor, sin_N1F: Tensor) -> Tensor:
    """Return ``(N, H, F)`` rotated by the angles of :class:`RotaryPositions`."""
    other_NHF = x_NHF.roll(x_NHF.shape[-1] // 2, -1)
    # The angles are in single precision at least, and so is the sum.
    return torch.addcmul(x_NHF * cos_N1F, other_NHF, sin_N1F).to(x_NHF.dtype)


def _frequencies(count: int) -> Tensor:
    """Return radians per step, from 1 down towards 10^-4, evenly in their logarithm."""
    return torch.exp(-math.log(1e4) * (torch.arange(count, dtype=torch.float32) / count))
