"""Canonical observation and action spaces, and conversion between them and the environment's.

A canonical observation is one flat dictionary of arrays. A canonical action is an index from 0, or a
flat vector of indices from 0, of zeros and ones, or of numbers in [-1, 1].

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry.actions import CanonicalAction, choices
from amago_registry.errors import RecordingError, UnsupportedSpaceError, reason

BARE_KEY = "observation"
"""Key of an observation that is not in a dictionary or tuple."""

ROUNDING = 1e-3
"""Tolerance of a recorded number outside its ``Box``, as a share of the range: half precision."""

_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)


def canonical_observation(space: spaces.Space[Any]) -> spaces.Dict:
    """Return the observation space flattened to one dictionary.

    Nested keys are joined by slashes and members of a tuple are numbered from 0: ``goal/position``,
    ``sensors/0``.
    """
    leaves = dict(_leaves(space))
    if isinstance(space, spaces.Dict) and leaves.keys() == space.spaces.keys():
        return space
    return spaces.Dict(leaves)


def flat_observation(observation: Any, space: spaces.Space[Any]) -> dict[str, Any]:
    """Return an observation, or a batch, flattened to the keys of :func:`canonical_observation`.

    If the structure of the observation differs from its space, its keys differ from those of the space.
    """
    if isinstance(observation, np.ndarray):  # By far the most frequent, and called at every step.
        return {BARE_KEY: observation}
    return dict(_values(observation, space, None))


def check_observation(space: spaces.Space[Any]) -> None:
    """Check that an observation space consists of arrays.

    Raises:
        UnsupportedSpaceError: With every unsupported member, and the supported types.
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
        duplicates = sorted({key for key in keys if keys.count(key) > 1})
        raise UnsupportedSpaceError(
            f"several parts of the observation would be called {' and '.join(map(repr, duplicates))}; "
            "rename one of them."
        )
    if not keys:
        raise UnsupportedSpaceError(f"the observation {space} is empty; show at least one number.")


def canonical_action(space: spaces.Space[Any]) -> CanonicalAction:
    """Return the canonical form of an action space; see :mod:`amago_registry.contexts`.

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
    """Convert a batch of stored actions, ``(B,)`` or ``(B, axes)``, to the environment's space."""
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


def stored_action(action: Any, space: spaces.Space[Any]) -> np.ndarray:
    """Convert a batch of the environment's actions ``(B, ...)`` to stored form.

    The inverse of :func:`action_to_environment`. A number that lies outside its ``Box`` by no more than
    rounding is clipped to the bound.

    Returns:
        ``(B,)`` indices of a ``Discrete`` space, else ``(B, axes)``, of :func:`stored_action_dtype`.

    Raises:
        RecordingError: If the actions have the wrong shape, or one of them is not in the space.
        UnsupportedSpaceError: If the action space is not supported.
    """
    canonical = canonical_action(space)
    given = as_array("the action", action)
    shape = space.shape or ()
    if given.ndim == 0 or given.shape[1:] != shape or given.dtype.kind not in "biuf":
        wanted = ", ".join(map(str, ("B", *shape)))
        raise RecordingError(
            f"the actions are {given.dtype} {given.shape}; those of {space} are numbers ({wanted})."
        )
    stored, inside = _unit(given, space) if isinstance(space, spaces.Box) else _index(given, space)
    if not inside.all():
        row = int(np.flatnonzero(~inside.reshape(len(given), -1).all(1))[0])
        raise RecordingError(f"the action {given[row].tolist()} of row {row} does not lie in {space}.")
    flat = stored.reshape(len(given), *(canonical.shape or ()))
    return flat.astype(stored_action_dtype(canonical))


def as_array(name: str, values: Any) -> np.ndarray:
    """Return recorded values as an array.

    Raises:
        RecordingError: If they are ragged.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise RecordingError(f"{name} cannot become an array: {reason(error).rstrip('.')}.") from error


def _index(given: np.ndarray, space: spaces.Space[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return indices from 0, and a mask of those that lie in the space."""
    start: Any = getattr(space, "start", 0)
    count: Any = 2 if isinstance(space, spaces.MultiBinary) else sum(choices(space))
    if isinstance(space, spaces.MultiDiscrete):
        count = space.nvec
    with np.errstate(invalid="ignore"):  # NaN becomes some integer, which does not equal it.
        whole = given.astype(np.int64)
    index = whole - start
    return index, (whole == given) & (index >= 0) & (index < count)


def _unit(given: np.ndarray, space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers rescaled to [-1, 1], and a mask of those that lie in the box up to rounding."""
    # Halved, because the range of the widest box overflows float64.
    low, high, value = (x.astype(np.float64) / 2 for x in (space.low, space.high, given))
    span = high - low
    fixed = span == 0
    with np.errstate(over="ignore"):  # Values far outside the box may overflow.
        unit = np.where(fixed, 0, (value - low) / np.where(fixed, 1, span) * 2 - 1)
    near = np.where(fixed, np.isclose(value, low, rtol=ROUNDING, atol=0), abs(unit) <= 1 + 2 * ROUNDING)
    return np.clip(unit, -1, 1), near


def stored_action_dtype(space: CanonicalAction) -> np.dtype[Any]:
    """Return the dtype of stored actions of a canonical space: for indices, the smallest that fits."""
    factors = choices(space)
    if not factors:
        return stored_observation_dtype(space)
    # uint8 is the only unsigned type that torch supports fully.
    types = (np.uint8, np.int16, np.int32, np.int64)
    return next(np.dtype(t) for t in types if max(factors) - 1 <= np.iinfo(t).max)


def is_binary(space: spaces.Space[Any]) -> bool:
    """Return whether all values of a space lie between 0 and 1, as those of a mask do."""
    match space:
        case spaces.MultiBinary():
            return True
        case spaces.MultiDiscrete():
            return bool((space.nvec == 2).all()) and not space.start.any()
        case spaces.Box():
            return bool((space.low >= 0).all() and (space.high <= 1).all())
    return False


def stored_observation_dtype(space: spaces.Space[Any]) -> np.dtype[Any]:
    """Return the dtype of a stored observation: that of the space, float32 instead of float64."""
    assert space.dtype is not None, f"{space} holds no array"
    return np.dtype(np.float32) if space.dtype == np.float64 else space.dtype


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
        yield from _leaves(member, _join_key(prefix, key))


def _values(
    value: Any, space: spaces.Space[Any] | None, prefix: str | None
) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        known = space.spaces if isinstance(space, spaces.Dict) else {}
        for key, member in value.items():
            yield from _values(member, known.get(key), _join_key(prefix, key))
    elif isinstance(space, spaces.Tuple) and isinstance(value, tuple | list):
        for index, member in enumerate(value):
            inner = space.spaces[index] if index < len(space.spaces) else None
            yield from _values(member, inner, _join_key(prefix, index))
    else:
        yield BARE_KEY if prefix is None else prefix, value


def _join_key(prefix: str | None, key: Any) -> str:
    return str(key) if prefix is None else f"{prefix}/{key}"
