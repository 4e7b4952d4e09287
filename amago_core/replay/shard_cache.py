"""Cache of memory-mapped shards: mapped on first use, quarantined when they are damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from amago_core.replay.replay_errors import DamagedShardError, ReplayError
from amago_core.replay.shard import MappedShard, Shard
from amago_core.replay.shard_format import MIN_TRAJECTORY_BYTES, WriterTotals
from amago_core.replay.shard_name import PROTECTED, QUARANTINE, ShardName
from amago_core.system.atomic_files import set_aside
from amago_registry.trajectories import Trajectory

_UNCHECKED_TRAJECTORIES = 10_000
"""Number of trajectories above which a shard's name is checked against its file size."""


class ShardLocation(NamedTuple):
    """Location of a shard: in the replay's folder, or in ``protected/``.

    Args:
        name: Name of the shard.
        protected: Name of its file in ``protected/``; empty for a shard that can be evicted.
    """

    name: ShardName
    protected: str = ""


class ShardSizes(NamedTuple):
    """Sizes of a shard's trajectories.

    Args:
        lengths: Transitions of each trajectory.
        sizes: Bytes of each trajectory.
        before: What its writer stored before it; None if the shard is gone.
        after: What its writer stored up to and including it; None if the shard is gone.
    """

    lengths: np.ndarray
    sizes: np.ndarray
    before: WriterTotals | None
    after: WriterTotals | None


class ShardCache:
    """Cache of a replay's memory-mapped shards. Thread-safe.

    A damaged shard is moved to ``quarantine/`` beside it and reported once, by the first reader that
    finds it. For all other readers it is gone, as if it had been evicted.

    Args:
        folder: Folder of the shards.
        note: Called with one sentence for each damaged shard; None to report nothing.
        read_only: Move nothing: skip damaged trajectories, and shards that cannot be opened at all.
        open_files: Maximum number of shards mapped at a time.
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
        self._mapped: dict[ShardLocation, MappedShard] = {}
        self._sizes: dict[ShardLocation, ShardSizes] = {}

    def path(self, location: ShardLocation) -> Path:
        """Return the path of a shard."""
        if location.protected:
            return self.folder / PROTECTED / location.protected
        return self.folder / location.name.file

    def read(
        self, location: ShardLocation, item: int, start: int = 0, stop: int | None = None
    ) -> Trajectory | None:
        """Read the transitions ``start`` to ``stop - 1`` of a trajectory; None if it is gone.

        Raises:
            ReplayError: If the file is there and cannot be read, for another reason than damage.
        """
        try:
            shard = self._mapped.get(location)
            if shard is None:
                shard = self._map(location)
            return None if shard is None else shard.trajectory(item, start, stop)
        except FileNotFoundError:
            self.forget((location,))
        except DamagedShardError as error:
            (self._report_left_out if self.read_only else self._quarantine)(location, error)
        except OSError as error:
            raise ReplayError(f"{self.path(location)} cannot be read: {error.strerror}") from None
        return None

    def shard(self, location: ShardLocation) -> Shard | None:
        """Return header and facts of a shard; None if it is gone.

        Raises:
            ReplayError: If the file is there and cannot be read, for another reason than damage.
        """
        cached = self._mapped.get(location)
        if cached is not None:
            return cached.shard
        if location in self._bad:
            return None
        try:
            return Shard.open(self.path(location), location.name)
        except FileNotFoundError:
            return None
        except DamagedShardError as error:
            self._quarantine(location, error)
            return None

    def shard_sizes(self, location: ShardLocation) -> ShardSizes:
        """Return the sizes of a shard's trajectories; zeros if it is gone."""
        cached = self._sizes.get(location)
        if cached is not None:
            return cached
        shard = self.shard(location)
        if shard is None:
            nothing = np.zeros(location.name.trajectories, np.int64)
            return ShardSizes(nothing, nothing, None, None)
        lengths = shard.facts["lengths"].copy()  # A view would keep all facts in memory.
        found = ShardSizes(lengths, shard.sizes(), shard.before, shard.after)
        self._sizes[location] = found
        return found

    def is_plausible(self, location: ShardLocation) -> bool:
        """Return whether a shard can hold as many trajectories as its name says.

        Checked by file size, and only where the name says many. A shard that fails is quarantined.
        """
        count = location.name.trajectories
        if count <= _UNCHECKED_TRAJECTORIES:
            return True
        with suppress(OSError, ReplayError):
            return (
                self.path(location).lstat().st_size >= count * MIN_TRAJECTORY_BYTES
                or self.shard(location) is not None
            )
        return False

    def is_bad(self, location: ShardLocation) -> bool:
        """Return whether a shard was found to be damaged."""
        return location in self._bad

    def forget(self, locations: Iterable[ShardLocation]) -> None:
        """Unmap shards that are gone; a mapped file would keep its space on the disk."""
        with self._lock:
            for location in locations:
                self._mapped.pop(location, None)
                self._sizes.pop(location, None)

    def _map(self, location: ShardLocation) -> MappedShard | None:
        shard = self.shard(location)
        if shard is None:
            return None
        mapped = shard.map()
        with self._lock:
            if len(self._mapped) >= self._open_files:
                # The one mapped first: all are equally likely to be read next.
                del self._mapped[next(iter(self._mapped))]
            return self._mapped.setdefault(location, mapped)

    def _report_left_out(self, location: ShardLocation, error: DamagedShardError) -> None:
        """Report a damaged trajectory of a shard that cannot be quarantined, once per shard.

        The shard's other trajectories stay visible: what is must not depend on the order of reads.
        """
        with self._lock:
            if location in self._partly_bad:
                return
            self._partly_bad.add(location)
            self.left_out += 1
        if self._note is not None:
            self._note(f"{error}; the trajectory is left out.")

    def _quarantine(self, location: ShardLocation, error: DamagedShardError) -> None:
        with self._lock:
            if location in self._bad:
                return
            self._bad.add(location)
            self._mapped.pop(location, None)
            self._sizes.pop(location, None)
        count = location.name.trajectories
        lost = "its trajectory is" if count == 1 else f"its {count} trajectories are"
        try:
            path = self.path(location)
            moved = not self.read_only and set_aside(path, path.parent / QUARANTINE)
        except FileNotFoundError:  # Another reader moved it first, and reports it.
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
