"""Shards: many trajectories in one immutable safetensors file.

A shard holds every column of its trajectories end to end, and four facts per trajectory: ``lengths``
(transitions), ``seeds``, ``start_times`` and ``crc32``. Its metadata give the number of trajectories
that the same writer stored before, and a CRC-32 of that number and the facts.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from amago_core.replay.errors import DamagedShardError, TrajectoryError
from amago_core.replay.naming import ShardName
from amago_core.replay.trajectory import checksum
from amago_registry.trajectories import Trajectory

FACTS = {"lengths": np.int64, "seeds": np.int64, "start_times": np.int64, "crc32": np.uint32}
"""Facts kept per trajectory; no column may have one of these names."""

_FORMAT = 1
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}


def encode(trajectories: Sequence[Trajectory], first: int) -> bytes:
    """Return the contents of a shard.

    Args:
        trajectories: What to store; all with the same columns.
        first: Trajectories that this writer stored before.
    """
    columns = {
        name: np.concatenate([trajectory.columns[name] for trajectory in trajectories])
        for name in trajectories[0].columns
    }
    facts = {
        "lengths": [trajectory.length for trajectory in trajectories],
        "seeds": [trajectory.seed for trajectory in trajectories],
        "start_times": [trajectory.start_time for trajectory in trajectories],
        "crc32": [checksum(trajectory, first + n) for n, trajectory in enumerate(trajectories)],
    }
    arrays = {name: np.array(values, FACTS[name]) for name, values in facts.items()}
    described = {"format": _FORMAT, "first": first, "crc32": _facts_checksum(first, arrays)}
    data: bytes = save({**columns, **arrays}, {"shard": json.dumps(described)})
    return data


def schema(trajectory: Trajectory) -> dict[str, str]:
    """Return what all trajectories of a shard must share: type, shape and kind of each column.

    Raises:
        TrajectoryError: If a column has the name of a fact.
    """
    taken = sorted(set(trajectory.columns) & set(FACTS))
    if taken:
        raise TrajectoryError(
            f"a column cannot be called {' or '.join(taken)}: the replay uses the name"
        )
    return {
        name: f"{column.dtype} {column.shape[1:]}"
        + (" per timestep" if len(column) > trajectory.length else " per transition")
        for name, column in trajectory.columns.items()
    }


@dataclass(frozen=True)
class _Column:
    """Where a column lies in its file."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    offset: int

    def view(self, memory: mmap.mmap) -> np.ndarray:
        return np.ndarray(self.shape, self.dtype, memory, self.offset)


class OpenColumns(dict[str, np.ndarray]):
    """Columns of a shard as read-only views of its memory map, which lives as long as they do."""


@dataclass(frozen=True, eq=False)
class Shard:
    """What is known of a shard without its columns.

    Args:
        path: The file.
        name: Its name, taken apart.
        first: Trajectories that the same writer stored before.
        lengths: Transitions of each trajectory.
        seeds: Reset seed of each trajectory.
        start_times: Time of each trajectory's first timestep.
        checksums: CRC-32 of each trajectory.
    """

    path: Path
    name: ShardName
    first: int
    lengths: list[int]
    seeds: list[int]
    start_times: list[int]
    checksums: list[int]
    _columns: dict[str, _Column]
    _begins: list[int]
    _checked: set[int] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path, name: ShardName) -> Shard:
        """Read what a shard holds and check its sizes; columns are not read.

        Raises:
            FileNotFoundError: If there is no such file.
            DamagedShardError: If the file is not a shard, or its columns do not match its lengths.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                columns = _columns(file, path.stat().st_size)
                facts = {fact: file.get_tensor(fact) for fact in FACTS}
                first = _first(file.metadata(), facts)
            lengths = _lengths(facts, columns)
        except FileNotFoundError:
            raise
        except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
            raise DamagedShardError(
                f"{path} is not a shard of a replay: {error}. "
                "Move the file out of the folder to go on without its trajectories."
            ) from None
        begins = np.concatenate([[0], np.cumsum(facts["lengths"])]).tolist()
        return cls(
            path=path,
            name=name,
            first=first,
            lengths=lengths,
            seeds=facts["seeds"].tolist(),
            start_times=facts["start_times"].tolist(),
            checksums=facts["crc32"].tolist(),
            _columns=columns,
            _begins=begins,
        )

    @property
    def count(self) -> int:
        """Trajectories in the shard."""
        return len(self.lengths)

    def map(self) -> OpenColumns:
        """Map the file and return its columns.

        Raises:
            FileNotFoundError: If another process removed the file.
        """
        with self.path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return OpenColumns({name: column.view(memory) for name, column in self._columns.items()})

    def trajectory(self, columns: OpenColumns, item: int) -> Trajectory:
        """Return one trajectory as views; its checksum is compared the first time.

        Raises:
            DamagedShardError: If the trajectory is not what was written.
        """
        begin, length = self._begins[item], self.lengths[item]
        steps = self._begins[-1]
        rows = {}
        for name, column in columns.items():
            if len(column) == steps:
                rows[name] = column[begin : begin + length]
            else:  # one row more for each trajectory before
                rows[name] = column[begin + item : begin + item + length + 1]
        trajectory = Trajectory(rows, self.seeds[item], self.start_times[item])
        if item not in self._checked:
            self._compare(trajectory, item)
        return trajectory

    def _compare(self, trajectory: Trajectory, item: int) -> None:
        if checksum(trajectory, self.first + item) != self.checksums[item]:
            raise DamagedShardError(
                f"{self.path} is damaged: trajectory {item + 1} of its {self.count} does not have the "
                "checksum it was stored with. "
                "Move the file out of the folder to go on without its trajectories."
            )
        self._checked.add(item)


def _columns(file: Any, size: int) -> dict[str, _Column]:
    """Return where the columns lie; safetensors has made sure that they fill the file's end."""
    found: dict[str, _Column] = {}
    end = 0
    for name in file.offset_keys():
        view = file.get_slice(name)
        if view.get_dtype() not in _DTYPES:
            raise ValueError(f"{name} has type {view.get_dtype()}")
        column = _Column(_DTYPES[view.get_dtype()], tuple(view.get_shape()), end)
        end += prod(column.shape) * column.dtype.itemsize
        found[name] = column
    begin = size - end
    return {
        name: _Column(column.dtype, column.shape, begin + column.offset)
        for name, column in found.items()
        if name not in FACTS
    }


def _facts_checksum(first: int, facts: Mapping[str, np.ndarray]) -> int:
    """Return the CRC-32 of what numbers the trajectories; columns have checksums of their own."""
    crc = zlib.crc32(str(first).encode())
    for fact in FACTS:
        crc = zlib.crc32(facts[fact].tobytes(), crc)
    return crc


def _first(metadata: Mapping[str, str] | None, facts: Mapping[str, np.ndarray]) -> int:
    described = json.loads((metadata or {}).get("shard", "null"))
    if not isinstance(described, dict) or described.get("format") != _FORMAT:
        raise ValueError(f"it does not say that it has format {_FORMAT}")
    first = described.get("first")
    if not isinstance(first, int) or first < 0:
        raise ValueError(f"its first trajectory cannot be {first!r}")
    if described.get("crc32") != _facts_checksum(first, facts):
        raise ValueError("its facts do not have the checksum they were stored with")
    return first


def _lengths(facts: Mapping[str, np.ndarray], columns: Mapping[str, _Column]) -> list[int]:
    for fact, values in facts.items():
        if values.dtype != FACTS[fact] or values.shape != (len(facts["lengths"]),):
            raise ValueError(f"{fact} is {values.dtype} {values.shape}")
    lengths: list[int] = facts["lengths"].tolist()
    if not lengths or min(lengths) < 1:
        raise ValueError("it has a trajectory without transitions, or none at all")
    steps = sum(lengths)
    for name, column in columns.items():
        if not column.shape or column.shape[0] not in (steps, steps + len(lengths)):
            raise ValueError(f"{name} has shape {column.shape}, its lengths add up to {steps}")
    if "reward" not in columns or columns["reward"].shape != (steps,):
        raise ValueError("it has no reward for each transition")
    return lengths
