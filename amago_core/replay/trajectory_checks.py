"""Checks that a trajectory can be stored, and the checksum by which damage is found later."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from amago_core.replay.replay_errors import TrajectoryError
from amago_registry.trajectories import OBSERVATION, Trajectory

REQUIRED = ("action", "reward", "terminated", "truncated")
"""Columns that every trajectory must have, beside its observations."""

MAX_AXES = 16
"""Maximum axes of a column, rows included."""

_STORABLE = frozenset("biuf")

_SEED_LIMIT = 2**63

START_TIME_LIMIT = 2**62
"""Upper bound (exclusive) of a trajectory's start time."""


def stored_copy(trajectory: Trajectory) -> Trajectory:
    """Return a contiguous copy of a trajectory in its own memory, checked so that it can be stored.

    Raises:
        TrajectoryError: If a column is missing, cannot be stored, or has neither T nor T+1 rows, or
            the seed, start time or previous action cannot be stored.
    """
    _check(trajectory)
    prev_action, success = trajectory.prev_action, trajectory.success
    return replace(
        trajectory,
        columns={name: np.array(column, order="C") for name, column in trajectory.columns.items()},
        seed=int(trajectory.seed),
        start_time=int(trajectory.start_time),
        prev_action=None if prev_action is None else np.array(prev_action),
        prev_reward=float(trajectory.prev_reward),
        success=None if success is None or math.isnan(success) else float(success),
    )


def checksum(trajectory: Trajectory, number: int) -> int:
    """Return the CRC-32 of a trajectory: names, types, shapes and contents of columns, and its facts.

    Args:
        trajectory: The trajectory as it is stored.
        number: How many trajectories its writer stored before it.
    """
    success = trajectory.success
    facts = (
        number,
        int(trajectory.seed),
        int(trajectory.start_time),
        float(trajectory.prev_reward),
        None if success is None else float(success),
        trajectory.task,
    )
    crc = zlib.crc32(repr(facts).encode(errors="surrogatepass"))
    if trajectory.prev_action is not None:
        crc = _add_array("prev_action", trajectory.prev_action, crc)
    for name, column in sorted(trajectory.columns.items()):
        crc = _add_array(name, column, crc)
    return crc


def _add_array(name: str, array: np.ndarray, crc: int) -> int:
    crc = zlib.crc32(
        f"{name} {_dtype_name(array.dtype)} {array.shape}".encode(errors="surrogatepass"), crc
    )
    return zlib.crc32(np.ascontiguousarray(array).data, crc) if array.size else crc


@lru_cache(maxsize=64)
def _dtype_name(dtype: np.dtype[Any]) -> str:
    return dtype.str


def _check(trajectory: Trajectory) -> None:
    columns = trajectory.columns
    missing = [name for name in REQUIRED if name not in columns]
    if not any(name.startswith(OBSERVATION) for name in columns):
        missing.append("obs.<key>")
    if missing:
        raise TrajectoryError(f"a trajectory without {', '.join(missing)} cannot be stored")
    problems = [*_column_problems(columns), *_fact_problems(trajectory)]
    if problems:
        raise TrajectoryError(f"this trajectory cannot be stored: {'; '.join(problems)}")


def _column_problems(columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    length = len(columns["reward"])
    for name, column in columns.items():
        if problem := _column_problem(name, column, length):
            yield f"{name} {problem}"
    if length == 0:
        yield "it has no transition"


def _fact_problems(trajectory: Trajectory) -> Iterator[str]:
    action, prev_action = trajectory.columns["action"], trajectory.prev_action
    if prev_action is not None and (prev_action.dtype, prev_action.shape) != (
        action.dtype,
        action.shape[1:],
    ):
        yield (
            f"its prev_action is {prev_action.dtype} {prev_action.shape}, its actions are "
            f"{action.dtype} {action.shape[1:]}"
        )
    if not -_SEED_LIMIT <= trajectory.seed < _SEED_LIMIT:
        yield f"its seed {trajectory.seed} does not fit into 64 bits"
    if not 0 <= trajectory.start_time < START_TIME_LIMIT:
        yield f"it cannot begin at time {trajectory.start_time}"


def _column_problem(name: str, column: np.ndarray, length: int) -> str | None:
    """Return what is wrong with a column, None if nothing is."""
    if column.dtype.kind not in _STORABLE or not column.dtype.isnative or column.dtype.itemsize > 8:
        return f"has type {column.dtype}"
    if column.ndim > MAX_AXES:
        return f"has {column.ndim} axes, more than {MAX_AXES}"
    rows = column.shape[0] if column.ndim else 0
    if name.startswith(OBSERVATION):
        return None if rows == length + 1 else f"has {rows} rows instead of {length + 1}"
    if name in REQUIRED:
        return None if rows == length else f"has {rows} rows instead of {length}"
    return (
        None if rows in (length, length + 1) else f"has {rows} rows, neither {length} nor {length + 1}"
    )
