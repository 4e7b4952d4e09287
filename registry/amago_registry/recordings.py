"""From what somebody recorded to trajectories, and whether a trajectory is one that agents learn from.

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
        # What the info says beside.
        "success",
        "task",
        "attempt",
        "final_obs",
        "final_info",
        # What a shard of the replay holds beside columns.
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
"""Names that a recorded column cannot have, beside those that begin with ``obs.`` or ``_``."""


def recorded_space_of(env: gymnasium.Env[Any, Any]) -> Any:
    """Return what an environment, or one that it wraps, says that it records; None where none does.

    A property that raises AttributeError is not taken for one that is missing.
    """
    name = "recorded_space"
    owners = (layer for layer in _layers(env) if hasattr(type(layer), name) or name in vars(layer))
    return next((layer.recorded_space for layer in owners), None)


def recorded_fault(space: Any, called: str = "recorded_space") -> str | None:
    """Return why an environment cannot record what lies in a space.

    Args:
        space: What it declares; see :class:`amago_registry.protocols.Environment`.
        called: The attribute in which it does.

    Returns:
        A sentence without its full stop; None where it can.
    """
    if not isinstance(space, spaces.Dict):
        return f"its {called} is {space!r}, no gymnasium.spaces.Dict"
    unnamed = [repr(key) for key in space.spaces if not isinstance(key, str)]
    if unnamed:
        return (
            f"its {called} has the key {' and '.join(unnamed)}: keys are names of columns, so strings"
        )
    taken = [key for key in space.spaces if _is_taken(key)]
    if taken:
        return (
            f"its {called} has the key {' and '.join(map(repr, taken))}, which means something "
            "else in a trajectory or an info: choose another name"
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
    """Return a recording of one task, from its reset on, as the replay would have stored it.

    Args:
        observations: T+1 of them, the last after the last action: arrays ``(T+1, ...)``, in
            dictionaries and tuples where the space is nested.
        actions: ``(T, ...)`` of the environment's action space.
        rewards: ``(T,)``.
        terminated: ``(T,)``, true only at the end.
        truncated: ``(T,)``, true only at the end; nowhere where the recording just stops.
        observation_space: As the environment declares it.
        action_space: As the environment declares it.
        seed: What the environment was reset with; 0 where nobody knows.
        task: Name of the task, where the environment has several; else empty.
        success: Mean outcome of its attempts; None where nobody knows.
        recorded: What the environment put into its infos of ``recorded_space``: by its keys, T+1 of
            each, the first that of the reset; absent where that is.
        recorded_space: As the environment declares it; None where it does not.

    Raises:
        RecordingError: Saying what does not fit.
        UnsupportedSpaceError: If agents do not see observations, or take actions, of these spaces.
    """
    check_observation(observation_space)
    seen = flat_observation(observations, observation_space)
    declared = canonical_observation(observation_space)
    if seen.keys() != declared.spaces.keys():
        raise RecordingError(
            f"the observations have the keys {sorted(seen)}, their space has {sorted(declared.spaces)}."
        )
    columns = {
        f"{OBSERVATION}{key}": _converted(
            f"observation {key!r}", seen[key], stored_observation_dtype(space)
        )
        for key, space in declared.spaces.items()
    }
    columns["action"] = stored_action(actions, action_space)
    given = {"reward": rewards, "terminated": terminated, "truncated": truncated}
    columns |= {name: _converted(name, given[name], dtype) for name, dtype in _FIXED.items()}
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
    """Return how the columns of a trajectory differ from what the replay would have stored.

    Names, rows, types and shapes; no number is looked at. A fault is a sentence without its full stop;
    None where there is none.
    """
    wanted = _wanted(observation_space, action_space)
    names = {name for name in trajectory.columns if name.startswith(OBSERVATION) or name in wanted}
    lacking, odd = sorted(wanted.keys() - names), sorted(names - wanted.keys())
    if lacking or odd:
        faults = [f"lacks {', '.join(lacking)}"] * bool(lacking)
        faults += [f"has {', '.join(odd)}, which the observation space has not"] * bool(odd)
        columns = ", ".join(sorted(trajectory.columns)) or "none"
        return f"it {' and '.join(faults)}; its columns are {columns}"
    lists = [name for name, column in trajectory.columns.items() if not _is_array(column)]
    if lists:
        return f"{lists[0]} is no array with rows"
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
    """Return what is not finite, or no index of its space, in a trajectory of the right form.

    An observation of a ``Box`` may lie outside its bounds: nothing that learns relies on them.
    """
    indexed: dict[str, spaces.Space[Any]] = {
        f"{OBSERVATION}{key}": space
        for key, space in canonical_observation(observation_space).spaces.items()
        if not isinstance(space, spaces.Box)
    }
    acted: spaces.Space[Any] = canonical_action(action_space)
    for name, column in trajectory.columns.items():
        if not np.isfinite(column).all():
            return f"{name} has numbers that are not finite"
        space = acted if name == "action" else indexed.get(name)
        if space is not None and not _inside(column, space):
            return f"{name} has values outside {space}"
    return None


def end_fault(trajectory: Trajectory) -> str | None:
    """Return where a trajectory goes on after it ended."""
    for name in ENDS:
        early = np.flatnonzero(trajectory.columns[name][:-1]).tolist()
        if early:
            return f"{name} at the transitions {early[:5]} of {trajectory.length}, it goes on"
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
    """Return what was recorded beside the observations, as the replay would have stored it."""
    fault = recorded_fault(space)
    if fault is not None:
        raise RecordingError(f"of the environment, {fault}.")
    if recorded.keys() != space.spaces.keys():
        raise RecordingError(
            f"what is recorded has the keys {sorted(recorded)}, its space has {sorted(space.spaces)}."
        )
    columns = {}
    for key, leaf in space.spaces.items():
        column = _converted(key, recorded[key], stored_observation_dtype(leaf))
        if column.shape != (wanted := (length + 1, *(leaf.shape or ()))):
            raise RecordingError(f"{key} has shape {column.shape}, its space says {wanted}.")
        columns[key] = column
    return columns


def _is_taken(key: str) -> bool:
    return key in TAKEN or key.startswith((OBSERVATION, "_"))


def _is_recordable(space: spaces.Space[Any]) -> bool:
    if not isinstance(space, _ARRAYS):
        return False
    dtype = stored_observation_dtype(space)
    return dtype.kind in _STORABLE and dtype.itemsize <= 8


def _wanted(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return type and shape of a row of every column that must be there."""
    acted = canonical_action(action_space)
    seen = canonical_observation(observation_space).spaces
    return {
        **{f"{OBSERVATION}{k}": (stored_observation_dtype(s), s.shape or ()) for k, s in seen.items()},
        "action": (stored_action_dtype(acted), acted.shape or ()),
        **{name: (dtype, ()) for name, dtype in _FIXED.items()},
    }


def _is_array(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.ndim > 0


def _layers(env: Any) -> Iterator[Any]:
    """Yield an environment and those that it wraps."""
    yield env
    if isinstance(env, gymnasium.Wrapper):
        yield from _layers(env.env)


def _rows(name: str, length: int, *, named: bool) -> tuple[int, ...]:
    if name.startswith(OBSERVATION):
        return (length + 1,)
    return (length,) if named else (length, length + 1)


def _inside(column: np.ndarray, space: spaces.Space[Any]) -> bool:
    """Return whether all rows lie in a space; one number more would index beyond an array."""
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


def _converted(name: str, values: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Return a copy of that type; what would silently become something else is refused."""
    given = as_array(name, values)
    if given.dtype.kind in _STORABLE:
        with np.errstate(invalid="ignore", over="ignore"):
            converted = np.array(given, dtype, order="C")
        if (given.dtype.kind == dtype.kind == "f") or np.array_equal(converted, given):
            return converted
    raise RecordingError(f"{name} is of type {given.dtype} and cannot become {dtype} without loss.")
