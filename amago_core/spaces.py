"""Spaces as the agent sees them, and back.

Every observation is a dictionary; every action is an index from 0 or a flat vector in [-1, 1].

Shape suffixes: B = environments, A = action features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry.errors import UnsupportedSpaceError

BARE_KEY = "observation"
"""Name of an observation that the environment does not put into a dictionary."""


def canonical_observation(space: spaces.Space[Any]) -> spaces.Dict:
    """Return the space of observations as dictionaries."""
    return space if isinstance(space, spaces.Dict) else spaces.Dict({BARE_KEY: space})


def canonical_action(space: spaces.Space[Any]) -> spaces.Discrete | spaces.Box:
    """Return ``Discrete(n)`` starting at 0, or a flat Box over [-1, 1].

    Raises:
        UnsupportedSpaceError: If the space is neither Discrete nor a bounded Box.
    """
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.Box) and space.is_bounded():
        return spaces.Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32)
    raise UnsupportedSpaceError(
        f"actions of space {space} are not supported: use Discrete(n) or a Box with finite bounds."
    )


def action_width(space: spaces.Space[Any]) -> int:
    """Return A of a canonical action space: its dimensions, or the number of choices.

    Raises:
        ValueError: If the space is neither ``Discrete(n)`` starting at 0 nor a flat ``Box``.
    """
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise ValueError(f"actions are Discrete(n) starting at 0 or a flat Box, not {space}")


def action_to_environment(action: np.ndarray, space: spaces.Space[Any]) -> np.ndarray:
    """Return a batch of canonical actions, ``(B,)`` or ``(B, A)``, as the environment wants them."""
    if isinstance(space, spaces.Discrete):
        return np.asarray(action + int(space.start))
    assert isinstance(space, spaces.Box)
    # Not low + unit * (high - low): the range of a small integer type overflows it. Rounding may step
    # past a bound, hence the clip.
    unit = (np.reshape(action, (-1, *space.shape)) + 1) / 2
    inner = np.clip(space.low * (1 - unit) + space.high * unit, space.low, space.high)
    whole = np.issubdtype(space.dtype, np.integer)
    return np.asarray(np.rint(inner) if whole else inner, dtype=space.dtype)


def previous_action(action: np.ndarray, space: spaces.Space[Any]) -> np.ndarray:
    """Return canonical actions ``(B,)`` or ``(B, A)`` as vectors ``(B, A)``: one-hot if discrete."""
    if isinstance(space, spaces.Discrete):
        one_hot_BA = np.zeros((len(action), int(space.n)), np.float32)
        one_hot_BA[np.arange(len(action)), action] = 1.0
        return one_hot_BA
    return action.astype(np.float32, copy=False)


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return a description of a space that :func:`space_from_json` reads.

    Raises:
        UnsupportedSpaceError: If the space is of a type that no agent takes.
    """
    match space:
        case spaces.Dict():
            items = {key: space_to_json(value) for key, value in space.spaces.items()}
            return {"type": "Dict", "spaces": items}
        case spaces.Discrete():
            return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiBinary():
            n = list(space.n) if isinstance(space.n, tuple) else int(space.n)
            return {"type": "MultiBinary", "n": n}
        case spaces.Box():
            # JSON has no infinity; as text, every bound survives exactly.
            low, high = ([str(x) for x in bound.flatten()] for bound in (space.low, space.high))
            shape = list(space.shape)
            return {"type": "Box", "low": low, "high": high, "shape": shape, "dtype": str(space.dtype)}
    raise UnsupportedSpaceError(f"observations or actions of space {space} are not supported.")


def space_from_json(described: dict[str, Any]) -> spaces.Space[Any]:
    """Return the space that :func:`space_to_json` described."""
    match described["type"]:
        case "Dict":
            items = described["spaces"].items()
            return spaces.Dict({key: space_from_json(value) for key, value in items})
        case "Discrete":
            return spaces.Discrete(described["n"], start=described["start"])
        case "MultiBinary":
            return spaces.MultiBinary(described["n"])
        case "Box":
            dtype, shape = np.dtype(described["dtype"]), described["shape"]
            low, high = (
                np.array(described[name], np.str_).astype(dtype).reshape(shape)
                for name in ("low", "high")
            )
            return spaces.Box(low, high, tuple(shape), dtype.type)
    raise UnsupportedSpaceError(f"unknown space {described['type']!r} in the run's spaces.json.")
