"""Reading a replay: the newest trajectories of a folder that others write to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from threading import Lock

import numpy as np

from amago_core.replay.errors import ReplayError, TrajectoryGoneError
from amago_core.replay.index import Index
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
from amago_core.replay.view import ReplayView, Segment
from amago_core.system.atomic_files import SET_ASIDE, set_aside, sync_folder
from amago_registry.trajectories import Trajectory


class Replay:
    """The trajectories of a folder, oldest first.

    Every trajectory has an index that does not change: the number of trajectories stored before it, in
    the order of shards. (Only a shard that comes late, begun before others that are already stored,
    moves those behind it: draw from a `view`, which does not change at all.) Readers see the newest
    ``capacity`` trajectories among the first ``limit``, less where they are too long or too large:
    eviction is a matter of indices, files are removed later by `evict`. What lies in ``protected/`` is
    always seen, has no index and counts for no limit. What is known is rebuilt from the files alone; no
    file is opened before something in it is asked for. May be used from several threads.

    Args:
        folder: Where the shards lie; need not exist yet.
        capacity: Most trajectories that are visible; all that are there if None.
        timesteps: Most transitions that are visible, the newest trajectory whole in any case.
        bytes: Most bytes that the visible trajectories take, the newest one in any case.
        note: Told of each damaged shard, in a sentence; None to say nothing.
        read_only: Change nothing in the folder: what is damaged is left out and stays where it is.
        open_files: Most shards mapped at a time; no file is kept open.

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
        self._files = ShardCache(folder, note, read_only, open_files)
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
        """Damaged shards: those in quarantine, and those that had to stay where they are."""
        return self._in_quarantine + self._files.moved + self._files.left_out

    def refresh(self) -> int:
        """Take up the shards that were written since, forget those that are gone.

        Returns:
            Trajectories stored since the replay began.

        Raises:
            ReplayError: If the folder cannot be listed, or holds shards of an earlier format.
        """
        with self._refreshing:
            index = self._list(self._index)
            if index.gaps - self._index.gaps:
                # A listing may lack a file that was renamed while it was made: it has it next time.
                index = self._list(index)
            copies = files_in(self.folder / PROTECTED)
            names = ((ShardName.parse_protected(file), file) for file in copies)
            places = sorted(ShardLocation(name, file) for name, file in names if name is not None)
            now = tuple(place for place in places if self._files.possible(place))
            if now != self._protected:
                self._files.forget(set(self._protected) - set(now))
                self._protected = now
            self._index = index
            return index.stored

    def visible(self, limit: int | None = None) -> range:
        """Return the indices of the trajectories that can be seen when the first ``limit`` are stored.

        Args:
            limit: Trajectories that count as stored; all if absent.

        Raises:
            ReplayError: If fewer than ``limit`` are stored.
        """
        index = self._index
        return self._window(index, self._limit(index, limit))

    def view(self, limit: int | None = None) -> ReplayView:
        """Return what can be drawn: protected and visible trajectories, as of the last refresh.

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
        segments = list(_end_to_end(protected, 0))
        kept = segments[-1].stop if segments else 0
        if self.capacity is None:
            # Nothing is drawn by index: what is gone needs no position.
            places = (ShardLocation(name) for _, name in _oldest_first(index, window))
            segments += _end_to_end(filter(self._files.possible, places), kept)
            view = ReplayView(self._files, segments, kept)
        else:
            view = ReplayView(self._files, segments, kept, index, window)
        self._view_memo = (index, protected, limit, view)
        return view

    def missing(self, limit: int) -> int:
        """Return how many of the trajectories that are visible under ``limit`` are no longer there."""
        index = self._index
        start = self._window(index, min(limit, index.stored)).start
        if self.capacity is not None:
            start = max(start, limit - self.capacity)
        present = 0
        for first, name in index.between(start, limit):
            if not self._files.is_bad(ShardLocation(name)):
                present += min(limit, first + name.trajectories) - max(start, first)
        return limit - start - present

    def trajectory(self, index: int) -> Trajectory:
        """Return a whole trajectory as read-only views of the file: what is not touched is not read.

        The first time, all of it is read once for its checksum.

        Raises:
            TrajectoryGoneError: If it was evicted or is damaged.
            ReplayError: If its file is there and cannot be read, for another reason than damage.
        """
        located = self._index.locate(index)
        found = None if located is None else self._files.read(ShardLocation(located[0]), located[1])
        if found is None:
            raise TrajectoryGoneError(
                f"trajectory {index} is not in {self.folder}; it may have been evicted"
            )
        return found

    def evict(self, before: int) -> int:
        """Remove the shards whose trajectories all have an index below ``before``.

        Each writer's newest shard stays: its indices go on from there.

        Returns:
            Shards removed.

        Raises:
            ReplayError: If this replay may change nothing, or the disk does not take the change.
        """
        self._check_may_change()
        index = self._index
        newest = {name.writer: name for name in index.names if name not in index.holes}
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

        Open the writers of the replay afterwards: their indices go on from ``after``.

        Returns:
            Trajectories moved.

        Raises:
            ReplayError: If a shard holds trajectories on both sides of ``after``, or this replay may
                change nothing; then nothing is moved. If a file cannot be moved.
        """
        self._check_may_change()
        self.refresh()
        index = self._index
        for start, name in zip(index.starts, index.names, strict=True):
            if start < after < start + name.trajectories:
                raise ReplayError(
                    f"{self.folder / name.file} holds the trajectories {start} to "
                    f"{start + name.trajectories - 1} and cannot be divided at {after}"
                )
        moved = 0
        for start, name in zip(reversed(index.starts), reversed(index.names), strict=True):
            if start >= after:
                folder = self.folder / QUARANTINE if name in index.holes else self.folder
                with suppress(FileNotFoundError):
                    self._set_aside(folder / name.file)
                    moved += name.trajectories
        self.refresh()
        return moved

    def _check_may_change(self) -> None:
        if self._files.read_only:
            raise ReplayError(f"{self.folder} was opened to be read: nothing in it may be changed")

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
            # Somebody made a folder of this name: that goes to quarantine.
            return int(self._files.shard(ShardLocation(name)) is None)
        return 1

    def _list(self, last: Index) -> Index:
        """Return the index of what lies in the folder now: the last one if nothing has changed."""
        listed = shards_in(self.folder, self._listed)
        # Later, or a shard moved in between would be in neither.
        in_quarantine = files_in(self.folder / QUARANTINE)
        quarantined = frozenset(moved_shards(in_quarantine))
        protected = files_in(self.folder / PROTECTED / QUARANTINE)
        self._in_quarantine, self._files.moved = len(in_quarantine) + len(protected), 0
        before, self._listed = self._listed, listed
        added = [name for file, name in listed.items() if file not in before]
        removed = len(before) + len(added) - len(listed)
        if removed:
            self._files.forget(
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
                f"{self.folder} holds {index.stored} trajectories, {limit} were asked for"
            )
        return limit

    def _window(self, index: Index, limit: int) -> range:
        window = range(0 if self.capacity is None else max(0, limit - self.capacity), limit)
        if self.timesteps is None and self.bytes is None:
            return window
        memo = self._window_memo
        if memo is None or memo[0] is not index or memo[1] != limit:
            memo = (index, limit, range(self._oldest(index, window), limit))
            self._window_memo = memo
        return memo[2]

    def _oldest(self, index: Index, window: range) -> int:
        """Return the oldest index of a window from which on timesteps and bytes are within limits.

        What is missing counts as if all of it lay next to what is there: it is at least as much as the
        one trajectory that did not fit, so that an evicted trajectory never becomes visible again.
        """
        timesteps, size = self.timesteps or inf, self.bytes or inf
        before: dict[str, WriterTotals] = {}
        oldest = window.stop
        least = 1  # The newest trajectory is visible in any case.
        for first, name in index.between(window.start, window.stop):
            lengths, sizes, totals_before, totals_after = self._files.measures(ShardLocation(name))
            if totals_before is not None and totals_after is not None:
                newer = before.get(name.writer, totals_after)
                timesteps -= max(newer.timesteps - totals_after.timesteps, 0)
                size -= max(newer.bytes - totals_after.bytes, 0)
                before[name.writer] = totals_before
            top = min(name.trajectories, window.stop - first)
            fits = min(_fitting(lengths[:top], timesteps), _fitting(sizes[:top], size))
            if fits < top:
                return max(min(oldest, first + top - max(fits, least)), window.start)
            oldest, least = first, 0
            timesteps -= int(lengths[:top].sum())
            size -= int(sizes[:top].sum())
        gone = self._gone(index)
        fits_all = gone.timesteps <= timesteps and gone.bytes <= size
        return window.start if fits_all else max(min(oldest, window.stop - 1), window.start)

    def _gone(self, index: Index) -> WriterTotals:
        """Return how much all writers together stored before what is left of each."""
        writers = {name.writer for name in index.names}
        found: dict[str, WriterTotals] = {}
        for name in index.names:
            if len(found) == len(writers):
                break
            if name.writer not in found and name not in index.holes:
                before = self._files.measures(ShardLocation(name)).before
                if before is not None:
                    found[name.writer] = before
        timesteps = sum(totals.timesteps for totals in found.values())
        return WriterTotals(timesteps, sum(totals.bytes for totals in found.values()))


def _fitting(values: np.ndarray, room: float) -> int:
    """Return how many of the last values add up to no more than ``room``."""
    return int(np.searchsorted(np.cumsum(values[::-1]), room, "right"))


def _oldest_first(index: Index, window: range) -> list[tuple[int, ShardName]]:
    return list(index.between(window.start, window.stop))[::-1]


def _end_to_end(places: Iterable[ShardLocation], start: int) -> Iterator[Segment]:
    for place in places:
        yield Segment(start, place)
        start += place.name.trajectories
