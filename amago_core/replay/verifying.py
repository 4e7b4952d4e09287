"""Reading every byte of a replay to see whether it is what was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amago_core.replay.errors import DamagedShardError, ReplayError
from amago_core.replay.index import Index
from amago_core.replay.naming import PROTECTED, ShardName, files_in, shards_in
from amago_core.replay.shards import Shard


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
