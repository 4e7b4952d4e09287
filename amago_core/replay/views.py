"""What can be drawn from a replay at one moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from amago_core.replay.errors import TrajectoryGoneError
from amago_core.replay.files import Place, ShardFiles
from amago_registry.trajectories import Trajectory


class Segment(NamedTuple):
    """Neighbouring trajectories of one shard.

    Args:
        start: Position of the first of them in the view.
        place: The shard.
        item: Place of the first of them in the shard.
        length: How many they are.
    """

    start: int
    place: Place
    item: int
    length: int


class View:
    """Protected and visible trajectories in one numbering, which never changes.

    Positions begin with the protected trajectories; the visible ones follow, oldest first. A view may
    be used from several threads while the replay goes on: what it numbers stays as it is, and a
    trajectory that was evicted since, or that turns out to be damaged, is gone.

    Args:
        files: Where to read.
        segments: What there is, by position.
        protected: How many trajectories are protected.
        count: Positions, those of trajectories that are gone included.
        first: Index of the first visible trajectory.
    """

    def __init__(
        self, files: ShardFiles, segments: Iterable[Segment], protected: int, count: int, first: int
    ) -> None:
        self.protected = protected
        self._files = files
        self._segments = list(segments)
        self._starts = [segment.start for segment in self._segments]
        self._count = count
        self._first = first

    def __len__(self) -> int:
        return self._count

    @cached_property
    def lengths(self) -> np.ndarray:
        """Transitions of each trajectory, int64; 0 where it is gone. Reads the facts of every shard."""
        lengths = np.zeros(self._count, np.int64)
        for start, place, item, length in self._segments:
            measured = self._files.measures(place).lengths
            lengths[start : start + length] = measured[item : item + length]
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
        number = bisect_right(self._starts, position) - 1
        if number >= 0:
            first, place, item, length = self._segments[number]
            if position < first + length:
                found = self._files.read(place, item + position - first, start, stop)
                if found is not None:
                    return found
        raise TrajectoryGoneError(
            f"{self.name(position)} is not in {self._files.folder}; it may have been evicted"
        )

    def name(self, position: int) -> str:
        """Return what a trajectory is called in messages."""
        if position < self.protected:
            return f"protected trajectory {position}"
        return f"trajectory {self._first + position - self.protected}"
