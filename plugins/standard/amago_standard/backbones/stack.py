"""Stack of residual blocks, the base class of recurrent backbones that train in parallel over time.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast

from torch import Tensor, nn

from amago_registry.contexts import BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import StackOptions
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.recomputing import recomputed


class Mixer(Protocol):
    """Sequence mixer: the layer of a block that combines timesteps, from E features to E features.

    Its state is a dictionary of tensors, environments first, all zeros before the first timestep.
    """

    def __call__(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)`` for a packed stream."""

    def initial_state(self, batch: int) -> State:
        """Return zeros ``(B, ...)``."""

    def step(self, x_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""


class Block(nn.Module):
    """Pre-norm residual block: a sequence mixer, then a feed-forward layer unless ``expansion`` is 0.

    Args:
        mixer: Combines timesteps.
        width: E.
        expansion: Width of the feed-forward layer, in widths; 0 leaves it out.
    """

    def __init__(self, mixer: Mixer, width: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = mixer
        hidden = expansion * width
        self.feed_forward: nn.Module | None = None
        if hidden:
            self.feed_forward = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
            )

    def forward(self, x_NE: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, E)``."""
        return self._with_feed_forward(x_NE + self.mixer(self.norm(x_NE), layout))

    def step(self, x_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        y_BE, state = self.mixer.step(self.norm(x_BE), state)
        return self._with_feed_forward(x_BE + y_BE), state

    def _with_feed_forward(self, x_NE: Tensor) -> Tensor:
        return x_NE if self.feed_forward is None else x_NE + self.feed_forward(x_NE)


class Stack(nn.Module):
    """Base class of backbones made of an embedding, residual blocks and a final norm.

    The state has the same size at every context length, and a reset sets it to zero.

    Args:
        context: Width in; supplied by the composer.
        options: Sizes.
        mixer: Returns a new sequence mixer; called once per layer.
    """

    constant_state = True

    def __init__(
        self, context: BackboneContext, options: StackOptions, mixer: Callable[[], Mixer]
    ) -> None:
        super().__init__()
        self.out_dim = options.width
        self.checkpoint = options.checkpoint
        self.embed = nn.Linear(context.in_dim, options.width)
        self.blocks = nn.ModuleList(
            Block(mixer(), options.width, options.expansion) for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(options.width)

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)``; the state starts at zero in every sequence."""
        y_NE = at_least_single(self.embed(x_ND))  # The residual stream.
        for block in self.blocks:
            y_NE = recomputed(block, y_NE, layout, when=self.checkpoint and self.training)
        return cast(Tensor, self.norm(y_NE))

    def initial_state(self, batch: int) -> State:
        """Return zeros for every layer."""
        return {
            str(layer): block.mixer.initial_state(batch) for layer, block in enumerate(self._layers())
        }

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        y_BE = at_least_single(self.embed(x_BD))
        after: State = {}
        for layer, block in enumerate(self._layers()):
            y_BE, after[str(layer)] = block.step(y_BE, cast(State, state[str(layer)]))
        return self.norm(y_BE), after

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with the environments where ``mask_B`` is true at zero."""
        return zeroed(state, mask_B)

    def _layers(self) -> Iterator[Block]:
        return cast(Iterator[Block], iter(self.blocks))


def zeroed(state: State, mask_B: Tensor) -> State:
    """Set the environments where ``mask_B`` is true to zero, in place; environments come first."""
    for value in state.values():
        if isinstance(value, dict):
            zeroed(value, mask_B)
        else:
            value.masked_fill_(mask_B.view(-1, *(1,) * (value.dim() - 1)), 0)
    return state
