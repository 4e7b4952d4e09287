"""The arithmetic that every exploration of this room shares.

Shape suffixes: B = environments acting side by side, A = action features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def anneal(step: int, steps: int, start: float, end: float) -> float:
    """Return the value at ``step``: a line from ``start`` to ``end``, reached after ``steps``."""
    return start + (end - start) * min(step / steps, 1.0)


def disturb(
    action: NDArray[Any],
    epsilon_B: NDArray[np.float64],
    space: spaces.Space[Any],
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Return actions with exploration of strength ``epsilon_B`` in [0, 1], one for each environment.

    Discrete: with probability epsilon a uniformly random action. Continuous: Gaussian noise of standard
    deviation epsilon is added and the sum clipped to [-1, 1].

    Args:
        action: The policy's, ``(B,)`` indices or ``(B, A)`` in [-1, 1]; not modified.
        epsilon_B: Strength.
        space: ``Discrete(n)`` starting at 0; anything else is continuous.
        rng: Draws the same number of values whatever the strength.
    """
    if isinstance(space, spaces.Discrete):
        explores_B = rng.random(len(action)) < epsilon_B
        random_B = rng.integers(int(space.n), size=len(action))
        return np.where(explores_B, random_B, action).astype(action.dtype)
    noise_BA = epsilon_B[:, None] * rng.standard_normal(action.shape)
    return np.clip(action + noise_BA, -1.0, 1.0).astype(action.dtype)
