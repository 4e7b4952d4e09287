"""Long short-term memory (Hochreiter and Schmidhuber, 1997), with a forget gate (Gers et al., 2000).

Shape suffixes: B = environments, D = features in, E = width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from amago_registry.contexts import BackboneContext
from amago_registry.protocols import State
from amago_standard.backbones.options import LSTMOptions
from amago_standard.backbones.recurrent import Recurrent, Weights


class LSTM(Recurrent):
    """Stacked LSTM: a cell state kept apart from the hidden state, which is its gated output.

    Choose it over ``gru`` for longer memories: at first they last 1 to ``context_length`` steps (chrono
    initialisation; Tallec and Ollivier, 2018, arXiv:1804.11188). Training walks through time step by
    step.

    Costs: about ``8 width^2`` multiplications per layer and timestep, as many steps one after the other
    as the longest sequence has timesteps. Acting state: 2 x layers x width numbers.

    Args:
        context: Width in and context length; supplied by the composer.
        options: Sizes; see :class:`LSTMOptions`.
    """

    def __init__(self, context: BackboneContext, options: LSTMOptions) -> None:
        super().__init__(options)
        self.lstm = nn.LSTM(context.in_dim, options.width, options.layers)
        for _, _, bias, other_bias in self.lstm.all_weights:
            enter_E, forget_E, _, _ = bias.detach().chunk(4)
            forget_E.uniform_(1, max(context.context_length, 2)).log_()
            enter_E.copy_(-forget_E)
            other_bias.detach()[: 2 * options.width] = 0  # Torch adds a second bias.

    @property
    def network(self) -> nn.RNNBase:
        """Torch's module of all layers."""
        return self.lstm

    def initial_cell(self, batch: int) -> State:
        """Return zeros ``(B, E)``: hidden and cell state."""
        return {
            **super().initial_cell(batch),
            "memory": self.norm.weight.new_zeros(batch, self.out_dim),
        }

    def cell(self, x_BD: Tensor, state: State, weights: Weights) -> State:
        """Take one timestep in one layer; return the layer's state."""
        before = [cast(Tensor, state["hidden"]), cast(Tensor, state["memory"])]
        hidden_BE, memory_BE = torch.lstm_cell(x_BD, before, *weights)
        return {"hidden": hidden_BE, "memory": memory_BE}
