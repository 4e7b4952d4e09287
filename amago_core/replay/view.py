"""An immutable view of a replay: the trajectories that can be sampled, as of one refresh."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from amago_core.replay.index import Index
from amago_core.replay.replay_errors import TrajectoryGoneError
from amago_core.replay.shard_cache import ShardCache, ShardLocation
from amago_registry.trajectories import Trajectory


class ShardRange(NamedTuple):
    """The positions in a view that one shard's trajectories take.

    Args:
        start: Position of the first of them.
        location: The shard.
    """

    start: int
    location: ShardLocation

    @property
    def stop(self) -> int:
        """Position after the last of them."""
        return self.start + self.location.name.trajectories


class ReplayView:
    """Protected and visible trajectories by position; the numbering never changes.

    Positions begin with the protected trajectories; the visible ones follow, oldest first. A view may
    be used from several threads while the replay grows: positions stay, and reading a trajectory that
    was evicted since, or is found damaged, raises `TrajectoryGoneError`.

    Args:
        cache: The shards to read from.
        shards: Whole shards, at consecutive positions from 0.
        protected: How many trajectories are protected.
        index: Index of the trajectories at the positions after ``shards``; None if there are none.
        window: Indices of those trajectories, missing ones included.
    """

    def __init__(
        self,
        cache: ShardCache,
        shards: Iterable[ShardRange],
        protected: int,
        index: Index | None = None,
        window: range = range(0),
    ) -> None:
        self.protected = protected
        self._cache = cache
        self._shards = list(shards)
        self._starts = [shard.start for shard in self._shards]
        self._index, self._window = index, window
        self._numbered = self._shards[-1].stop if self._shards else 0
        self._count = self._numbered + len(window)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def lengths(self) -> np.ndarray:
        """Transitions of each trajectory, int64; 0 where it is gone. Reads the facts of every shard."""
        lengths = np.zeros(self._count, np.int64)
        for shard in self._shards:
            lengths[shard.start : shard.stop] = self._cache.shard_sizes(shard.location).lengths
        window = self._window
        shift = self._numbered - window.start
        for first, name in self._index.between(window.start, window.stop) if self._index else ():
            begin, end = max(first, window.start), min(first + name.trajectories, window.stop)
            in_shard = self._cache.shard_sizes(ShardLocation(name)).lengths
            lengths[begin + shift : end + shift] = in_shard[begin - first : end - first]
        lengths.flags.writeable = False
        return lengths

    @cached_property
    def ends(self) -> np.ndarray:
        """Cumulative sum of `lengths`, int64: to draw a transition by bisection."""
        ends = np.cumsum(self.lengths)
        ends.flags.writeable = False
        return ends

    def trajectory(self, position: int) -> Trajectory:
        """Return a whole trajectory as read-only views of its memory-mapped file.

        The first time, all of it is read once for its checksum; later, only the pages that are used.

        Raises:
            IndexError: If there is no such position.
            TrajectoryGoneError: If it was evicted or is damaged: draw another one.
            ReplayError: If its file is there and cannot be read, for another reason than damage.
        """
        return self.slice(position, 0, None)

    def slice(self, position: int, start: int, stop: int | None) -> Trajectory:
        """Return ``trajectory(position).slice(start, stop)``, to the end if ``stop`` is None.

        Raises:
            IndexError: If there is no such position.
            TrajectoryGoneError: If it was evicted or is damaged: draw another one.
            ReplayError: If its file is there and cannot be read, for another reason than damage.
        """
        if not 0 <= position < self._count:
            raise IndexError(f"position {position} of {self._count}")
        located = self._locate(position)
        found = None if located is None else self._cache.read(*located, start, stop)
        if found is not None:
            return found
        raise TrajectoryGoneError(
            f"{self.name(position)} is not in {self._cache.folder}; it may have been evicted"
        )

    def name(self, position: int) -> str:
        """Return the name of a trajectory for messages."""
        if position < self.protected:
            return f"protected trajectory {position}"
        return f"trajectory {self._window.start + position - self.protected}"

    def _locate(self, position: int) -> tuple[ShardLocation, int] | None:
        """Return the shard of a trajectory and its position in the shard; None if it is missing."""
        if position < self._numbered:
            first, location = self._shards[bisect_right(self._starts, position) - 1]
            return location, position - first
        assert self._index is not None
        located = self._index.locate(self._window.start + position - self._numbered)
        return None if located is None else (ShardLocation(located[0]), located[1])
