"""Residual MLPs with pre-norm blocks.

Shape suffixes: D = features in, W = width, E = features out.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Pre-norm residual block: ``x + linear(leaky_relu(linear(norm(x))))``.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., W)`` to ``(..., W)``."""
        return x + cast(Tensor, self.inner(x))


def residual_mlp(in_dim: int, width: int, blocks: int, out_dim: int) -> nn.Sequential:
    """Return a residual MLP ``(..., D) -> (..., E)``: linear, residual blocks, LayerNorm, linear.

    The last norm belongs to pre-norm blocks: the scale of their residual stream is arbitrary.
    """
    return nn.Sequential(
        nn.Linear(in_dim, width),
        *(ResidualBlock(width) for _ in range(blocks)),
        nn.LayerNorm(width),
        nn.Linear(width, out_dim),
    )
