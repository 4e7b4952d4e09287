"""Spaces as the agent sees them, and back.

Every observation is one flat dictionary of arrays; every action is an index from 0 or a flat vector of
indices from 0, of 0 and 1, or of numbers in [-1, 1].

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry.actions import CanonicalAction
from amago_registry.errors import UnsupportedSpaceError

BARE_KEY = "observation"
"""Name of an observation that the environment puts into no dictionary or tuple."""

_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)


def canonical_observation(space: spaces.Space[Any]) -> spaces.Dict:
    """Return the space of observations as one flat dictionary.

    What is nested gets a key with slashes, what is in a tuple is counted from 0: ``goal/position``,
    ``sensors/0``.
    """
    leaves = dict(_leaves(space))
    if isinstance(space, spaces.Dict) and leaves.keys() == space.spaces.keys():
        return space
    return spaces.Dict(leaves)


def flat_observation(observation: Any, space: spaces.Space[Any]) -> dict[str, Any]:
    """Return an observation, or a batch of them, by the keys of :func:`canonical_observation`.

    An observation that is not built as its space says gives other keys than the space has.
    """
    if isinstance(observation, np.ndarray):  # By far the most frequent, and called at every step.
        return {BARE_KEY: observation}
    return dict(_values(observation, space, None))


def check_observation(space: spaces.Space[Any]) -> None:
    """Refuse observations that are no arrays.

    Raises:
        UnsupportedSpaceError: Naming all of them, and what is supported.
    """
    leaves = list(_leaves(space))
    unknown = [f"{key!r} {leaf}" for key, leaf in leaves if not isinstance(leaf, _ARRAYS)]
    if unknown:
        raise UnsupportedSpaceError(
            f"observations of this kind are not supported: {', '.join(unknown)}; use Box, Discrete, "
            "MultiBinary and MultiDiscrete, alone or in a Dict or Tuple, also nested."
        )
    keys = [key for key, _ in leaves]
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise UnsupportedSpaceError(
            f"several parts of the observation would be called {' and '.join(map(repr, twice))}; "
            "rename one of them."
        )
    if not keys:
        raise UnsupportedSpaceError(f"the observation {space} is empty; show at least one number.")


def canonical_action(space: spaces.Space[Any]) -> CanonicalAction:
    """Return the action space in the form that parts take; see :mod:`amago_registry.contexts`.

    Raises:
        UnsupportedSpaceError: If the space is of another type, or a Box without bounds.
    """
    match space:
        case spaces.Discrete():
            return spaces.Discrete(int(space.n))
        case spaces.MultiDiscrete():
            return spaces.MultiDiscrete(space.nvec.flatten())
        case spaces.MultiBinary():
            return spaces.MultiBinary(int(np.prod(space.shape)))
        case spaces.Box() if space.is_bounded():
            return spaces.Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32)
    raise UnsupportedSpaceError(
        f"actions of space {space} are not supported: use Discrete, MultiDiscrete, MultiBinary "
        "or a Box with finite bounds."
    )


def action_to_environment(action: np.ndarray, space: spaces.Space[Any]) -> np.ndarray:
    """Return a batch of stored actions, ``(B,)`` or ``(B, axes)``, as the environment wants them."""
    shaped = np.reshape(action, (-1, *(space.shape or ())))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return np.asarray(shaped + space.start, dtype=space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return shaped.astype(space.dtype)
    assert isinstance(space, spaces.Box)
    # Not low + unit * (high - low): the range of a small integer type overflows it. Rounding may step
    # past a bound, hence the clip.
    unit = (shaped + 1) / 2
    inner = np.clip(space.low * (1 - unit) + space.high * unit, space.low, space.high)
    whole = np.issubdtype(space.dtype, np.integer)
    return np.asarray(np.rint(inner) if whole else inner, dtype=space.dtype)


def _leaves(
    space: spaces.Space[Any], prefix: str | None = None
) -> Iterator[tuple[str, spaces.Space[Any]]]:
    match space:
        case spaces.Dict():
            members: Iterator[tuple[Any, spaces.Space[Any]]] = iter(space.spaces.items())
        case spaces.Tuple():
            members = iter(enumerate(space.spaces))
        case _:
            yield BARE_KEY if prefix is None else prefix, space
            return
    for key, member in members:
        yield from _leaves(member, _joined(prefix, key))


def _values(
    value: Any, space: spaces.Space[Any] | None, prefix: str | None
) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        known = space.spaces if isinstance(space, spaces.Dict) else {}
        for key, member in value.items():
            yield from _values(member, known.get(key), _joined(prefix, key))
    elif isinstance(space, spaces.Tuple) and isinstance(value, tuple | list):
        for index, member in enumerate(value):
            inner = space.spaces[index] if index < len(space.spaces) else None
            yield from _values(member, inner, _joined(prefix, index))
    else:
        yield BARE_KEY if prefix is None else prefix, value


def _joined(prefix: str | None, key: Any) -> str:
    return str(key) if prefix is None else f"{prefix}/{key}"
