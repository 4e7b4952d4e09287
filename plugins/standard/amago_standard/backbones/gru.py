"""Gated recurrent units (Cho et al., 2014, arXiv:1406.1078).

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width,
L = layers.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import GRUOptions


class GRU(nn.Module):
    """Stacked GRU: constant state and constant cost per step, at any length.

    Choose it for cheap acting and short memories; it must carry everything it may need in
    ``layers * width`` numbers, and training walks through time step by step.

    Args:
        context: Width in; supplied by the composer.
        options: Sizes; see :class:`GRUOptions`.
    """

    def __init__(self, context: BackboneContext, options: GRUOptions) -> None:
        super().__init__()
        self.out_dim = options.width
        self.layers = options.layers
        self.gru = nn.GRU(context.in_dim, options.width, options.layers)
        self.norm = nn.LayerNorm(options.width)

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)``; the state starts at zero in every sequence."""
        # One gather brings the stream into the order of torch's packed kernels; no padding.
        y_NE = self.gru(PackedSequence(x_ND[layout.time_major_N], layout.batch_sizes))[0].data
        return cast(Tensor, self.norm(y_NE[layout.from_time_major_N]))

    def initial_state(self, batch: int) -> State:
        """Return zeros ``(L, B, E)``."""
        return {"hidden": self.norm.weight.new_zeros(self.layers, batch, self.out_dim)}

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        y_1BE, hidden_LBE = self.gru(x_BD[None], state["hidden"])
        return self.norm(y_1BE[0]), {"hidden": hidden_LBE}

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with the environments where ``mask_B`` is true at zero."""
        return {"hidden": cast(Tensor, state["hidden"]).masked_fill(mask_B[:, None], 0.0)}
