"""What a replay holds, from the facts of its shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amago_core.replay.errors import ReplayError
from amago_core.replay.index import Index
from amago_core.replay.naming import (
    PROTECTED,
    QUARANTINE,
    ShardName,
    files_in,
    moved_shards,
    shards_in,
)
from amago_core.replay.shards import Shard


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
class TaskSurvey:
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
class Survey:
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
    tasks: tuple[TaskSurvey, ...]
    problems: tuple[str, ...]


def survey(folder: Path) -> Survey:
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
    return Survey(
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


def _tasks(shards: list[Shard]) -> tuple[TaskSurvey, ...]:
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
        surveys.append(TaskSurvey(task, returns, lengths, successes[~np.isnan(successes)]))
    return tuple(surveys)
