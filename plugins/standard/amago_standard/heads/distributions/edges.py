"""Clipping of continuous actions away from the edges, where densities are infinite or zero."""

from __future__ import annotations

from torch import Tensor

LIMIT = 0.99
"""Log-densities are those of actions clipped to +-LIMIT."""


def clip_to_interior(action: Tensor) -> Tensor:
    """Return actions clipped to +-0.99."""
    return action.clamp(-LIMIT, LIMIT)
