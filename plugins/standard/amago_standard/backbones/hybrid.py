"""Hybrid backbone: several backbones in a row, such as recurrence and windowed attention.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import Backbone, State
from amago_standard.backbones.options import HybridOptions
from amago_standard.layers.precision import at_least_single


class ResidualBackbone(nn.Module):
    """``x + W backbone(norm(x))``: any backbone, of any width, as one block.

    Args:
        backbone: A whole backbone, which takes E features.
        width: E.
    """

    def __init__(self, backbone: Backbone, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.backbone = backbone
        self.out = nn.Linear(backbone.out_dim, width)

    def forward(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)`` for a packed stream."""
        return cast(Tensor, x_NE + self.out(self.backbone(self.norm(x_NE), layout)))

    def step(self, x_BE: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        y_BE, state = self.backbone.step(self.norm(x_BE), time_B, state)
        return x_BE + self.out(y_BE), state


class Hybrid(nn.Module):
    """Stack of any backbones, one after the other, on one residual stream.

    Choose it to pair a recurrent block, cheap at any length, with attention over a window, which
    recalls exactly what the recurrence blurs (as in Griffin; De et al., 2024, arXiv:2402.19427). Costs,
    state and laws are those of its blocks; plugins' backbones serve as well as ours.

    Args:
        context: Width in and context length, and what builds the blocks; supplied by the composer.
        options: Width and blocks; see :class:`HybridOptions`.
    """

    def __init__(self, context: BackboneContext, options: HybridOptions) -> None:
        super().__init__()
        self.out_dim = options.width
        self.embed = nn.Linear(context.in_dim, options.width)
        inside = replace(context, in_dim=options.width)
        backbones = [context.build(part, inside) for part in options.blocks]
        self.blocks = nn.ModuleList(ResidualBackbone(backbone, options.width) for backbone in backbones)
        self.norm = nn.LayerNorm(options.width)
        self.constant_state = all(getattr(backbone, "constant_state", False) for backbone in backbones)
        self.compiles = all(getattr(backbone, "compiles", True) for backbone in backbones)

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)`` of a packed stream."""
        y_NE = at_least_single(self.embed(x_ND))  # The residual stream.
        for block in self._blocks():
            y_NE = block(y_NE, layout)
        return cast(Tensor, self.norm(y_NE))

    def initial_state(self, batch: int) -> State:
        """Return the new state of every block."""
        return {
            str(index): block.backbone.initial_state(batch)
            for index, block in enumerate(self._blocks())
        }

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        y_BE = at_least_single(self.embed(x_BD))
        after: State = {}
        for index, block in enumerate(self._blocks()):
            y_BE, after[str(index)] = block.step(y_BE, time_B, cast(State, state[str(index)]))
        return self.norm(y_BE), after

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with every block's reset where ``mask_B`` is true."""
        return {
            str(index): block.backbone.reset(cast(State, state[str(index)]), mask_B)
            for index, block in enumerate(self._blocks())
        }

    def _blocks(self) -> Iterator[ResidualBackbone]:
        return cast(Iterator[ResidualBackbone], iter(self.blocks))
