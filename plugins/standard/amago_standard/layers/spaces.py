"""Observations of gymnasium spaces as vectors of features.

Shape suffixes: N = timesteps, D = features, X = axes.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry.actions import one_hot
from amago_registry.errors import UnsupportedSpaceError


def feature_size(key: str, space: spaces.Space[Any]) -> int:
    """Return how many features :func:`features` makes of one observation.

    Raises:
        UnsupportedSpaceError: If the space has no such form.
    """
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return int(spaces.flatdim(space))
    raise UnsupportedSpaceError(
        f"no encoder of amago-standard takes the observation {key!r} of space {space}; "
        "they take Box, Discrete, MultiDiscrete and MultiBinary. "
        "`amago components encoder` lists other encoders."
    )


def features(x: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Return observations ``(N, ...)`` of one space as float features ``(N, D)``.

    Choices become one-hots; those of ``MultiDiscrete`` lie end to end.
    """
    if isinstance(space, spaces.Discrete):
        return one_hot(x.long() - int(space.start), int(space.n))
    flat_NX = torch.flatten(x[:, None], 1)  # A scalar has no axis to flatten.
    if isinstance(space, spaces.MultiDiscrete):
        axes = zip(flat_NX.long().unbind(1), space.start.ravel(), space.nvec.ravel(), strict=True)
        return torch.cat([one_hot(x_N - int(start), int(n)) for x_N, start, n in axes], -1)
    return flat_NX.float()
