"""How wide a gymnasium space is once it is a vector of features.

Shape suffixes: N = timesteps, D = features.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import one_hot

from amago_registry.errors import UnsupportedSpaceError


def action_size(space: spaces.Space[Any]) -> int:
    """Return the width of an action as a vector: one-hot if discrete.

    Raises:
        UnsupportedSpaceError: If the space is neither ``Discrete`` nor a ``Box`` with one axis.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise UnsupportedSpaceError(
        f"no actor or critic of amago-standard takes the action space {space}; "
        "they take Discrete and a Box with one axis."
    )


def feature_size(key: str, space: spaces.Space[Any]) -> int:
    """Return how many features :func:`features` makes of one observation.

    Raises:
        UnsupportedSpaceError: If the space has no such form.
    """
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary):
        return int(spaces.flatdim(space))
    raise UnsupportedSpaceError(
        f"the encoder mlp cannot take the observation {key!r} of space {space}; "
        "it takes Box, Discrete and MultiBinary, alone or in a Dict. "
        "`amago components encoder` lists other encoders."
    )


def features(x: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Return observations ``(N, ...)`` of one space as float features ``(N, D)``."""
    if isinstance(space, spaces.Discrete):
        return one_hot(x.long() - int(space.start), int(space.n)).float()
    return torch.flatten(x[:, None], 1).float()  # A scalar has no axis to flatten.
