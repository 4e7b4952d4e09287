"""What the replay asks of a trajectory, and how it tells that it is still the same."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from amago_core.replay.errors import TrajectoryError
from amago_registry.trajectories import OBSERVATION, Trajectory

REQUIRED = ("action", "reward", "terminated", "truncated")
"""Columns that every trajectory has, beside its observations."""

MOST_AXES = 16
"""Most axes of a column, rows included."""

_STORABLE = frozenset("biuf")

_SEEDS = 2**63

LATEST = 2**62
"""No trajectory begins at this time or later."""


def stored_copy(trajectory: Trajectory) -> Trajectory:
    """Return a copy of a trajectory that can be stored: own memory, rows contiguous.

    Raises:
        TrajectoryError: If a column is missing, cannot be stored, or has neither T nor T+1 rows, or
            what is known beside the columns cannot be stored.
    """
    _check(trajectory)
    before, success = trajectory.prev_action, trajectory.success
    return replace(
        trajectory,
        columns={name: np.array(column, order="C") for name, column in trajectory.columns.items()},
        seed=int(trajectory.seed),
        start_time=int(trajectory.start_time),
        prev_action=None if before is None else np.array(before),
        prev_reward=float(trajectory.prev_reward),
        success=None if success is None or math.isnan(success) else float(success),
    )


def checksum(trajectory: Trajectory, number: int) -> int:
    """Return the CRC-32 of everything in a trajectory: names, types, shapes, contents, facts.

    Args:
        trajectory: What is stored.
        number: Trajectories that its writer stored before.
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
        crc = _add("prev_action", trajectory.prev_action, crc)
    for name, column in sorted(trajectory.columns.items()):
        crc = _add(name, column, crc)
    return crc


def _add(name: str, array: np.ndarray, crc: int) -> int:
    crc = zlib.crc32(f"{name} {_word(array.dtype)} {array.shape}".encode(errors="surrogatepass"), crc)
    return zlib.crc32(np.ascontiguousarray(array).data, crc) if array.size else crc


@lru_cache(maxsize=64)
def _word(dtype: np.dtype[Any]) -> str:
    return dtype.str


def _check(trajectory: Trajectory) -> None:
    columns = trajectory.columns
    missing = [name for name in REQUIRED if name not in columns]
    if not any(name.startswith(OBSERVATION) for name in columns):
        missing.append("obs.<key>")
    if missing:
        raise TrajectoryError(f"a trajectory without {', '.join(missing)} cannot be stored")
    problems = [*_problems_of_columns(columns), *_problems_of_facts(trajectory)]
    if problems:
        raise TrajectoryError(f"this trajectory cannot be stored: {'; '.join(problems)}")


def _problems_of_columns(columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    length = len(columns["reward"])
    for name, column in columns.items():
        if problem := _fault(name, column, length):
            yield f"{name} {problem}"
    if length == 0:
        yield "it has no transition"


def _problems_of_facts(trajectory: Trajectory) -> Iterator[str]:
    action, before = trajectory.columns["action"], trajectory.prev_action
    if before is not None and (before.dtype, before.shape) != (action.dtype, action.shape[1:]):
        yield (
            f"the action before it is {before.dtype} {before.shape}, its own are "
            f"{action.dtype} {action.shape[1:]}"
        )
    if not -_SEEDS <= trajectory.seed < _SEEDS:
        yield f"its seed {trajectory.seed} does not fit into 64 bits"
    if not 0 <= trajectory.start_time < LATEST:
        yield f"it cannot begin at time {trajectory.start_time}"


def _fault(name: str, column: np.ndarray, length: int) -> str | None:
    """Return what is wrong with a column, None if nothing is."""
    if column.dtype.kind not in _STORABLE or not column.dtype.isnative or column.dtype.itemsize > 8:
        return f"has type {column.dtype}"
    if column.ndim > MOST_AXES:
        return f"has {column.ndim} axes, more than {MOST_AXES}"
    rows = column.shape[0] if column.ndim else 0
    if name.startswith(OBSERVATION):
        return None if rows == length + 1 else f"has {rows} rows instead of {length + 1}"
    if name in REQUIRED:
        return None if rows == length else f"has {rows} rows instead of {length}"
    return (
        None if rows in (length, length + 1) else f"has {rows} rows, neither {length} nor {length + 1}"
    )
