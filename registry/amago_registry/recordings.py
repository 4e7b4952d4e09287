"""Conversion of recorded environment data to trajectories, and validation of trajectories.

Shape suffixes: T = transitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from amago_registry.errors import RecordingError
from amago_registry.spaces import (
    as_array,
    canonical_action,
    canonical_observation,
    check_observation,
    flat_observation,
    stored_action,
    stored_action_dtype,
    stored_observation_dtype,
)
from amago_registry.trajectories import OBSERVATION, Trajectory

ENDS = ("terminated", "truncated")
_FIXED = {"reward": np.dtype(np.float32), **dict.fromkeys(ENDS, np.dtype(np.bool_))}
_STORABLE = frozenset("biuf")
_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)

TAKEN = frozenset(
    {
        "action",
        "reward",
        *ENDS,
        # Other keys of an info.
        "success",
        "task",
        "attempt",
        "final_obs",
        "final_info",
        # Other arrays of a replay shard.
        "lengths",
        "seeds",
        "start_times",
        "tasks",
        "leads",
        "crc32",
        "returns",
        "successes",
        "prev_rewards",
        "prev_actions",
        "checksum",
    }
)
"""Reserved names of recorded columns; names that begin with ``obs.`` or ``_`` are reserved too."""


def recorded_space_of(env: gymnasium.Env[Any, Any]) -> Any:
    """Return ``recorded_space`` of an environment, or of one that it wraps; None if there is none.

    An AttributeError raised inside a property ``recorded_space`` propagates.
    """
    name = "recorded_space"
    owners = (layer for layer in _layers(env) if hasattr(type(layer), name) or name in vars(layer))
    return next((layer.recorded_space for layer in owners), None)


def recorded_fault(space: Any, called: str = "recorded_space") -> str | None:
    """Return why a ``recorded_space`` is invalid.

    Args:
        space: The declared space; see :class:`amago_registry.protocols.Environment`.
        called: Name of the attribute.

    Returns:
        A sentence without its full stop; None if the space is valid.
    """
    if not isinstance(space, spaces.Dict):
        return f"its {called} is {space!r}, not a gymnasium.spaces.Dict"
    unnamed = [repr(key) for key in space.spaces if not isinstance(key, str)]
    if unnamed:
        return (
            f"its {called} has the key {' and '.join(unnamed)}: keys are names of columns, so strings"
        )
    taken = [key for key in space.spaces if _is_taken(key)]
    if taken:
        return (
            f"its {called} has the key {' and '.join(map(repr, taken))}, which is reserved in "
            "trajectories and infos: choose another name"
        )
    unknown = [f"{key!r} {leaf}" for key, leaf in space.spaces.items() if not _is_recordable(leaf)]
    if unknown:
        return (
            f"its {called} has {', '.join(unknown)}: use Box, Discrete, MultiBinary and "
            "MultiDiscrete, of at most 64 bits"
        )
    return None


def recorded_trajectory(
    observations: Any,
    actions: Any,
    rewards: Any,
    terminated: Any,
    truncated: Any,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    *,
    seed: int = 0,
    task: str = "",
    success: float | None = None,
    recorded: Mapping[str, Any] | None = None,
    recorded_space: spaces.Dict | None = None,
) -> Trajectory:
    """Return the recording of one task, from its reset on, in the format of the replay.

    Args:
        observations: T+1 observations, the last one after the last action: arrays ``(T+1, ...)``, in
            dictionaries and tuples if the space is nested.
        actions: ``(T, ...)`` in the environment's action space.
        rewards: ``(T,)``.
        terminated: ``(T,)``, true only at the end.
        truncated: ``(T,)``, true only at the end; all false if the recording stops before the task
            ends.
        observation_space: As the environment declares it.
        action_space: As the environment declares it.
        seed: Seed of the environment's reset; 0 if unknown.
        task: Name of the task, if the environment has several; else empty.
        success: Mean success of its attempts; None if unknown.
        recorded: The values of ``recorded_space`` in the infos: an array per key with T+1 rows, the
            first from the reset; None without a ``recorded_space``.
        recorded_space: As the environment declares it; None if it does not.

    Raises:
        RecordingError: If the values do not match the spaces, with the reason.
        UnsupportedSpaceError: If the observation or action space is not supported.
    """
    check_observation(observation_space)
    flat = flat_observation(observations, observation_space)
    declared = canonical_observation(observation_space)
    if flat.keys() != declared.spaces.keys():
        raise RecordingError(
            f"the observations have the keys {sorted(flat)}, their space has {sorted(declared.spaces)}."
        )
    columns = {
        f"{OBSERVATION}{key}": _convert(
            f"observation {key!r}", flat[key], stored_observation_dtype(space)
        )
        for key, space in declared.spaces.items()
    }
    columns["action"] = stored_action(actions, action_space)
    given = {"reward": rewards, "terminated": terminated, "truncated": truncated}
    columns |= {name: _convert(name, given[name], dtype) for name, dtype in _FIXED.items()}
    if recorded_space is not None:
        columns |= _recorded_columns(recorded or {}, recorded_space, len(columns["reward"]))
    trajectory = Trajectory(columns, seed, task=task, success=success)
    fault = next(_faults(trajectory, observation_space, action_space), None)
    if fault is not None:
        raise RecordingError(f"this recording cannot be learned from: {fault}.")
    return trajectory


def form_fault(
    trajectory: Trajectory, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> str | None:
    """Return how the columns of a trajectory differ from the format of the replay.

    Compares names, rows, dtypes and shapes, not values. A fault is a sentence without its full stop;
    None if there is none.
    """
    wanted = _expected_columns(observation_space, action_space)
    names = {name for name in trajectory.columns if name.startswith(OBSERVATION) or name in wanted}
    lacking, odd = sorted(wanted.keys() - names), sorted(names - wanted.keys())
    if lacking or odd:
        faults = [f"lacks {', '.join(lacking)}"] * bool(lacking)
        faults += [f"has {', '.join(odd)}, which the observation space does not have"] * bool(odd)
        columns = ", ".join(sorted(trajectory.columns)) or "none"
        return f"it {' and '.join(faults)}; its columns are {columns}"
    lists = [name for name, column in trajectory.columns.items() if not _is_array(column)]
    if lists:
        return f"{lists[0]} is not an array with rows"
    length = trajectory.length
    if length == 0:
        return "it has no transition"
    for name, column in trajectory.columns.items():
        rows = _rows(name, length, named=name in wanted)
        if len(column) not in rows:
            return f"{name} has {len(column)} rows instead of {' or '.join(map(str, rows))}"
        kind, given = wanted.get(name), (column.dtype, column.shape[1:])
        if kind is not None and given != kind:
            return f"{name} is {given[0]} {given[1]} per row instead of {kind[0]} {kind[1]}"
        if column.dtype.kind not in _STORABLE or not column.dtype.isnative or column.itemsize > 8:
            return f"{name} is {column.dtype}, which the replay cannot store"
    return None


def number_fault(
    trajectory: Trajectory, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> str | None:
    """Return which column has values that are not finite, or indices outside its space.

    The columns must have the right form. An observation may lie outside the bounds of its ``Box``:
    training does not rely on them.
    """
    indexed: dict[str, spaces.Space[Any]] = {
        f"{OBSERVATION}{key}": space
        for key, space in canonical_observation(observation_space).spaces.items()
        if not isinstance(space, spaces.Box)
    }
    canonical: spaces.Space[Any] = canonical_action(action_space)
    for name, column in trajectory.columns.items():
        if not np.isfinite(column).all():
            return f"{name} has numbers that are not finite"
        space = canonical if name == "action" else indexed.get(name)
        if space is not None and not _inside(column, space):
            return f"{name} has values outside {space}"
    return None


def end_fault(trajectory: Trajectory) -> str | None:
    """Return which transitions before the last are ``terminated`` or ``truncated``; None if none is."""
    for name in ENDS:
        early = np.flatnonzero(trajectory.columns[name][:-1]).tolist()
        if early:
            return (
                f"{name} is true at the transitions {early[:5]} of {trajectory.length}, before the last"
            )
    return None


def _faults(
    trajectory: Trajectory, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> Iterator[str]:
    for find in (form_fault, number_fault):
        fault = find(trajectory, observation_space, action_space)
        if fault is not None:
            yield fault
    fault = end_fault(trajectory)
    if fault is not None:
        yield fault


def _recorded_columns(
    recorded: Mapping[str, Any], space: spaces.Dict, length: int
) -> dict[str, np.ndarray]:
    """Return the columns of the ``recorded_space``, in the format of the replay."""
    fault = recorded_fault(space)
    if fault is not None:
        raise RecordingError(f"the environment cannot be recorded: {fault}.")
    if recorded.keys() != space.spaces.keys():
        raise RecordingError(
            f"the recorded values have the keys {sorted(recorded)}, recorded_space has "
            f"{sorted(space.spaces)}."
        )
    columns = {}
    for key, leaf in space.spaces.items():
        column = _convert(key, recorded[key], stored_observation_dtype(leaf))
        if column.shape != (wanted := (length + 1, *(leaf.shape or ()))):
            raise RecordingError(f"{key} has shape {column.shape}, its space has {wanted}.")
        columns[key] = column
    return columns


def _is_taken(key: str) -> bool:
    return key in TAKEN or key.startswith((OBSERVATION, "_"))


def _is_recordable(space: spaces.Space[Any]) -> bool:
    if not isinstance(space, _ARRAYS):
        return False
    dtype = stored_observation_dtype(space)
    return dtype.kind in _STORABLE and dtype.itemsize <= 8


def _expected_columns(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return dtype and row shape of every required column."""
    action = canonical_action(action_space)
    observed = canonical_observation(observation_space).spaces
    return {
        **{
            f"{OBSERVATION}{k}": (stored_observation_dtype(s), s.shape or ())
            for k, s in observed.items()
        },
        "action": (stored_action_dtype(action), action.shape or ()),
        **{name: (dtype, ()) for name, dtype in _FIXED.items()},
    }


def _is_array(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.ndim > 0


def _layers(env: Any) -> Iterator[Any]:
    """Yield an environment and the environments inside its wrappers."""
    yield env
    if isinstance(env, gymnasium.Wrapper):
        yield from _layers(env.env)


def _rows(name: str, length: int, *, named: bool) -> tuple[int, ...]:
    if name.startswith(OBSERVATION):
        return (length + 1,)
    return (length,) if named else (length, length + 1)


def _inside(column: np.ndarray, space: spaces.Space[Any]) -> bool:
    """Return whether all rows lie in a space; an index outside it would be out of bounds."""
    match space:
        case spaces.Discrete():
            low, high = space.start, space.start + space.n - 1
        case spaces.MultiDiscrete():
            low, high = space.start, space.start + space.nvec - 1
        case spaces.Box():
            low, high = space.low, space.high
        case _:
            low, high = 0, 1
    return bool(((column >= low) & (column <= high)).all())


def _convert(name: str, values: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Return a copy with another dtype; raise RecordingError if a value would change."""
    given = as_array(name, values)
    if given.dtype.kind in _STORABLE:
        with np.errstate(invalid="ignore", over="ignore"):
            converted = np.array(given, dtype, order="C")
        if (given.dtype.kind == dtype.kind == "f") or np.array_equal(converted, given):
            return converted
    raise RecordingError(f"{name} is of type {given.dtype} and cannot become {dtype} without loss.")
