"""The shards of a folder: opened when they are needed, moved to quarantine when they are damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from amago_core.replay.errors import DamagedShardError, ReplayError
from amago_core.replay.shard import MappedShard, Shard
from amago_core.replay.shard_format import LEAST_BYTES, WriterTotals
from amago_core.replay.shard_name import PROTECTED, QUARANTINE, ShardName
from amago_core.system.atomic_files import set_aside
from amago_registry.trajectories import Trajectory

_MANY = 10_000
"""Trajectories from which on a name is not believed unseen."""


class ShardLocation(NamedTuple):
    """Where a shard lies.

    Args:
        name: Which shard.
        protected: Name of its file in ``protected/``; empty for those that can be evicted.
    """

    name: ShardName
    protected: str = ""


class ShardSizes(NamedTuple):
    """How much a shard holds.

    Args:
        lengths: Transitions of each trajectory.
        sizes: Bytes of each trajectory.
        before: What its writer stored before; None where that cannot be known.
        after: What its writer had stored with it.
    """

    lengths: np.ndarray
    sizes: np.ndarray
    before: WriterTotals | None
    after: WriterTotals | None


class ShardCache:
    """The files of a replay; may be used from several threads.

    A damaged shard is moved to ``quarantine/`` beside it, by one of those who notice, and told of once.
    For everybody else it is gone, as if it had been evicted.

    Args:
        folder: Where the shards lie.
        note: Told of each damaged shard, in a sentence; None to say nothing.
        read_only: Move nothing: leave out damaged trajectories, or shards that cannot be opened at all.
        open_files: Most shards mapped at a time.
    """

    def __init__(
        self, folder: Path, note: Callable[[str], None] | None, read_only: bool, open_files: int
    ) -> None:
        self.folder = folder
        self.left_out = 0
        self.moved = 0
        self._note = note
        self.read_only = read_only
        self._open_files = open_files
        self._lock = Lock()
        self._bad: set[ShardLocation] = set()
        self._partly_bad: set[ShardLocation] = set()
        self._open: dict[ShardLocation, MappedShard] = {}
        self._measures: dict[ShardLocation, ShardSizes] = {}

    def path(self, place: ShardLocation) -> Path:
        """Return the file of a shard."""
        if place.protected:
            return self.folder / PROTECTED / place.protected
        return self.folder / place.name.file

    def read(
        self, place: ShardLocation, item: int, start: int = 0, stop: int | None = None
    ) -> Trajectory | None:
        """Return transitions of a trajectory, all if no others are named; None if it is gone.

        Raises:
            ReplayError: If the file is there and cannot be read, for another reason than damage.
        """
        try:
            shard = self._open.get(place)
            if shard is None:
                shard = self._map(place)
            return None if shard is None else shard.trajectory(item, start, stop)
        except FileNotFoundError:
            self.forget((place,))
        except DamagedShardError as error:
            (self._leave_out if self.read_only else self._quarantine)(place, error)
        except OSError as error:
            raise ReplayError(f"{self.path(place)} cannot be read: {error.strerror}") from None
        return None

    def shard(self, place: ShardLocation) -> Shard | None:
        """Return what is known of a shard without its columns; None if it is gone.

        Raises:
            ReplayError: If the file is there and cannot be read, for another reason than damage.
        """
        known = self._open.get(place)
        if known is not None:
            return known.shard
        if place in self._bad:
            return None
        try:
            return Shard.open(self.path(place), place.name)
        except FileNotFoundError:
            return None
        except DamagedShardError as error:
            self._quarantine(place, error)
            return None

    def measures(self, place: ShardLocation) -> ShardSizes:
        """Return how much a shard holds; nothing if it is gone."""
        known = self._measures.get(place)
        if known is not None:
            return known
        shard = self.shard(place)
        if shard is None:
            nothing = np.zeros(place.name.trajectories, np.int64)
            return ShardSizes(nothing, nothing, None, None)
        lengths = shard.facts["lengths"].copy()  # Or it would keep all facts in memory.
        found = ShardSizes(lengths, shard.sizes(), shard.before, shard.after)
        self._measures[place] = found
        return found

    def possible(self, place: ShardLocation) -> bool:
        """Return whether a shard may hold what its name claims; if not, it is damaged.

        Its file is looked at only where the claim is large.
        """
        count = place.name.trajectories
        if count <= _MANY:
            return True
        with suppress(OSError, ReplayError):
            return (
                self.path(place).lstat().st_size >= count * LEAST_BYTES or self.shard(place) is not None
            )
        return False

    def is_bad(self, place: ShardLocation) -> bool:
        """Return whether a shard was found to be damaged."""
        return place in self._bad

    def forget(self, places: Iterable[ShardLocation]) -> None:
        """Forget shards that are gone; a mapped file would keep its room on the disk."""
        with self._lock:
            for place in places:
                self._open.pop(place, None)
                self._measures.pop(place, None)

    def _map(self, place: ShardLocation) -> MappedShard | None:
        shard = self.shard(place)
        if shard is None:
            return None
        opened = shard.map()
        with self._lock:
            if len(self._open) >= self._open_files:
                del self._open[next(iter(self._open))]  # The one mapped first: all are drawn alike.
            return self._open.setdefault(place, opened)

    def _leave_out(self, place: ShardLocation, error: DamagedShardError) -> None:
        """Tell of a damaged trajectory of a shard that stays where it is.

        Its neighbours stay, too: what is seen of the shard must not depend on what was read first.
        """
        with self._lock:
            if place in self._partly_bad:
                return
            self._partly_bad.add(place)
            self.left_out += 1
        if self._note is not None:
            self._note(f"{error}; the trajectory is left out.")

    def _quarantine(self, place: ShardLocation, error: DamagedShardError) -> None:
        with self._lock:
            if place in self._bad:
                return
            self._bad.add(place)
            self._open.pop(place, None)
            self._measures.pop(place, None)
        count = place.name.trajectories
        lost = "its trajectory is" if count == 1 else f"its {count} trajectories are"
        try:
            path = self.path(place)
            moved = not self.read_only and set_aside(path, path.parent / QUARANTINE)
        except FileNotFoundError:  # Another reader was faster, and tells of it.
            return
        except OSError:
            moved = False
        if moved:
            self.moved += 1
        else:
            self.left_out += 1
        if self._note is not None:
            where = f" The file was moved to {moved}." if moved else ""
            self._note(f"{error}; {lost} left out.{where}")
