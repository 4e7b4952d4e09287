"""Multi-layer perceptrons.

Shape suffixes: D = features in, E = features out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def mlp(in_dim: int, hidden_dims: Sequence[int], out_dim: int) -> nn.Sequential:
    """Return linear layers ``(..., D) -> (..., E)`` with leaky ReLU between them, none at the end."""
    layers: list[nn.Module] = []
    for hidden in hidden_dims:
        layers += [nn.Linear(in_dim, hidden), nn.LeakyReLU(inplace=True)]
        in_dim = hidden
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))
