"""The replay buffer's reader: the newest trajectories of a folder that other processes write to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from threading import Lock

import numpy as np

from amago_core.replay.index import Index
from amago_core.replay.replay_errors import ReplayError, TrajectoryGoneError
from amago_core.replay.shard_cache import ShardCache, ShardLocation
from amago_core.replay.shard_format import WriterTotals
from amago_core.replay.shard_name import (
    PROTECTED,
    QUARANTINE,
    ShardName,
    files_in,
    moved_shards,
    shards_in,
)
from amago_core.replay.view import ReplayView, ShardRange
from amago_core.system.atomic_files import SET_ASIDE, set_aside, sync_folder
from amago_registry.trajectories import Trajectory


class Replay:
    """Reader of a replay buffer: the trajectories of a folder, oldest first.

    Every trajectory has an index that does not change: the number of trajectories stored before it, in
    the order of shards. (One exception: a shard that is stored late, after shards of later updates,
    moves the indices of those. So draw from a `view`, whose numbering never changes.) The visible
    trajectories are the newest ``capacity`` among the first ``limit``, fewer where ``timesteps`` or
    ``bytes`` is reached first. Eviction is decided by index; `evict` removes the files later.
    Trajectories in ``protected/`` are always visible, have no index and are not counted in any limit.
    All state is rebuilt from the files; a shard is opened only when it is first read. Thread-safe.

    Args:
        folder: Folder of the shards; need not exist yet.
        capacity: Maximum number of visible trajectories; all that are stored if None.
        timesteps: Maximum number of visible transitions; the newest trajectory is always visible.
        bytes: Maximum bytes of the visible trajectories; the newest one is always visible.
        note: Called with one sentence for each damaged shard; None to report nothing.
        read_only: Change nothing in the folder: damaged shards are skipped instead of quarantined.
        open_files: Maximum number of shards mapped at a time; no file descriptor is kept open.

    Raises:
        ReplayError: If the folder cannot be listed, or holds shards of an earlier format.
    """

    def __init__(
        self,
        folder: Path,
        capacity: int | None,
        timesteps: int | None = None,
        bytes: int | None = None,  # noqa: A002 - the name of the option
        *,
        note: Callable[[str], None] | None = None,
        read_only: bool = False,
        open_files: int = 4096,
    ) -> None:
        limits = {
            "capacity": capacity,
            "timesteps": timesteps,
            "bytes": bytes,
            "open_files": open_files,
        }
        for name, value in limits.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, it is {value}")
        self.folder = folder
        self.capacity, self.timesteps, self.bytes = capacity, timesteps, bytes
        self._cache = ShardCache(folder, note, read_only, open_files)
        self._refreshing = Lock()
        self._listed: dict[str, ShardName] = {}
        self._quarantined: frozenset[ShardName] = frozenset()
        self._in_quarantine = 0
        self._index = Index.build(())
        self._protected: tuple[ShardLocation, ...] = ()
        self._window_memo: tuple[Index, int, range] | None = None
        self._view_memo: tuple[Index, tuple[ShardLocation, ...], int | None, ReplayView] | None = None
        self.refresh()

    @property
    def stored(self) -> int:
        """Trajectories stored since the replay began: one more than the newest index."""
        return self._index.stored

    @property
    def quarantined(self) -> int:
        """Number of damaged shards: those in quarantine, and those that could not be moved there."""
        return self._in_quarantine + self._cache.moved + self._cache.left_out

    def refresh(self) -> int:
        """List the folder again: add the shards that were written since, drop those that are gone.

        Returns:
            Trajectories stored since the replay began.

        Raises:
            ReplayError: If the folder cannot be listed, or holds shards of an earlier format.
        """
        with self._refreshing:
            index = self._list(self._index)
            if index.gaps - self._index.gaps:
                # A listing may miss a file that was renamed during it: list again.
                index = self._list(index)
            copies = files_in(self.folder / PROTECTED)
            names = ((ShardName.parse_protected(file), file) for file in copies)
            found = sorted(ShardLocation(name, file) for name, file in names if name is not None)
            now = tuple(location for location in found if self._cache.is_plausible(location))
            if now != self._protected:
                self._cache.forget(set(self._protected) - set(now))
                self._protected = now
            self._index = index
            return index.stored

    def visible(self, limit: int | None = None) -> range:
        """Return the indices of the visible trajectories, counting only the first ``limit`` as stored.

        Args:
            limit: Trajectories that count as stored; all if absent.

        Raises:
            ReplayError: If fewer than ``limit`` are stored.
        """
        index = self._index
        return self._window(index, self._limit(index, limit))

    def view(self, limit: int | None = None) -> ReplayView:
        """Return the view to sample from: protected and visible trajectories, as of the last refresh.

        Args:
            limit: Trajectories that count as stored; all if absent.

        Raises:
            ReplayError: If fewer than ``limit`` are stored.
        """
        index, protected = self._index, self._protected
        memo = self._view_memo
        if memo is not None and memo[0] is index and memo[1] is protected and memo[2] == limit:
            return memo[3]
        window = self._window(index, self._limit(index, limit))
        shards = list(_consecutive(protected, 0))
        protected_count = shards[-1].stop if shards else 0
        if self.capacity is None:
            # Nothing is drawn by index: missing trajectories need no position.
            locations = (ShardLocation(name) for _, name in _oldest_first(index, window))
            shards += _consecutive(filter(self._cache.is_plausible, locations), protected_count)
            view = ReplayView(self._cache, shards, protected_count)
        else:
            view = ReplayView(self._cache, shards, protected_count, index, window)
        self._view_memo = (index, protected, limit, view)
        return view

    def missing(self, limit: int) -> int:
        """Return how many of the trajectories visible under ``limit`` were evicted or are damaged."""
        index = self._index
        start = self._window(index, min(limit, index.stored)).start
        if self.capacity is not None:
            start = max(start, limit - self.capacity)
        present = 0
        for first, name in index.between(start, limit):
            if not self._cache.is_bad(ShardLocation(name)):
                present += min(limit, first + name.trajectories) - max(start, first)
        return limit - start - present

    def trajectory(self, index: int) -> Trajectory:
        """Return a whole trajectory as read-only views of its memory-mapped file.

        The first time, all of it is read once for its checksum; later, only the pages that are used.

        Raises:
            TrajectoryGoneError: If it was evicted or is damaged.
            ReplayError: If its file is there and cannot be read, for another reason than damage.
        """
        located = self._index.locate(index)
        found = None if located is None else self._cache.read(ShardLocation(located[0]), located[1])
        if found is None:
            raise TrajectoryGoneError(
                f"trajectory {index} is not in {self.folder}; it may have been evicted"
            )
        return found

    def evict(self, before: int) -> int:
        """Remove the shards whose trajectories all have an index below ``before``.

        Each writer's newest shard is kept: the writer continues its numbering from it.

        Returns:
            Shards removed.

        Raises:
            ReplayError: If this replay is read-only, or the folder cannot be synced.
        """
        self._check_may_change()
        index = self._index
        newest = {name.writer: name for name in index.names if name not in index.quarantined}
        removed = 0
        for first, name in _oldest_first(index, range(before)):
            if first + name.trajectories <= before and name != newest[name.writer]:
                removed += self._remove(name)
        if removed:
            try:
                sync_folder(self.folder)
            except OSError as error:
                raise ReplayError(f"{self.folder} cannot be synced: {error.strerror}") from None
            self.refresh()
        return removed

    def set_aside(self, after: int) -> int:
        """Move the trajectories with index ``after`` and above into ``set-aside/``, newest first.

        Used when a run resumes from an older checkpoint. Open the writers of the replay afterwards:
        their indices continue from ``after``.

        Returns:
            Trajectories moved.

        Raises:
            ReplayError: If a shard holds trajectories on both sides of ``after``, or this replay is
                read-only; then nothing is moved. Also if a file cannot be moved.
        """
        self._check_may_change()
        self.refresh()
        index = self._index
        for start, name in zip(index.starts, index.names, strict=True):
            if start < after < start + name.trajectories:
                raise ReplayError(
                    f"{self.folder / name.file} holds the trajectories {start} to "
                    f"{start + name.trajectories - 1} and cannot be split at {after}"
                )
        moved = 0
        for start, name in zip(reversed(index.starts), reversed(index.names), strict=True):
            if start >= after:
                folder = self.folder / QUARANTINE if name in index.quarantined else self.folder
                with suppress(FileNotFoundError):
                    self._set_aside(folder / name.file)
                    moved += name.trajectories
        self.refresh()
        return moved

    def _check_may_change(self) -> None:
        if self._cache.read_only:
            raise ReplayError(f"{self.folder} was opened read-only: nothing in it may be changed")

    def _set_aside(self, path: Path) -> None:
        try:
            set_aside(path, self.folder / SET_ASIDE)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ReplayError(f"{path} cannot be moved to set-aside: {error.strerror}") from None

    def _remove(self, name: ShardName) -> int:
        try:
            (self.folder / name.file).unlink(missing_ok=True)
        except OSError:
            # A folder of this name was made by hand: it goes to quarantine.
            return int(self._cache.shard(ShardLocation(name)) is None)
        return 1

    def _list(self, last: Index) -> Index:
        """List the folder and return its index: the last one if nothing has changed."""
        listed = shards_in(self.folder, self._listed)
        # After the folder itself, or a shard moved in between would be in neither listing.
        in_quarantine = files_in(self.folder / QUARANTINE)
        quarantined = frozenset(moved_shards(in_quarantine))
        protected = files_in(self.folder / PROTECTED / QUARANTINE)
        self._in_quarantine, self._cache.moved = len(in_quarantine) + len(protected), 0
        before, self._listed = self._listed, listed
        added = [name for file, name in listed.items() if file not in before]
        removed = len(before) + len(added) - len(listed)
        if removed:
            self._cache.forget(
                ShardLocation(name) for file, name in before.items() if file not in listed
            )
        if removed or quarantined != self._quarantined:
            self._quarantined = quarantined
            return Index.build(listed.values(), quarantined)
        if not added:
            return last
        return last.extended(added) or Index.build(listed.values(), quarantined)

    def _limit(self, index: Index, limit: int | None) -> int:
        if limit is None:
            return index.stored
        if not 0 <= limit <= index.stored:
            raise ReplayError(
                f"{self.folder} holds {index.stored} trajectories, and limit={limit} is out of range"
            )
        return limit

    def _window(self, index: Index, limit: int) -> range:
        window = range(0 if self.capacity is None else max(0, limit - self.capacity), limit)
        if self.timesteps is None and self.bytes is None:
            return window
        memo = self._window_memo
        if memo is None or memo[0] is not index or memo[1] != limit:
            memo = (index, limit, range(self._oldest_visible(index, window), limit))
            self._window_memo = memo
        return memo[2]

    def _oldest_visible(self, index: Index, window: range) -> int:
        """Return the oldest index of a window from which timesteps and bytes stay within the limits.

        Missing trajectories of a writer count in full, directly before its next remaining shard. That
        is at least as much as the one trajectory that did not fit, so that an evicted trajectory never
        becomes visible again.
        """
        timesteps, size = self.timesteps or inf, self.bytes or inf
        before: dict[str, WriterTotals] = {}
        oldest = window.stop
        least = 1  # The newest trajectory is always visible.
        for first, name in index.between(window.start, window.stop):
            lengths, sizes, totals_before, totals_after = self._cache.shard_sizes(ShardLocation(name))
            if totals_before is not None and totals_after is not None:
                newer = before.get(name.writer, totals_after)
                timesteps -= max(newer.timesteps - totals_after.timesteps, 0)
                size -= max(newer.bytes - totals_after.bytes, 0)
                before[name.writer] = totals_before
            top = min(name.trajectories, window.stop - first)
            fits = min(_count_fitting(lengths[:top], timesteps), _count_fitting(sizes[:top], size))
            if fits < top:
                return max(min(oldest, first + top - max(fits, least)), window.start)
            oldest, least = first, 0
            timesteps -= int(lengths[:top].sum())
            size -= int(sizes[:top].sum())
        gone = self._totals_before_remaining(index)
        fits_all = gone.timesteps <= timesteps and gone.bytes <= size
        return window.start if fits_all else max(min(oldest, window.stop - 1), window.start)

    def _totals_before_remaining(self, index: Index) -> WriterTotals:
        """Return how much all writers together stored before the oldest remaining shard of each."""
        writers = {name.writer for name in index.names}
        found: dict[str, WriterTotals] = {}
        for name in index.names:
            if len(found) == len(writers):
                break
            if name.writer not in found and name not in index.quarantined:
                before = self._cache.shard_sizes(ShardLocation(name)).before
                if before is not None:
                    found[name.writer] = before
        timesteps = sum(totals.timesteps for totals in found.values())
        return WriterTotals(timesteps, sum(totals.bytes for totals in found.values()))


def _count_fitting(values: np.ndarray, limit: float) -> int:
    """Return how many of the last values add up to at most ``limit``."""
    return int(np.searchsorted(np.cumsum(values[::-1]), limit, "right"))


def _oldest_first(index: Index, window: range) -> list[tuple[int, ShardName]]:
    return list(index.between(window.start, window.stop))[::-1]


def _consecutive(locations: Iterable[ShardLocation], start: int) -> Iterator[ShardRange]:
    for location in locations:
        yield ShardRange(start, location)
        start += location.name.trajectories
