"""Annealing and action noise, shared by the explorations of this room.

Shape suffixes: B = environments acting side by side, A = action features, X = factors of an action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_registry.actions import choices


def anneal(step: int, steps: int, start: float, end: float) -> float:
    """Return the value at ``step`` of a linear schedule from ``start`` to ``end`` over ``steps``."""
    return start + (end - start) * min(step / steps, 1.0)


def add_exploration(
    action: NDArray[Any],
    epsilon_B: NDArray[np.float64],
    space: spaces.Space[Any],
    rng: np.random.Generator,
    action_mask_BA: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Return actions with exploration of strength ``epsilon_B`` in [0, 1], one for each environment.

    Continuous: Gaussian noise of standard deviation epsilon is added and the sum clipped to [-1, 1].
    All others: with probability epsilon the whole action is replaced by a uniformly random one.

    Args:
        action: The policy's, in stored form; not modified.
        epsilon_B: Strength.
        space: Canonical.
        rng: The number of values drawn does not depend on the strength.
        action_mask_BA: Which actions may be taken; a factor of which none may is drawn from all.
    """
    if isinstance(space, spaces.Box):
        noise_BA = epsilon_B[:, None] * rng.standard_normal(action.shape)
        return np.clip(action + noise_BA, -1.0, 1.0).astype(action.dtype)
    explores_B = rng.random(len(action)) < epsilon_B
    random = _uniform(space, len(action), rng, action_mask_BA)
    explores = explores_B if action.ndim == 1 else explores_B[:, None]
    return np.where(explores, random, action).astype(action.dtype)


def _uniform(
    space: spaces.Space[Any],
    count: int,
    rng: np.random.Generator,
    action_mask_BA: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """Return ``count`` random actions of a space that is not continuous, in stored form."""
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(2, size=(count, *space.shape))
    factors = choices(space)
    if action_mask_BA is not None:
        masks = np.split(action_mask_BA, np.cumsum(factors)[:-1], axis=1)
        random_BX = np.stack([_allowed(mask, rng) for mask in masks], axis=1)
    elif isinstance(space, spaces.Discrete):
        return rng.integers(factors[0], size=count)
    else:
        random_BX = rng.integers(factors, size=(count, len(factors)))
    return random_BX[:, 0] if isinstance(space, spaces.Discrete) else random_BX


def _allowed(mask_BA: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one random index per row among those that are allowed, or among all where none is."""
    mask_BA = mask_BA | ~mask_BA.any(1, keepdims=True)
    place_B = rng.integers(mask_BA.sum(1))
    index_B: NDArray[np.int64] = (mask_BA.cumsum(1) > place_B[:, None]).argmax(1)
    return index_B
