"""Inspect a replay: find it, summarize what it holds, verify its checksums. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amago_core.replay.index import Index
from amago_core.replay.replay_errors import DamagedShardError, ReplayError
from amago_core.replay.shard import Shard
from amago_core.replay.shard_name import (
    PROTECTED,
    QUARANTINE,
    ShardName,
    files_in,
    moved_shards,
    shards_in,
)
from amago_core.system.atomic_files import SET_ASIDE
from amago_registry.errors import did_you_mean


@dataclass(frozen=True)
class Group:
    """Totals of a group of shards.

    Args:
        shards: Number of shards.
        trajectories: Trajectories in them.
        timesteps: Transitions in them.
        bytes: Bytes of their files.
    """

    shards: int = 0
    trajectories: int = 0
    timesteps: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class TaskSummary:
    """Returns, lengths and successes of the trajectories of one task.

    Args:
        task: Name of the task; empty where it has none.
        returns: Return (sum of rewards) of each trajectory.
        lengths: Transitions of each trajectory.
        successes: Success of each trajectory for which one is known.
    """

    task: str
    returns: np.ndarray
    lengths: np.ndarray
    successes: np.ndarray


@dataclass(frozen=True)
class ReplaySummary:
    """Summary of a replay: counts by state and writer, and statistics by task.

    Args:
        folder: The replay.
        stored: Trajectories stored since it began, evicted ones included.
        gone: How many of them were evicted or cannot be read.
        kept: Shards in the folder that can be read.
        protected: Shards in ``protected/``.
        quarantined: Shards in quarantine, counted from their file names.
        writers: ``kept``, by writer.
        updates: First and last update at which recording began; None if ``kept`` is empty.
        tasks: Statistics of the trajectories, protected ones included, by task.
        problems: A sentence for each shard that cannot be read.
    """

    folder: Path
    stored: int
    gone: int
    kept: Group
    protected: Group
    quarantined: Group
    writers: Mapping[str, Group]
    updates: tuple[int, int] | None
    tasks: tuple[TaskSummary, ...]
    problems: tuple[str, ...]


def summarize_replay(folder: Path) -> ReplaySummary:
    """Summarize a replay from the facts of every shard; reads no columns and changes nothing.

    Raises:
        ReplayError: If the folder cannot be listed, or holds shards of an earlier format.
    """
    present = shards_in(folder)
    in_quarantine = list(moved_shards(files_in(folder / QUARANTINE)))
    damaged_copies = moved_shards(files_in(folder / PROTECTED / QUARANTINE))
    index = Index.build(present.values(), in_quarantine)
    problems: list[str] = []
    kept = _read(((folder / name.file, name) for name in sorted(present.values())), problems)
    copies = [(file, ShardName.parse_protected(file)) for file in sorted(files_in(folder / PROTECTED))]
    protected = _read(
        ((folder / PROTECTED / file, name) for file, name in copies if name is not None), problems
    )
    numbered = set(index.names)
    readable = sum(shard.name.trajectories for shard in kept if shard.name in numbered)
    updates = [shard.name.update for shard in kept]
    by_writer: dict[str, list[Shard]] = {}
    for shard in kept:
        by_writer.setdefault(shard.name.writer, []).append(shard)
    return ReplaySummary(
        folder=folder,
        stored=index.stored,
        gone=index.stored - readable,
        kept=_group(kept),
        protected=_group(protected),
        quarantined=_group_of_names([*in_quarantine, *damaged_copies]),
        writers={writer: _group(shards) for writer, shards in sorted(by_writer.items())},
        updates=(min(updates), max(updates)) if updates else None,
        tasks=_tasks([*kept, *protected]),
        problems=tuple(problems),
    )


def _read(files: Iterable[tuple[Path, ShardName]], problems: list[str]) -> list[Shard]:
    shards = []
    for path, name in files:
        try:
            shards.append(Shard.open(path, name))
        except FileNotFoundError:  # Evicted meanwhile.
            continue
        except ReplayError as error:
            problems.append(str(error))
    return shards


def _group_of_names(names: list[ShardName]) -> Group:
    return Group(len(names), sum(name.trajectories for name in names))


def _group(shards: list[Shard]) -> Group:
    return Group(
        shards=len(shards),
        trajectories=sum(shard.name.trajectories for shard in shards),
        timesteps=sum(shard.timesteps for shard in shards),
        bytes=sum(shard.size for shard in shards),
    )


def _tasks(shards: list[Shard]) -> tuple[TaskSummary, ...]:
    """Group the trajectories of all shards by task."""
    rows: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for shard in shards:
        facts = shard.facts
        for number, task in enumerate(shard.tasks):
            of_task = facts["tasks"] == number
            if not of_task.any():  # Our writer names no unused task; a foreign shard may.
                continue
            found = (facts["returns"][of_task], facts["lengths"][of_task], facts["successes"][of_task])
            rows.setdefault(task, []).append(found)
    summaries = []
    for task, parts in sorted(rows.items()):
        returns, lengths, successes = (np.concatenate(column) for column in zip(*parts, strict=True))
        summaries.append(TaskSummary(task, returns, lengths, successes[~np.isnan(successes)]))
    return tuple(summaries)


_SUBFOLDERS = {PROTECTED, QUARANTINE, SET_ASIDE}


def find_replay(folder: Path) -> Path:
    """Return the replay folder of a run, or the folder itself where it is a replay.

    Raises:
        ReplayError: If there is no replay; the message names what was found instead. Also if the folder
            cannot be read.
    """
    try:
        return _find(folder)
    except OSError as error:
        raise ReplayError(f"{folder} cannot be read: {error.strerror}") from None


def _find(folder: Path) -> Path:
    if (folder / "replay").is_dir():
        return folder / "replay"
    files = files_in(folder)
    if shards_in(folder) or _SUBFOLDERS & set(files) or any(name.endswith(".claim") for name in files):
        return folder
    if not folder.is_dir():
        if folder.exists():
            raise ReplayError(f"{folder} is a file. Name the folder of a run, or of a replay.")
        close = did_you_mean(folder.name, files_in(folder.absolute().parent))
        raise ReplayError(f"{folder} does not exist.{close}")
    if "spec.yaml" in files:
        raise ReplayError(f"{folder} is a run that has no replay: it has stored no trajectory yet.")
    raise ReplayError(
        f"{folder} holds no replay: there is neither a folder 'replay' in it nor a shard. "
        "Name the folder of a run, or of a replay."
    )


@dataclass(frozen=True)
class Verification:
    """Result of verifying a replay.

    Args:
        shards: Files that were read.
        trajectories: Trajectories in the intact ones.
        problems: A sentence for each damaged shard.
    """

    shards: int
    trajectories: int
    problems: tuple[str, ...]


def verify(folder: Path) -> Verification:
    """Verify every checksum of a replay; change nothing.

    A shard that is evicted meanwhile is skipped. Shards in quarantine are not read again.

    Raises:
        ReplayError: If the folder cannot be listed, or holds shards of an earlier format.
    """
    shards = trajectories = 0
    problems = []
    present = shards_in(folder)
    numbered = set(Index.build(present.values()).names)
    for path, name in _shard_files(folder, present):
        try:
            if path.parent == folder and name not in numbered:
                raise DamagedShardError(f"{path} holds trajectories that a newer shard holds too")
            verify_shard(path, name)
            trajectories += name.trajectories
        except FileNotFoundError:
            continue
        except ReplayError as error:
            problems.append(str(error))
        shards += 1
    return Verification(shards, trajectories, tuple(problems))


def verify_shard(path: Path, name: ShardName) -> Shard:
    """Verify all checksums of a shard; return its description.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedShardError: If it is corrupt.
        ReplayError: If it cannot be read for another reason.
    """
    shard = Shard.open(path, name)
    mapped = shard.map()
    for item in range(name.trajectories):
        mapped.trajectory(item)
    return shard


def _shard_files(folder: Path, present: dict[str, ShardName]) -> Iterator[tuple[Path, ShardName]]:
    for name in sorted(present.values()):
        yield folder / name.file, name
    for file in sorted(files_in(folder / PROTECTED)):
        protected = ShardName.parse_protected(file)
        if protected is not None:
            yield folder / PROTECTED / file, protected
