"""The file format of a shard: many trajectories in one safetensors file, encoded and parsed here.

A shard is one safetensors file. After its header it holds, in this order: the facts, which are 8 bytes
of metadata each per trajectory (`FACTS`); a checksum of header and facts; the previous action of each
trajectory; and every column, concatenated over its trajectories, columns of wide types first. The data
of one trajectory has its own CRC-32, which is one of its facts. So everything is covered by a checksum,
and the facts can be read without the columns.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from amago_core.replay.replay_errors import ReplayError, TrajectoryError
from amago_core.replay.shard_name import ShardName
from amago_core.replay.trajectory_checks import MAX_AXES, checksum
from amago_registry.trajectories import Trajectory

FORMAT = 2

MAX_HEADER_BYTES = 2**20
"""Maximum size of a header in bytes."""

FACTS: Mapping[str, np.dtype[Any]] = {
    "lengths": np.dtype(np.int64),
    "seeds": np.dtype(np.int64),
    "start_times": np.dtype(np.int64),
    "tasks": np.dtype(np.int64),
    "leads": np.dtype(np.int64),
    "crc32": np.dtype(np.int64),
    "returns": np.dtype(np.float64),
    "successes": np.dtype(np.float64),
    "prev_rewards": np.dtype(np.float64),
}
"""Metadata per trajectory: length in transitions; reset seed; time of the first timestep; index of the
task's name in the shard's list; whether there is a previous action; CRC-32; return (sum of rewards);
success (NaN where unknown); previous reward."""

MIN_TRAJECTORY_BYTES = sum(dtype.itemsize for dtype in FACTS.values())
"""Minimum bytes of a stored trajectory."""

CHECKSUM = "checksum"

PREV_ACTIONS = "prev_actions"

RESERVED = frozenset({*FACTS, CHECKSUM, PREV_ACTIONS, "__metadata__"})
"""Names that no column may have."""

DTYPES = {
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

_CODES = {dtype: code for code, dtype in DTYPES.items()}


class WriterTotals(NamedTuple):
    """Totals of what a writer stored before a shard, beside the number of trajectories."""

    timesteps: int = 0
    bytes: int = 0


def encode(trajectories: Sequence[Trajectory], name: ShardName, before: WriterTotals) -> bytes:
    """Encode trajectories as the bytes of a shard.

    Args:
        trajectories: The trajectories, all with the same columns.
        name: Name of the shard.
        before: What its writer stored before.

    Raises:
        ReplayError: If names of tasks and columns make the header too long to be read back.
    """
    tasks = list(dict.fromkeys(trajectory.task for trajectory in trajectories))
    facts = _facts(trajectories, name.first, {task: n for n, task in enumerate(tasks)})
    arrays = {PREV_ACTIONS: _prev_actions(trajectories)} | {
        column: np.concatenate([trajectory.columns[column] for trajectory in trajectories])
        for column in trajectories[0].columns
    }
    # With wide types first, every array is aligned to its item size.
    ordered = dict(sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize))
    metadata = {"format": FORMAT, "name": name.file, "before": before._asdict(), "tasks": tasks}
    header = _header({**facts, CHECKSUM: np.zeros(1, np.int64), **ordered}, metadata)
    if len(header) > MAX_HEADER_BYTES:
        raise ReplayError(
            f"the names of tasks and columns take {len(header):,} bytes of a shard, more than the "
            f"{MAX_HEADER_BYTES:,} that are read: shorten them, or store fewer trajectories at a time"
        )
    block = b"".join(values.tobytes() for values in facts.values())
    crc = np.array([zlib.crc32(block, zlib.crc32(header))], np.int64)
    # A flat view of bytes: numpy has no buffer for an array without elements.
    columns = (array.reshape(-1).view(np.uint8).data for array in ordered.values() if array.size)
    return b"".join([len(header).to_bytes(8, "little"), header, block, crc.tobytes(), *columns])


def schema(trajectory: Trajectory) -> dict[str, str]:
    """Return the schema that all trajectories of a replay share: type, shape and kind of each column.

    Raises:
        TrajectoryError: If a column has a reserved name.
    """
    taken = sorted(set(trajectory.columns) & RESERVED)
    if taken:
        raise TrajectoryError(
            f"a column cannot be called {' or '.join(taken)}: the replay uses the name"
        )
    return {
        name: describe_column(column.dtype, column.shape[1:], len(column) > trajectory.length)
        for name, column in trajectory.columns.items()
    }


def describe_column(dtype: np.dtype[Any], shape: tuple[int, ...], per_timestep: bool) -> str:
    """Describe a column: type, shape, and whether it has a row per timestep or per transition."""
    return f"{dtype} {shape} per {'timestep' if per_timestep else 'transition'}"


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Describe how one schema differs from another."""
    return "; ".join(
        f"{name} is {now.get(name, 'absent')}, it was {before.get(name, 'absent')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )


def _facts(
    trajectories: Iterable[Trajectory], first: int, tasks: Mapping[str, int]
) -> dict[str, np.ndarray]:
    rows = []
    with np.errstate(invalid="ignore", over="ignore"):
        for number, trajectory in enumerate(trajectories, start=first):
            reward_T = trajectory.columns["reward"]
            rows.append(
                (
                    trajectory.length,
                    trajectory.seed,
                    trajectory.start_time,
                    tasks[trajectory.task],
                    trajectory.prev_action is not None,
                    checksum(trajectory, number),
                    reward_T.sum(dtype=np.float64),
                    np.nan if trajectory.success is None else trajectory.success,
                    trajectory.prev_reward,
                )
            )
    values = zip(*rows, strict=True)
    return {
        fact: np.array(column, dtype)
        for (fact, dtype), column in zip(FACTS.items(), values, strict=True)
    }


def _prev_actions(trajectories: Sequence[Trajectory]) -> np.ndarray:
    action = trajectories[0].columns["action"]
    found = np.zeros((len(trajectories), *action.shape[1:]), action.dtype)
    for number, trajectory in enumerate(trajectories):
        if trajectory.prev_action is not None:
            found[number] = trajectory.prev_action
    return found


def _header(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> bytes:
    """Return the JSON of a safetensors header, padded to a multiple of 8 bytes."""
    header: dict[str, Any] = {"__metadata__": {"shard": json.dumps(metadata)}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


LENGTH_BYTES = 8
"""Bytes before the header, which hold its length."""

_MAX_TENSOR_BYTES = 2**62

_KEYS = {"dtype", "shape", "data_offsets"}


class Tensor(NamedTuple):
    """A tensor's type, shape and offset in its file.

    Args:
        dtype: Type of its elements.
        shape: Its shape.
        offset: Offset of its first byte from the start of the file.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def view(self, memory: np.ndarray) -> np.ndarray:
        """Return the tensor as a view of the file's bytes."""
        return memory[self.offset : self.offset + self.bytes].view(self.dtype).reshape(self.shape)


def parse_header(text: bytes, size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Parse a safetensors header: the file's tensors in order of their offsets, and its metadata.

    Args:
        text: The header.
        size: Size of the whole file in bytes.

    Raises:
        ValueError: If the header is malformed, or the tensors do not fill the file exactly from the
            header to its end.
        RecursionError: If the header is nested too deeply.
    """
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict):
        raise ValueError("its header has no metadata")
    tensors: dict[str, Tensor] = {}
    end = begin = LENGTH_BYTES + len(text)
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != _KEYS:
            raise ValueError(f"{name!r} is not described by {', '.join(sorted(_KEYS))}")
        code, shape = entry["dtype"], entry["shape"]
        dtype = DTYPES.get(code) if isinstance(code, str) else None
        if dtype is None:
            raise ValueError(f"{name!r} has type {code!r}")
        offset, end = end, end + _tensor_bytes(name, shape, dtype.itemsize)
        if entry["data_offsets"] != [offset - begin, end - begin]:
            raise ValueError(f"{name!r} does not begin where the tensor before it ends")
        tensors[name] = Tensor(dtype, tuple(shape), offset)
    if end != size:
        raise ValueError(f"it has {size} bytes, its header describes {end}")
    return tensors, metadata


def _tensor_bytes(name: str, shape: Any, itemsize: int) -> int:
    """Return the size of a tensor in bytes; other axes are bounded even where one has length 0."""
    valid = type(shape) is list and len(shape) <= MAX_AXES
    elements, bounded_bytes = 1, itemsize
    for axis in shape if valid else ():
        if type(axis) is not int or axis < 0:
            valid = False
            break
        elements *= axis
        bounded_bytes *= axis or 1
    if not valid or bounded_bytes > _MAX_TENSOR_BYTES:
        raise ValueError(f"{name!r} has an impossible shape")
    return elements * itemsize
