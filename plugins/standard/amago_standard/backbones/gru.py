"""Gated recurrent units (Cho et al., 2014, arXiv:1406.1078).

Shape suffixes: B = environments, D = features in.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from amago_registry.contexts import BackboneContext
from amago_registry.protocols import State
from amago_standard.backbones.options import GRUOptions
from amago_standard.backbones.recurrent import Recurrent, Weights


class GRU(Recurrent):
    """Stacked GRU: constant state and constant cost per step, at any length.

    Choose it for cheap acting and short memories; it must carry everything it may need in
    ``layers * width`` numbers, and training walks through time step by step.

    Costs: about ``6 width^2`` multiplications per layer and timestep, as many steps one after the other
    as the longest sequence has timesteps. Acting state: layers x width numbers.

    Args:
        context: Width in; supplied by the composer.
        options: Sizes; see :class:`GRUOptions`.
    """

    def __init__(self, context: BackboneContext, options: GRUOptions) -> None:
        super().__init__(options)
        self.gru = nn.GRU(context.in_dim, options.width, options.layers)

    @property
    def network(self) -> nn.RNNBase:
        """Torch's module of all layers."""
        return self.gru

    def cell(self, x_BD: Tensor, state: State, weights: Weights) -> State:
        """Take one timestep in one layer; return the layer's state."""
        return {"hidden": torch.gru_cell(x_BD, cast(Tensor, state["hidden"]), *weights)}
