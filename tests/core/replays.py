"""Trajectories whose contents identify them, and shards edit_shard byte by byte."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from amago_core.replay import Replay, ReplayWriter, TrajectoryGoneError
from amago_core.replay.shard_format import CHECKSUM, FACTS
from amago_registry.trajectories import Trajectory

CODES = {"bool": "BOOL", "uint8": "U8", "int64": "I64", "float32": "F32", "float64": "F64"}


def recording(number: int, length: int = 3, **facts: Any) -> Trajectory:
    """Return a trajectory in which every observation identifies itself: 100 * number + time."""
    return Trajectory(
        {
            "obs.place": np.arange(length + 1, dtype=np.float32)[:, None] + 100 * number,
            "obs.image": np.full((length + 1, 2, 2), number % 256, np.uint8),
            "action": np.arange(length, dtype=np.uint8) % 5,
            "reward": np.arange(length, dtype=np.float32) + number,
            "terminated": np.arange(length) == length - 1,
            "truncated": np.zeros(length, bool),
        },
        seed=number,
        start_time=facts.pop("start_time", number % 7),
        **facts,
    )


def store(writer: ReplayWriter, numbers: Iterable[int], update: int = 0, length: int = 3) -> Path:
    for number in numbers:
        writer.append(recording(number, length))
    path = writer.flush(update)
    assert path is not None
    return path


def numbers(replay: Replay) -> list[int]:
    """Return the seeds of everything visible: those of `recording` are its numbers."""
    return [replay.trajectory(index).seed for index in replay.visible()]


def drawn(replay: Replay, limit: int | None = None) -> list[int | None]:
    """Return the seed at every position of a view; None where the trajectory is gone."""
    view = replay.view(limit)
    found: list[int | None] = []
    for position in range(len(view)):
        try:
            found.append(view.trajectory(position).seed)
        except TrajectoryGoneError:
            found.append(None)
    return found


def present(replay: Replay) -> dict[int, int]:
    """Return the seed of every trajectory that is still there, by index."""
    found = {}
    for index in range(replay.stored):
        with suppress(TrajectoryGoneError):
            found[index] = replay.trajectory(index).seed
    return found


def same(left: Trajectory, right: Trajectory) -> bool:
    def facts(one: Trajectory) -> tuple[Any, ...]:
        return (one.seed, one.start_time, one.prev_reward, one.task, one.success, one.prev_action)

    return (
        facts(left) == facts(right)
        and left.columns.keys() == right.columns.keys()
        and all(
            column.dtype == right.columns[name].dtype and np.array_equal(column, right.columns[name])
            for name, column in left.columns.items()
        )
    )


def parse_shard(path: Path) -> tuple[dict[str, Any], bytes]:
    """Parse a shard into its header and the bytes after it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_shard(path: Path, header: Mapping[str, Any] | bytes, body: bytes) -> None:
    """Write a shard with a valid checksum of its header and facts, as an attacker would."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    begin, end = dict(_offsets(text)).get(CHECKSUM, (0, 0))
    if end - begin == 8 and end <= len(body):
        crc = zlib.crc32(body[:begin], zlib.crc32(text))
        body = body[:begin] + crc.to_bytes(8, "little") + body[end:]
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def _offsets(text: bytes) -> Iterable[tuple[str, tuple[int, int]]]:
    with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
        for name, described in json.loads(text).items():
            if name == CHECKSUM:
                begin, end = described["data_offsets"]
                yield name, (int(begin), int(end))


def edit_shard(path: Path, change: Any, facts: Mapping[str, list[float]] | None = None) -> None:
    """Edit a shard and recompute its checksum, as an attacker would.

    Args:
        path: The shard.
        change: Called with its header and its metadata, both parsed.
        facts: New values of facts.
    """
    header, body = parse_shard(path)
    described = json.loads(header["__metadata__"]["shard"])
    change(header, described)
    if "shard" in header.get("__metadata__", ()):
        header["__metadata__"]["shard"] = json.dumps(described)
    data = bytearray(body)
    for fact, values in (facts or {}).items():
        begin, end = header[fact]["data_offsets"]
        data[begin:end] = np.array(values, FACTS[fact]).tobytes()
    write_shard(path, header, bytes(data))
