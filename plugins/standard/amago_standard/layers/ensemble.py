"""Ensembles of MLPs, computed as batched matrix products.

Shape suffixes: N = rows, C = ensemble members, D = features in, E = features out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class EnsembleLinear(nn.Module):
    """Ensemble of linear layers, one per member, in one batched product.

    Members start independently, each as ``nn.Linear`` would: uniform in +-1/sqrt(fan_in).

    Args:
        members: C.
        in_dim: D.
        out_dim: E.
        fan_in: Inputs of the whole layer where this is only some of its columns; by default D.
        bias: Add a bias.
    """

    def __init__(
        self, members: int, in_dim: int, out_dim: int, *, fan_in: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(fan_in or in_dim)
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim).uniform_(-bound, bound))
        start = torch.empty(members, 1, out_dim).uniform_(-bound, bound)
        self.bias = nn.Parameter(start) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, D)`` that all members share, or ``(C, N, D)``, to ``(C, N, E)``."""
        if x.dim() == 2:
            # One wide product beats one per member where all read the same rows.
            members, in_dim, out_dim = self.weight.shape
            joint_DX = self.weight.transpose(0, 1).reshape(in_dim, members * out_dim)
            bias_X = None if self.bias is None else self.bias.reshape(-1)
            y_NX = nn.functional.linear(x, joint_DX.T, bias_X)
            return y_NX.view(-1, members, out_dim).transpose(0, 1)
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleMLP(nn.Module):
    """Ensemble of MLPs, one per member: leaky ReLU between the layers, none at the end."""

    def __init__(self, members: int, in_dim: int, hidden_dims: Sequence[int], out_dim: int) -> None:
        super().__init__()
        dims = [in_dim, *hidden_dims, out_dim]
        self.layers = nn.ModuleList(
            EnsembleLinear(members, before, after) for before, after in pairwise(dims)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, D)`` or ``(C, N, D)`` to ``(C, N, E)``."""
        for index, layer in enumerate(self.layers):
            x = layer(nn.functional.leaky_relu(x, inplace=True) if index else x)
        return x
