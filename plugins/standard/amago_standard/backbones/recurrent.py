"""Base class of GRU and LSTM: torch's kernels over a packed stream, single cell steps for acting.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.options import RecurrentOptions
from amago_standard.backbones.stack import zeroed
from amago_standard.layers.precision import at_least_single

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""Weights of one layer in torch's order: of the input, of the state, and the biases of both."""


class Recurrent(nn.Module, ABC):
    """Base class of stacked recurrent networks: layers and a norm; subclasses define the cell.

    Each layer's state is a dictionary, environments first, in which ``hidden`` is the layer's output.

    Args:
        options: Sizes.
    """

    constant_state = True

    def __init__(self, options: RecurrentOptions) -> None:
        super().__init__()
        self.out_dim = options.width
        self.layers = options.layers
        self.norm = nn.LayerNorm(options.width)

    @property
    @abstractmethod
    def network(self) -> nn.RNNBase:
        """Torch's module of all layers."""

    @abstractmethod
    def cell(self, x_BD: Tensor, state: State, weights: Weights) -> State:
        """Take one timestep in one layer; return the layer's state."""

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)``; the state starts at zero in every sequence."""
        y_NE = over_time(self.network, x_ND[layout.time_major_N], layout.batch_sizes)
        return cast(Tensor, self.norm(y_NE[layout.from_time_major_N]))

    def initial_state(self, batch: int) -> State:
        """Return zeros for every layer."""
        return {str(layer): self.initial_cell(batch) for layer in range(self.layers)}

    def initial_cell(self, batch: int) -> State:
        """Return zeros ``(B, E)``."""
        return {"hidden": self.norm.weight.new_zeros(batch, self.out_dim)}

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        # Single cells, because torch's module prepares its weights again at every call.
        y_BE, after = x_BD, State()
        for layer, weights in enumerate(self.network.all_weights):
            new = self.cell(y_BE, cast(State, state[str(layer)]), cast(Weights, weights))
            y_BE, after[str(layer)] = cast(Tensor, new["hidden"]), new
        return self.norm(y_BE), after

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with the environments where ``mask_B`` is true at zero."""
        return zeroed(state, mask_B)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # Its loop would be unrolled.
def over_time(network: nn.RNNBase, x_ND: Tensor, sizes: Tensor) -> Tensor:
    """Return a recurrent network's outputs ``(N, E)`` from a zero state, without padding.

    It never runs in half precision. On CUDA it is one packed kernel. Torch's packed form for the CPU
    takes quadratic time in the backward pass (that of an LSTM only where lengths differ). So on the CPU
    the dense form runs on each stretch of time in which no sequence ends, and the next stretch starts
    from the states of the sequences that continue.

    Args:
        network: A GRU or an LSTM.
        x_ND: Rows in the order of torch's ``PackedSequence``: all first timesteps, then all second
            ones, longer sequences first.
        sizes: Sequences that have a timestep, for each position in the sequence.
    """
    with torch.autocast(x_ND.device.type, enabled=False):
        x_ND = at_least_single(x_ND)
        if x_ND.is_cuda:
            return cast(Tensor, network(PackedSequence(x_ND, sizes))[0].data)
        stretches = [(size, len(list(times))) for size, times in groupby(sizes.tolist())]
        outputs, state = [], None
        parts = torch.split(x_ND, [size * times for size, times in stretches])
        for part_ND, (size, times) in zip(parts, stretches, strict=True):
            y_TBE, state = network(part_ND.view(times, size, -1), _of_the_first(size, state))
            outputs.append(y_TBE.flatten(0, 1))
        return torch.cat(outputs)


def _of_the_first(
    size: int, state: Tensor | tuple[Tensor, ...] | None
) -> Tensor | tuple[Tensor, ...] | None:
    """Return torch's state ``(layers, B, E)``, or several, of the first sequences."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state[:, :size].contiguous()
    return tuple(one[:, :size].contiguous() for one in state)
