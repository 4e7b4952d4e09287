"""Read a shard: its header and facts, and its trajectories through a memory map.

:mod:`amago_core.replay.shard_format` documents the file format. A file may be damaged or malicious:
sizes and checksums are verified before anything in it is used.

Shape suffixes: K = trajectories of the shard.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from amago_core.replay.mapped_file import map_file
from amago_core.replay.replay_errors import DamagedShardError, ReplayError
from amago_core.replay.shard_format import (
    CHECKSUM,
    FACTS,
    FORMAT,
    LENGTH_BYTES,
    MAX_HEADER_BYTES,
    PREV_ACTIONS,
    Tensor,
    WriterTotals,
    describe_column,
    parse_header,
)
from amago_core.replay.shard_name import ShardName
from amago_core.replay.trajectory_checks import REQUIRED, START_TIME_LIMIT, checksum
from amago_core.system.untrusted_files import memory_share
from amago_registry.trajectories import OBSERVATION, Trajectory

_FIRST_READ = 2**14
"""Bytes of the first read: enough for header and facts of most shards."""

_WORD = 8

_MAX_CHARACTERS = 300
"""Maximum characters of a reason, which may quote the file; a longer one is truncated."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Header and facts of a shard, without its columns.

    Args:
        path: The file.
        name: Its parsed name.
        size: Bytes of the file.
        before: What its writer stored before it.
        tasks: Names of tasks.
        facts: Facts of its trajectories, (K,) each; see `FACTS`.
        columns: Offsets of its columns in the file, `PREV_ACTIONS` included.
        header: Checksum of header and facts.
    """

    path: Path
    name: ShardName
    size: int
    before: WriterTotals
    tasks: tuple[str, ...]
    facts: Mapping[str, np.ndarray]
    columns: Mapping[str, Tensor]
    header: int

    @classmethod
    def open(cls, path: Path, name: ShardName) -> Shard:
        """Read a shard's header and facts, and verify its sizes and the checksum of both.

        Raises:
            FileNotFoundError: If there is no such file.
            DamagedShardError: If it is not a valid shard of this name.
            ReplayError: If it cannot be read for another reason.
        """
        descriptor = _open(path)
        try:
            return cls._read(descriptor, path, name)
        except (ValueError, RecursionError) as error:
            deep = isinstance(error, RecursionError)
            raise _not_a_shard(path, "its header is nested too deeply" if deep else error) from None
        except OSError as error:
            raise _read_error(path, error) from None
        finally:
            os.close(descriptor)

    @classmethod
    def _read(cls, descriptor: int, path: Path, name: ShardName) -> Shard:
        size = _size(descriptor)
        start = os.pread(descriptor, _FIRST_READ, 0)
        length = int.from_bytes(start[:LENGTH_BYTES], "little")
        begin = LENGTH_BYTES + length
        if len(start) < LENGTH_BYTES or length > min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
            raise ValueError(f"it has {size} bytes and no valid header")
        if len(start) < begin:
            start = _read_exactly(descriptor, begin, 0)
        if size > memory_share(2):  # Its writer had it in memory twice.
            raise ValueError(f"it has {size:,} bytes, too many for this machine")
        tensors, metadata = parse_header(start[LENGTH_BYTES:begin], size)
        facts_bytes = _check_facts(tensors, name.trajectories)
        block = start[begin : begin + facts_bytes + _WORD]
        if len(block) < facts_bytes + _WORD:
            block = _read_exactly(descriptor, facts_bytes + _WORD, begin)
        crc = zlib.crc32(block[:facts_bytes], zlib.crc32(start[LENGTH_BYTES:begin]))
        if crc != int.from_bytes(block[facts_bytes:], "little"):
            raise ValueError("its facts do not have the checksum they were stored with")
        before, tasks = _metadata(metadata, name)
        facts = _facts(block, name.trajectories)
        columns = {key: tensors[key] for key in tensors if key not in FACTS and key != CHECKSUM}
        _check_values(facts, len(tasks))
        _check_columns(facts["lengths"], columns)
        return cls(path, name, size, before, tasks, facts, columns, crc)

    @property
    def timesteps(self) -> int:
        """Number of transitions in all its trajectories."""
        return int(self.facts["lengths"].sum())

    @property
    def after(self) -> WriterTotals:
        """What its writer stored up to and including it."""
        return WriterTotals(self.before.timesteps + self.timesteps, self.before.bytes + self.size)

    @property
    def schema(self) -> dict[str, str]:
        """Type, shape and kind of each column; see :func:`amago_core.replay.shard_format.schema`."""
        steps = self.timesteps
        return {
            name: describe_column(column.dtype, column.shape[1:], column.shape[0] > steps)
            for name, column in self.columns.items()
            if name != PREV_ACTIONS
        }

    def sizes(self) -> np.ndarray:
        """Return the bytes of each trajectory, (K,); shared bytes are counted with the first."""
        rows = {name: prod(c.shape[1:]) * c.dtype.itemsize for name, c in self.columns.items()}
        steps = self.timesteps
        per_step = sum(rows[n] for n, c in self.columns.items() if n != PREV_ACTIONS)
        per_trajectory = sum(
            rows[name]
            for name, column in self.columns.items()
            if name == PREV_ACTIONS or column.shape[0] > steps
        )
        sizes: np.ndarray = self.facts["lengths"] * per_step + (per_trajectory + _WORD * len(FACTS))
        sizes[0] += self.size - int(sizes.sum())
        return sizes

    def map(self) -> MappedShard:
        """Memory-map the file.

        Raises:
            FileNotFoundError: If another process evicted it.
            DamagedShardError: If its size has changed since it was opened.
            ReplayError: If it cannot be mapped.
        """
        descriptor = _open(self.path)
        try:
            if _size(descriptor) != self.size:
                raise ValueError("its size has changed")
            return MappedShard(self, map_file(descriptor, self.size))
        except ValueError as error:
            raise _not_a_shard(self.path, error) from None
        except OSError as error:
            raise _read_error(self.path, error) from None
        finally:
            os.close(descriptor)


class MappedShard:
    """A memory-mapped shard: its trajectories, as read-only views of the map.

    The file stays mapped as long as an array refers to it. Each trajectory is read whole the first
    time, for its checksum; later, only the pages in use are read. amago-core never changes a stored
    file; if another program truncates it while it is mapped, a process that reads the missing part is
    killed by the operating system (SIGBUS).

    Args:
        shard: Header and facts.
        memory: The file's bytes.
    """

    __slots__ = (
        "_action", "_checked", "_facts", "_per_timestep", "_per_transition", "_prev_actions", "_reward",
        "_size", "shard",
    )  # fmt: skip

    def __init__(self, shard: Shard, memory: np.ndarray) -> None:
        self.shard = shard
        steps = shard.timesteps
        columns = {name: tensor.view(memory) for name, tensor in shard.columns.items()}
        self._prev_actions = prev_actions = columns.pop(PREV_ACTIONS)
        self._per_transition = [(name, c) for name, c in columns.items() if len(c) == steps]
        self._per_timestep = [(name, c) for name, c in columns.items() if len(c) != steps]
        self._action, self._reward = columns["action"], columns["reward"]
        self._size = shard.size
        self._checked = bytearray(shard.name.trajectories)
        facts = shard.facts
        lengths = facts["lengths"]
        self._facts = list(
            zip(
                (np.cumsum(lengths) - lengths).tolist(),
                lengths.tolist(),
                facts["seeds"].tolist(),
                facts["start_times"].tolist(),
                (
                    prev_actions[item, ...] if has_one else None
                    for item, has_one in enumerate(facts["leads"].tolist())
                ),
                facts["prev_rewards"].tolist(),
                (shard.tasks[task] for task in facts["tasks"].tolist()),
                (None if np.isnan(s) else s for s in facts["successes"].tolist()),
                strict=True,
            )
        )

    def trajectory(self, item: int, start: int = 0, stop: int | None = None) -> Trajectory:
        """Return the transitions ``start`` to ``stop - 1`` of one trajectory, all if absent.

        Raises:
            FileNotFoundError: If another process removed the file.
            DamagedShardError: If the trajectory is corrupt.
        """
        # Reading a map whose file was truncated would kill the process: check first.
        if self.shard.path.stat().st_size < self._size:
            raise self._damaged("it has been truncated")
        if not self._checked[item]:
            self._check(item)
        return self._slice(item, start, stop)

    def _slice(self, item: int, start: int, stop: int | None) -> Trajectory:
        begin, length, seed, time, prev_action, prev_reward, task, success = self._facts[item]
        first, last = begin + start, begin + (length if stop is None else stop)
        rows = {name: column[first:last] for name, column in self._per_transition}
        # One extra row for each trajectory before.
        first_time, last_time = first + item, last + item + 1
        for name, column in self._per_timestep:
            rows[name] = column[first_time:last_time]
        if start:
            prev_action = self._action[first - 1, ...]
            prev_reward = float(self._reward[first - 1])
        return Trajectory(rows, seed, time + start, prev_action, prev_reward, task, success)

    def _check(self, item: int) -> None:
        trajectory = self._slice(item, 0, None)
        if checksum(trajectory, self.shard.name.first + item) != self.shard.facts["crc32"][item]:
            count = self.shard.name.trajectories
            raise self._damaged(
                f"trajectory {item + 1} of its {count} does not have the checksum it was stored with"
            )
        if trajectory.prev_action is None and self._prev_actions[item].tobytes().strip(b"\0"):
            raise self._damaged(
                "'prev_actions' is not zero for a trajectory that has no previous action"
            )
        for name, column in trajectory.columns.items():
            if column.dtype == np.bool_ and column.size and column.view(np.uint8).max() > 1:
                raise self._damaged(f"{name!r} has a value that is neither true nor false")
        self._checked[item] = True

    def _damaged(self, reason: str) -> DamagedShardError:
        return DamagedShardError(f"{self.shard.path} is damaged: {reason:.{_MAX_CHARACTERS}}")


def _not_a_shard(path: Path, reason: object) -> DamagedShardError:
    return DamagedShardError(f"{path} is not a shard of a replay: {reason!s:.{_MAX_CHARACTERS}}")


def _open(path: Path) -> int:
    """Open a file for reading; do not follow a symbolic link, and do not block on a named pipe."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        with suppress(OSError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise _not_a_shard(path, "it is not a regular file") from None
        raise _read_error(path, error) from None


def _size(descriptor: int) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    return status.st_size


def _read_exactly(descriptor: int, count: int, offset: int) -> bytes:
    data = os.pread(descriptor, count, offset)
    if len(data) != count:
        raise ValueError("it has been truncated")
    return data


def _read_error(path: Path, error: OSError) -> ReplayError:
    return ReplayError(f"{path} cannot be read: {error.strerror}")


def _metadata(metadata: Mapping[str, Any], name: ShardName) -> tuple[WriterTotals, tuple[str, ...]]:
    text = metadata.get("shard")
    description = json.loads(text) if isinstance(text, str) else None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"its metadata does not declare format {FORMAT}")
    if description.get("name") != name.file:
        raise ValueError("it was stored under another name")
    before, tasks = description.get("before"), description.get("tasks")
    if not isinstance(before, dict) or before.keys() != set(WriterTotals._fields):
        raise ValueError("its metadata lacks the totals of what was stored before")
    if not all(type(value) is int and 0 <= value < 2**62 for value in before.values()):
        raise ValueError("its metadata has impossible totals of what was stored before")
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise ValueError("its tasks are not a list of names")
    return WriterTotals(**before), tuple(tasks)


def _check_facts(tensors: Mapping[str, Tensor], count: int) -> int:
    """Check types and shapes of the facts; return their size in bytes, without their checksum."""
    expected: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        fact: (dtype, (count,)) for fact, dtype in FACTS.items()
    }
    expected[CHECKSUM] = (np.dtype(np.int64), (1,))
    found = {
        name: (tensor.dtype, tensor.shape)
        for name, tensor, _ in zip(tensors, tensors.values(), expected, strict=False)
    }
    if list(found.items()) != list(expected.items()):
        raise ValueError(f"it does not hold the facts of {count} trajectories")
    if count < 1:
        raise ValueError("it has no trajectory")
    return _WORD * len(FACTS) * count


def _facts(block: bytes, count: int) -> dict[str, np.ndarray]:
    return {
        fact: np.frombuffer(block, dtype, count, _WORD * count * number)
        for number, (fact, dtype) in enumerate(FACTS.items())
    }


def _check_values(facts: Mapping[str, np.ndarray], tasks: int) -> None:
    if not facts["lengths"].all():
        raise ValueError("it has a trajectory without transitions")
    limits = {
        "lengths": 2**62,
        "start_times": START_TIME_LIMIT,
        "tasks": tasks,
        "leads": 2,
        "crc32": 2**32,
    }
    for fact, limit in limits.items():
        if facts[fact].view(np.uint64).max() >= limit:  # Negative numbers become large ones.
            raise ValueError(f"its {fact} are not all from 0 to {limit - 1}")


def _check_columns(length_K: np.ndarray, columns: Mapping[str, Tensor]) -> None:
    """Check the columns' numbers of rows against the lengths."""
    steps, count = sum(length_K.tolist()), len(length_K)
    for name, column in columns.items():
        rows = column.shape[0] if column.shape else -1
        if name == PREV_ACTIONS:
            continue
        possible = (steps, steps + count)
        if name in REQUIRED:
            possible = (steps, steps)
        elif name.startswith(OBSERVATION):
            possible = (steps + count, steps + count)
        if rows not in possible:
            raise ValueError(f"{name!r} has shape {column.shape}, its lengths add up to {steps}")
    missing = [name for name in (*REQUIRED, PREV_ACTIONS) if name not in columns]
    if missing or not any(name.startswith(OBSERVATION) for name in columns):
        raise ValueError(f"it has no {' and no '.join(missing) or 'observation'}")
    action, prev_actions = columns["action"], columns[PREV_ACTIONS]
    if (prev_actions.dtype, prev_actions.shape) != (action.dtype, (count, *action.shape[1:])):
        raise ValueError("'prev_actions' does not have the type and shape of its actions")
    if columns["reward"].shape != (steps,):
        raise ValueError("'reward' does not have one number per transition")
