"""Encoder of symbolic grids.

Shape suffixes: N = timesteps, H, W = sides of the grid, S = symbols of a cell, C = channels,
V = features of the rest and of the grid, E = features out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_minigrid.options import GridEncoderOptions
from amago_registry.contexts import EncoderContext
from amago_registry.errors import UnsupportedSpaceError, did_you_mean


class GridEncoder(nn.Module):
    """Encoder of a symbolic grid, beside an inner encoder of all other inputs.

    The numbers in a cell are categories, not quantities: each has an embedding, and a cell is the sum
    of its embeddings (as in BabyAI 1.1, Hui et al., 2020, arXiv:2007.12770). Convolutions that keep the
    size read them; a linear layer and a LayerNorm fuse grid and inner encoder. Wrapped in ``goal-rnn``
    with ``goal_keys: [mission]``, the mission is read too.

    Args:
        context: Spaces; supplied by the composer.
        options: See :class:`GridEncoderOptions`.

    Raises:
        UnsupportedSpaceError: If there is no grid under the key, or the inner encoder cannot take the
            rest.
    """

    def __init__(self, context: EncoderContext, options: GridEncoderOptions) -> None:
        super().__init__()
        observations = dict(context.observation_space.spaces)
        self.key = options.image_key
        shape, counts = _grid(self.key, observations)
        del observations[self.key]
        self.cells = CellVectors(counts, options.cell_dim)
        self.convolutions = _convolutions(options.cell_dim, options.channels)
        self.flat = nn.Linear(options.channels[-1] * shape[0] * shape[1], options.image_dim)
        self.inner = options.inner.build(replace(context, observation_space=spaces.Dict(observations)))
        self.fuse = nn.Linear(options.image_dim + self.inner.out_dim, options.out_dim)
        self.norm = nn.LayerNorm(options.out_dim)
        self.out_dim = options.out_dim

    def forward(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return vectors ``(N, E)``."""
        rest = {key: value for key, value in obs.items() if key != self.key}
        maps_NCHW = self.convolutions(self.cells(obs[self.key]))
        grid = leaky_relu(self.flat(maps_NCHW.flatten(1)))
        fused_NV = torch.cat([self.inner(rest, prev_action_NA, prev_reward_N), grid], dim=-1)
        y_NE: Tensor = self.norm(leaky_relu(self.fuse(fused_NV)))
        return y_NE


class CellVectors(nn.Module):
    """Cell embeddings: the sum of one learned vector for each symbol of a cell.

    Args:
        counts: How many values each symbol has.
        dim: C, features of a cell.
    """

    offset_S: Tensor
    last_S: Tensor

    def __init__(self, counts: list[int], dim: int) -> None:
        super().__init__()
        # Every symbol has rows of its own in one table.
        starts = np.cumsum([0, *counts[:-1]])
        self.register_buffer("offset_S", torch.tensor(starts), persistent=False)
        self.register_buffer("last_S", torch.tensor(counts) - 1, persistent=False)
        self.vectors = nn.Embedding(sum(counts), dim)

    def forward(self, grid_NHWS: Tensor) -> Tensor:
        """Return vectors ``(N, C, H, W)`` of whole numbers ``(N, H, W, S)``."""
        # A value outside its space reads as the last inside, never as another symbol's.
        rows_NHWS = torch.minimum(grid_NHWS.long(), self.last_S) + self.offset_S
        y_NHWC: Tensor = self.vectors(rows_NHWS).sum(-2)
        return y_NHWC.movedim(-1, 1)


def _convolutions(channels_in: int, channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in channels:
        layers += [nn.Conv2d(channels_in, width, 3, padding=1), nn.ReLU()]
        channels_in = width
    return nn.Sequential(*layers)


def _grid(key: str, observations: Mapping[str, Any]) -> tuple[tuple[int, ...], list[int]]:
    """Return the shape of the grid, and how many values each symbol of a cell has."""
    space = observations.get(key)
    if space is None:
        raise UnsupportedSpaceError(
            f"the encoder minigrid takes its image_key for a grid: {key!r} is not observed."
            f"{did_you_mean(key, observations)} "
            f"The observations are {', '.join(sorted(observations)) or 'none'}."
        )
    whole = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.unsignedinteger)
    if not whole or len(space.shape) != 3 or space.high.max() > np.iinfo(np.uint8).max:
        raise UnsupportedSpaceError(
            f"the encoder minigrid cannot read {key!r} of space {space} as a grid of symbols: it takes "
            "a Box of unsigned integers up to 255 with three axes, the last for the symbols of a cell. "
            "grid-cnn takes pixels."
        )
    return space.shape, (space.high.reshape(-1, space.shape[-1]).max(0).astype(int) + 1).tolist()
