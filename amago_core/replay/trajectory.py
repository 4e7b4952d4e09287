"""What the replay asks of a trajectory, and how it tells that it is still the same."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from amago_core.replay.errors import TrajectoryError
from amago_registry.trajectories import OBSERVATION, Trajectory

_REQUIRED = ("action", "reward", "terminated", "truncated")
_STORABLE = frozenset("biuf")


def stored_copy(trajectory: Trajectory) -> Trajectory:
    """Return a copy of a trajectory that can be stored: own memory, rows contiguous.

    Raises:
        TrajectoryError: If a column is missing, cannot be stored, or has neither T nor T+1 rows.
    """
    _check(trajectory.columns)
    copies = {name: np.array(column, order="C") for name, column in trajectory.columns.items()}
    return replace(
        trajectory,
        columns=copies,
        seed=int(trajectory.seed),
        start_time=int(trajectory.start_time),
    )


def checksum(trajectory: Trajectory, number: int) -> int:
    """Return the CRC-32 of everything in a trajectory: names, types, shapes, contents, facts.

    Args:
        trajectory: What is stored.
        number: Trajectories that its writer stored before.
    """
    crc = zlib.crc32(f"{number} {trajectory.seed} {trajectory.start_time}".encode())
    for name, column in sorted(trajectory.columns.items()):
        crc = zlib.crc32(f"{name} {column.dtype.str} {column.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(column).data, crc)
    return crc


def _check(columns: Mapping[str, np.ndarray]) -> None:
    missing = [name for name in _REQUIRED if name not in columns]
    if not any(name.startswith(OBSERVATION) for name in columns):
        missing.append("obs.<key>")
    if missing:
        raise TrajectoryError(f"a trajectory without {', '.join(missing)} cannot be stored")
    length = len(columns["reward"])
    problems = [
        f"{name} {problem}"
        for name, column in columns.items()
        if (problem := _fault(name, column, length))
    ]
    if length == 0:
        problems.append("it has no transition")
    if problems:
        raise TrajectoryError(f"this trajectory cannot be stored: {'; '.join(problems)}")


def _fault(name: str, column: np.ndarray, length: int) -> str | None:
    """Return what is wrong with a column, None if nothing is."""
    if column.dtype.kind not in _STORABLE or not column.dtype.isnative or column.dtype.itemsize > 8:
        return f"has type {column.dtype}"
    rows = column.shape[0] if column.ndim else 0
    if name.startswith(OBSERVATION):
        return None if rows == length + 1 else f"has {rows} rows instead of {length + 1}"
    if name in _REQUIRED:
        return None if rows == length else f"has {rows} rows instead of {length}"
    return (
        None if rows in (length, length + 1) else f"has {rows} rows, neither {length} nor {length + 1}"
    )
