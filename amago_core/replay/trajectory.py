"""Trajectories and slices of them, as columns.

A column has one row per transition or one row per timestep, which is one more: the last timestep has
an observation and no action.

Shape suffixes: T = transitions.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from amago_core.replay.errors import TrajectoryError

OBSERVATION = "obs."
"""Start of the name of every observation column: ``obs.<key>``."""

_REQUIRED = ("action", "reward", "terminated", "truncated")
_STORABLE = frozenset("biuf")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One recording of one task.

    Args:
        columns: ``obs.<key>`` (T+1, ...), ``action`` (T,) indices or (T, axes), ``reward``
            (T,), ``terminated`` (T,), ``truncated`` (T,), and whatever else a relabeler needs, with T
            or T+1 rows.
        seed: What the environment was reset with.
        start_time: Steps since the task began at the first timestep.
    """

    columns: Mapping[str, np.ndarray]
    seed: int
    start_time: int = 0

    @property
    def length(self) -> int:
        """T: transitions."""
        return len(self.columns["reward"])

    def slice(self, start: int, stop: int) -> Slice:
        """Return the transitions ``start`` to ``stop - 1`` and the timestep after them, as views."""
        length = self.length
        rows = {
            name: column[start : stop + len(column) - length] for name, column in self.columns.items()
        }
        if start == 0:
            return Slice(rows, self.start_time)
        return Slice(
            rows,
            self.start_time + start,
            self.columns["action"][start - 1, ...],
            float(self.columns["reward"][start - 1]),
        )


@dataclass(frozen=True, eq=False)
class Slice:
    """Neighbouring timesteps of one trajectory, and what led to the first of them.

    Args:
        columns: As in :class:`Trajectory`, with the rows of the slice alone.
        time: Steps since the task began at the first row.
        prev_action: Action before the first row, () or (axes,); None where the recording begins.
        prev_reward: Reward before the first row; 0 where the recording begins.
    """

    columns: Mapping[str, np.ndarray]
    time: int
    prev_action: np.ndarray | None = None
    prev_reward: float = 0.0

    @property
    def length(self) -> int:
        """T: transitions; the slice holds one timestep more."""
        return len(self.columns["reward"])


def stored_copy(trajectory: Trajectory) -> Trajectory:
    """Return a copy of a trajectory that can be stored: own memory, rows contiguous.

    Raises:
        TrajectoryError: If a column is missing, cannot be stored, or has neither T nor T+1 rows.
    """
    _check(trajectory.columns)
    copies = {name: np.array(column, order="C") for name, column in trajectory.columns.items()}
    return Trajectory(copies, int(trajectory.seed), int(trajectory.start_time))


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
