"""What a replay holds, from the facts of its shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amago_core.replay.errors import DamagedShardError, ReplayError
from amago_core.replay.index import Index
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
    """Shards that lie together.

    Args:
        shards: How many they are.
        trajectories: How many trajectories they hold.
        timesteps: How many transitions they hold.
        bytes: Bytes of their files.
    """

    shards: int = 0
    trajectories: int = 0
    timesteps: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class TaskSummary:
    """How the trajectories of one task went.

    Args:
        task: Name of the task; empty where it has none.
        returns: Sum of the rewards of each.
        lengths: Transitions of each.
        successes: Outcome of each that has one.
    """

    task: str
    returns: np.ndarray
    lengths: np.ndarray
    successes: np.ndarray


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay holds.

    Args:
        folder: Where it lies.
        stored: Trajectories stored since it began, evicted ones included.
        gone: How many of them are not there or cannot be read.
        kept: What was stored and is still there.
        protected: What lies in ``protected/``.
        quarantined: What lies in quarantine, as the names of the files say.
        writers: What each writer stored and is still there.
        updates: First and last update at which recording began; None if nothing is there.
        tasks: How the trajectories went, protected ones included, by task.
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
    """Read the facts of every shard of a replay; no columns, and nothing is changed.

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
    there = sum(shard.name.trajectories for shard in kept if shard.name in numbered)
    updates = [shard.name.update for shard in kept]
    by_writer: dict[str, list[Shard]] = {}
    for shard in kept:
        by_writer.setdefault(shard.name.writer, []).append(shard)
    return ReplaySummary(
        folder=folder,
        stored=index.stored,
        gone=index.stored - there,
        kept=_group(kept),
        protected=_group(protected),
        quarantined=_named([*in_quarantine, *damaged_copies]),
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


def _named(names: list[ShardName]) -> Group:
    return Group(len(names), sum(name.trajectories for name in names))


def _group(shards: list[Shard]) -> Group:
    return Group(
        shards=len(shards),
        trajectories=sum(shard.name.trajectories for shard in shards),
        timesteps=sum(shard.timesteps for shard in shards),
        bytes=sum(shard.size for shard in shards),
    )


def _tasks(shards: list[Shard]) -> tuple[TaskSummary, ...]:
    """Gather the trajectories of all shards by task."""
    rows: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for shard in shards:
        facts = shard.facts
        for number, task in enumerate(shard.tasks):
            mine = facts["tasks"] == number
            if not mine.any():  # Only where somebody else wrote the shard.
                continue
            found = (facts["returns"][mine], facts["lengths"][mine], facts["successes"][mine])
            rows.setdefault(task, []).append(found)
    surveys = []
    for task, parts in sorted(rows.items()):
        returns, lengths, successes = (np.concatenate(column) for column in zip(*parts, strict=True))
        surveys.append(TaskSummary(task, returns, lengths, successes[~np.isnan(successes)]))
    return tuple(surveys)


_SUBFOLDERS = {PROTECTED, QUARANTINE, SET_ASIDE}


def find_replay(folder: Path) -> Path:
    """Return the replay of a run, or the folder itself where it is one.

    Raises:
        ReplayError: If there is no replay, saying what there is; or if nobody can tell.
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
    """What a replay holds, and what of it is damaged.

    Args:
        shards: Files that were read.
        trajectories: Trajectories in those that are whole.
        problems: A sentence for each damaged shard.
    """

    shards: int
    trajectories: int
    problems: tuple[str, ...]


def verify(folder: Path) -> Verification:
    """Read every shard of a replay and compare every checksum; change nothing.

    Shards that are evicted meanwhile are no problem. What lies in quarantine is not read again.

    Raises:
        ReplayError: If the folder cannot be listed, or holds shards of an earlier format.
    """
    shards = trajectories = 0
    problems = []
    present = shards_in(folder)
    numbered = set(Index.build(present.values()).names)
    for path, name in _files(folder, present):
        try:
            if path.parent == folder and name not in numbered:
                raise DamagedShardError(f"{path} claims the place of trajectories in another shard")
            check(path, name)
            trajectories += name.trajectories
        except FileNotFoundError:
            continue
        except ReplayError as error:
            problems.append(str(error))
        shards += 1
    return Verification(shards, trajectories, tuple(problems))


def check(path: Path, name: ShardName) -> Shard:
    """Read a whole shard and compare all its checksums.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedShardError: If it is not what was written.
        ReplayError: If it cannot be read for another reason.
    """
    shard = Shard.open(path, name)
    opened = shard.map()
    for item in range(name.trajectories):
        opened.trajectory(item)
    return shard


def _files(folder: Path, present: dict[str, ShardName]) -> Iterator[tuple[Path, ShardName]]:
    for name in sorted(present.values()):
        yield folder / name.file, name
    for file in sorted(files_in(folder / PROTECTED)):
        protected = ShardName.parse_protected(file)
        if protected is not None:
            yield folder / PROTECTED / file, protected
