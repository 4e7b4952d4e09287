"""minGRU and minLSTM: recurrent networks whose gates depend on the input alone.

Source: "Were RNNs All We Needed?" (Feng et al., 2024, arXiv:2410.01201).

Shape suffixes: N = timesteps of a packed batch, B = environments, E = width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import MinGRUOptions, MinLSTMOptions
from amago_standard.backbones.stack import Stack
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.scan import linear_scan


class MinimalCell(nn.Module):
    """Minimal recurrent layer: ``h_t = keep_t * h_(t-1) + write_t * candidate_t``.

    All three factors come from the input alone. The paper needs a positive candidate, for a scan in log
    space; this scan does not, and the candidate is linear, as in the paper's step-by-step form. The
    biases of the gates begin so that features remember for 1 to ``horizon`` steps (chrono
    initialisation; Tallec and Ollivier, 2018, arXiv:1804.11188).

    Args:
        width: E.
        gates: 1 for a minGRU, where writing is not keeping; 2 for a minLSTM, where a forget and an
            input gate are normalised to add up to 1.
        horizon: Steps that the longest memories last at first.
    """

    def __init__(self, width: int, gates: int, horizon: int) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(width, (gates + 1) * width)
        steps_E = torch.empty(width).uniform_(1, max(horizon, 2))
        with torch.no_grad():
            for gate, sign in enumerate((1, -1)[:gates], start=1):
                self.project.bias[gate * width : (gate + 1) * width] = sign * steps_E.log()

    def forward(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)`` for a packed stream."""
        return cast(Tensor, linear_scan(*self._recurrence(x_NE), layout))

    def initial_state(self, batch: int) -> State:
        """Return zeros ``(B, E)``."""
        return {"hidden": self.project.weight.new_zeros(batch, self.width)}

    def step(self, x_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        keep_BE, written_BE = self._recurrence(x_BE)
        hidden_BE = torch.addcmul(written_BE, keep_BE, cast(Tensor, state["hidden"]))
        return hidden_BE, {"hidden": hidden_BE}

    def _recurrence(self, x_NE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factor of the old state and the term added to it, ``(N, E)`` each."""
        candidate_NE, *gates = torch.split(at_least_single(self.project(x_NE)), self.width, dim=-1)
        # forget / (forget + input) of two sigmoids, in a form without a quotient.
        logit_NE = gates[0] if len(gates) == 1 else logsigmoid(gates[0]) - logsigmoid(gates[1])
        return logit_NE.sigmoid(), (-logit_NE).sigmoid() * candidate_NE


class MinGRU(Stack):
    """minGRU backbone: one gate between past and present; training is parallel over time.

    Choose it over ``gru`` for few long sequences: training does not walk through time step by step. A
    gate cannot depend on what is remembered, so deciding what to keep takes a second layer. Constant
    cost per step; acting state: layers x width numbers.

    Args:
        context: Width in; supplied by the composer.
        options: Sizes; see :class:`MinGRUOptions`.
    """

    def __init__(self, context: BackboneContext, options: MinGRUOptions) -> None:
        super().__init__(
            context, options, lambda: MinimalCell(options.width, 1, context.context_length)
        )


class MinLSTM(Stack):
    """minLSTM backbone: as minGRU, with a forget and an input gate that are normalised to sum to 1.

    Acting state: layers x width numbers; the LSTM's second state is gone with its output gate.

    Args:
        context: Width in; supplied by the composer.
        options: Sizes; see :class:`MinLSTMOptions`.
    """

    def __init__(self, context: BackboneContext, options: MinLSTMOptions) -> None:
        super().__init__(
            context, options, lambda: MinimalCell(options.width, 2, context.context_length)
        )
