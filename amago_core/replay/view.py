"""What can be drawn from a replay at one moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from amago_core.replay.errors import TrajectoryGoneError
from amago_core.replay.index import Index
from amago_core.replay.shard_cache import ShardCache, ShardLocation
from amago_registry.trajectories import Trajectory


class Segment(NamedTuple):
    """All trajectories of a shard.

    Args:
        start: Position of the first of them in the view.
        place: The shard.
    """

    start: int
    place: ShardLocation

    @property
    def stop(self) -> int:
        """Position after the last of them."""
        return self.start + self.place.name.trajectories


class ReplayView:
    """Protected and visible trajectories in one numbering, which never changes.

    Positions begin with the protected trajectories; the visible ones follow, oldest first. A view may
    be used from several threads while the replay goes on: what it numbers stays as it is, and a
    trajectory that was evicted since, or that turns out to be damaged, is gone.

    Args:
        files: Where to read.
        segments: Whole shards, end to end from position 0 on.
        protected: How many trajectories are protected.
        index: Of those behind the segments; absent if there are none.
        window: Indices of those; also of what is gone.
    """

    def __init__(
        self,
        files: ShardCache,
        segments: Iterable[Segment],
        protected: int,
        index: Index | None = None,
        window: range = range(0),
    ) -> None:
        self.protected = protected
        self._files = files
        self._segments = list(segments)
        self._starts = [segment.start for segment in self._segments]
        self._index, self._window = index, window
        self._numbered = self._segments[-1].stop if self._segments else 0
        self._count = self._numbered + len(window)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def lengths(self) -> np.ndarray:
        """Transitions of each trajectory, int64; 0 where it is gone. Reads the facts of every shard."""
        lengths = np.zeros(self._count, np.int64)
        for segment in self._segments:
            lengths[segment.start : segment.stop] = self._files.measures(segment.place).lengths
        window = self._window
        shift = self._numbered - window.start
        for first, name in self._index.between(window.start, window.stop) if self._index else ():
            begin, end = max(first, window.start), min(first + name.trajectories, window.stop)
            measured = self._files.measures(ShardLocation(name)).lengths
            lengths[begin + shift : end + shift] = measured[begin - first : end - first]
        lengths.flags.writeable = False
        return lengths

    @cached_property
    def ends(self) -> np.ndarray:
        """Transitions of each trajectory and those before, int64: to draw a transition by bisection."""
        ends = np.cumsum(self.lengths)
        ends.flags.writeable = False
        return ends

    def trajectory(self, position: int) -> Trajectory:
        """Return a whole trajectory as read-only views of its file: what is not touched is not read.

        The first time, all of it is read once for its checksum.

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
        found = None if located is None else self._files.read(*located, start, stop)
        if found is not None:
            return found
        raise TrajectoryGoneError(
            f"{self.name(position)} is not in {self._files.folder}; it may have been evicted"
        )

    def name(self, position: int) -> str:
        """Return what a trajectory is called in messages."""
        if position < self.protected:
            return f"protected trajectory {position}"
        return f"trajectory {self._window.start + position - self.protected}"

    def _locate(self, position: int) -> tuple[ShardLocation, int] | None:
        """Return the shard of a trajectory and its place in it; None if there is none."""
        if position < self._numbered:
            first, place = self._segments[bisect_right(self._starts, position) - 1]
            return place, position - first
        assert self._index is not None
        located = self._index.locate(self._window.start + position - self._numbered)
        return None if located is None else (ShardLocation(located[0]), located[1])
