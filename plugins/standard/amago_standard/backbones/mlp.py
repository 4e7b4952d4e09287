"""Memoryless MLP backbone: the ablation, which sees the present timestep alone.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import MLPBackboneOptions
from amago_standard.layers.mlp import mlp
from amago_standard.layers.precision import at_least_single


class MLPBackbone(nn.Module):
    """MLP applied to every timestep by itself; the ablation that shows what memory is worth.

    Args:
        context: Width in; supplied by the composer.
        options: Sizes; see :class:`MLPBackboneOptions`.
    """

    constant_state = True

    def __init__(self, context: BackboneContext, options: MLPBackboneOptions) -> None:
        super().__init__()
        self.out_dim = options.width
        self.net = mlp(context.in_dim, [options.width] * options.layers, options.width)
        self.norm = nn.LayerNorm(options.width)

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)``."""
        return cast(Tensor, self.norm(at_least_single(self.net(x_ND))))

    def initial_state(self, batch: int) -> State:
        """Return an empty state: this backbone has no memory."""
        return {}

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        return self.norm(at_least_single(self.net(x_BD))), state

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state as it is."""
        return state
