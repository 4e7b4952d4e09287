"""Reading a replay: the newest trajectories of a folder that others write to.

Every trajectory has an index that never changes: the number of trajectories stored before it, in the
order of shards, since the replay began.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from amago_core.durability import set_aside, sync_folder
from amago_core.replay.errors import ReplayError, TrajectoryGoneError
from amago_core.replay.naming import ShardName
from amago_core.replay.shards import OpenColumns, Shard
from amago_registry.trajectories import Trajectory


class Replay:
    """The trajectories of a folder, oldest first.

    Readers see the newest ``capacity`` trajectories among the first ``limit``: eviction is a matter of
    indices, files are removed later by `evict`. What is known is rebuilt from the files alone. Safe to
    read from one thread while another refreshes.

    Args:
        folder: Where the shards lie; need not exist yet.
        capacity: Most trajectories that are visible.
        open_files: Most shards mapped at a time; each takes one file descriptor.
    """

    def __init__(self, folder: Path, capacity: int, open_files: int = 256) -> None:
        if capacity < 1 or open_files < 1:
            raise ValueError(f"capacity {capacity} and open_files {open_files} must be at least 1")
        self.folder = folder
        self.capacity = capacity
        self._open_files = open_files
        self._index = _Index.build(())
        self._maps: OrderedDict[ShardName, OpenColumns] = OrderedDict()
        self._lock = Lock()
        self.refresh()

    @property
    def stored(self) -> int:
        """Trajectories stored since the replay began: one more than the newest index."""
        return self._index.stored

    def refresh(self) -> int:
        """Take up the shards that were written since, forget those that are gone.

        Returns:
            Trajectories stored since the replay began.

        Raises:
            DamagedShardError: If a new shard is not what was written.
        """
        known = {shard.name: shard for shard in self._index.shards}
        shards = [known.get(name) or self._open(name) for name in self._names()]
        with self._lock:
            self._index = _Index.build(shard for shard in shards if shard is not None)
            for name in known.keys() - {shard.name for shard in self._index.shards}:
                self._maps.pop(name, None)  # a mapped file keeps its place on the disk
        return self.stored

    def visible(self, limit: int | None = None) -> range:
        """Return the indices of the newest ``capacity`` trajectories among the first ``limit``.

        Args:
            limit: Trajectories that count as stored; all if absent.

        Raises:
            ReplayError: If fewer than ``limit`` are stored.
        """
        stored = self.stored
        if limit is None:
            limit = stored
        if not 0 <= limit <= stored:
            raise ReplayError(f"{self.folder} holds {stored} trajectories, {limit} were asked for")
        return range(max(0, limit - self.capacity), limit)

    def missing(self, limit: int) -> int:
        """Return how many of the trajectories that are visible under ``limit`` are no longer there."""
        visible = range(max(0, limit - self.capacity), limit)
        present = 0
        for start, shard in zip(self._index.starts, self._index.shards, strict=True):
            here = range(max(visible.start, start), min(visible.stop, start + shard.count))
            present += len(here)
        return len(visible) - present

    def trajectory(self, index: int) -> Trajectory:
        """Return a whole trajectory as read-only views of the file: what is not touched is not read.

        The first time, all of it is read once for its checksum.

        Raises:
            TrajectoryGoneError: If it was evicted.
            DamagedShardError: If it is not what was written.
        """
        shard, item = self._locate(index)
        return shard.trajectory(self._columns(shard, index), item)

    def evict(self, before: int) -> int:
        """Remove the shards whose trajectories all have an index below ``before``.

        Each writer's newest shard stays: its indices go on from there.

        Returns:
            Shards removed.
        """
        newest = {shard.name.writer: shard.name for shard in self._index.shards}
        removed = 0
        for start, shard in zip(self._index.starts, self._index.shards, strict=True):
            if start + shard.count <= before and shard.name != newest[shard.name.writer]:
                shard.path.unlink(missing_ok=True)
                removed += 1
        if removed:
            sync_folder(self.folder)
            self.refresh()
        return removed

    def set_aside(self, after: int) -> int:
        """Move the trajectories with index ``after`` and above into ``set-aside/``, newest first.

        Open the writers of the replay afterwards: their indices go on from ``after``.

        Returns:
            Trajectories moved.

        Raises:
            ReplayError: If a shard holds trajectories on both sides of ``after``; nothing is moved.
        """
        index = self._index
        for start, shard in zip(index.starts, index.shards, strict=True):
            if start < after < start + shard.count:
                raise ReplayError(
                    f"{shard.path} holds the trajectories {start} to {start + shard.count - 1} and "
                    f"cannot be divided at {after}"
                )
        moved = 0
        for start, shard in zip(reversed(index.starts), reversed(index.shards), strict=True):
            if start >= after:
                set_aside(shard.path)
                moved += shard.count
        self.refresh()
        return moved

    def _names(self) -> list[ShardName]:
        if not self.folder.is_dir():
            return []
        names = (ShardName.parse(path.name) for path in self.folder.iterdir())
        return sorted(name for name in names if name is not None)

    def _open(self, name: ShardName) -> Shard | None:
        try:
            return Shard.open(self.folder / name.file, name)
        except FileNotFoundError:  # evicted by another process since the folder was listed
            return None

    def _locate(self, index: int) -> tuple[Shard, int]:
        known = self._index
        place = bisect_right(known.starts, index) - 1
        if place >= 0:
            shard, item = known.shards[place], index - known.starts[place]
            if item < shard.count:
                return shard, item
        raise self._gone(index)

    def _columns(self, shard: Shard, index: int) -> OpenColumns:
        with self._lock:
            columns = self._maps.get(shard.name)
            if columns is not None:
                self._maps.move_to_end(shard.name)
                return columns
            try:
                columns = self._maps[shard.name] = shard.map()
            except FileNotFoundError:
                raise self._gone(index) from None
            if len(self._maps) > self._open_files:
                self._maps.popitem(last=False)
            return columns

    def _gone(self, index: int) -> TrajectoryGoneError:
        return TrajectoryGoneError(
            f"trajectory {index} is not in {self.folder}; it may have been evicted"
        )


@dataclass(frozen=True)
class _Index:
    """Shards in order, and the index of each one's first trajectory."""

    shards: list[Shard]
    starts: list[int]
    stored: int

    @classmethod
    def build(cls, shards: Iterable[Shard]) -> _Index:
        """Number the trajectories of shards given in order.

        Each shard says how many trajectories its writer stored before, so that the count of all
        writers together is right without the shards that were evicted.
        """
        ordered = list(shards)
        ends: dict[str, int] = {}
        for shard in ordered:
            ends.setdefault(shard.name.writer, shard.first)
        stored = sum(ends.values())
        starts = []
        for shard in ordered:
            writer = shard.name.writer
            stored += shard.first - ends[writer]
            starts.append(stored)
            ends[writer] = shard.first + shard.count
            stored += shard.count
        return cls(ordered, starts, stored)
