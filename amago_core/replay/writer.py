"""Write trajectories to disk: this is where a trajectory becomes a file.

Trajectories are written as whole shards, each atomically: temporary file, fsync, final name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from amago_core.replay.replay_errors import DamagedShardError, ReplayError, TrajectoryError
from amago_core.replay.shard import Shard
from amago_core.replay.shard_format import WriterTotals, difference, encode, schema
from amago_core.replay.shard_name import (
    MAX_TRAJECTORIES,
    QUARANTINE,
    ShardName,
    check_writer,
    files_in,
    moved_shards,
    shards_in,
)
from amago_core.replay.trajectory_checks import stored_copy
from amago_core.system.atomic_files import SET_ASIDE, name_new, sync_folder, write_file
from amago_registry.trajectories import Trajectory

_TOKEN_BYTES = 16


class ReplayWriter:
    """Writer of a replay buffer; several writers can share a folder.

    A trajectory is *stored* once its shard has its final name; from then on it survives any crash.
    Shards are immutable. Writers share a folder without locks, each under its own name; opening a
    writer invalidates an earlier process with that name, and removes the partial file that its crash
    left.

    Args:
        folder: The replay; created if it does not exist.
        writer: Name of the writer: up to 64 of a-z, 0-9 and _.

    Raises:
        ReplayError: If the writer's name cannot be used, or the folder cannot be written.
    """

    def __init__(self, folder: Path, writer: str = "main") -> None:
        check_writer(writer)
        self._folder = folder
        self._writer = writer
        self._pending: list[Trajectory] = []
        self._unsynced: ShardName | None = None
        self._schema: dict[str, str] | None = None
        self._claim = folder / f".{writer}.claim"
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(folder.parent)
            self._remove_leftovers()
            self._token = self._claim_name()
        except OSError as error:
            raise ReplayError(f"trajectories cannot be stored in {folder}: {error}") from error
        written = sorted(name for name in shards_in(folder).values() if name.writer == writer)
        damaged = self._moved_to(QUARANTINE)
        self._stored = max((name.end for name in (*written, *damaged)), default=0)
        self._update = max((name.update for name in (*written, *damaged)), default=0)
        # Numbers are never reused: readers cache shards by name.
        used = (*written, *damaged, *self._moved_to(SET_ASIDE))
        self._number = max((name.number for name in used), default=-1) + 1
        self._before = self._totals(written)

    @property
    def stored(self) -> int:
        """Trajectories this writer has stored since the replay began, evicted ones included."""
        return self._stored

    @property
    def pending(self) -> int:
        """Trajectories appended but not stored yet."""
        return len(self._pending)

    def append(self, trajectory: Trajectory) -> None:
        """Buffer a copy of a trajectory, to be stored by the next `flush`.

        Raises:
            TrajectoryError: If its columns do not fit together, or do not fit the ones before.
            ReplayError: If the buffer is full: call `flush`.
        """
        if len(self._pending) >= MAX_TRAJECTORIES:
            raise ReplayError(f"a shard holds {MAX_TRAJECTORIES:,} trajectories at most: call flush")
        copy = stored_copy(trajectory)
        found = schema(copy)
        if self._schema is None:
            self._schema = found
        elif found != self._schema:
            raise TrajectoryError(
                f"this trajectory does not fit the ones before: {difference(self._schema, found)}"
            )
        self._pending.append(copy)

    def flush(self, update: int) -> Path | None:
        """Write everything appended so far as one shard, durably.

        Args:
            update: The update at which the recording of these trajectories began. Where training was
                resumed from an earlier update, the shard is still ordered after this writer's others.

        Returns:
            Path of the shard, or None if nothing was appended.

        Raises:
            ReplayError: If the shard cannot be written; what was appended stays buffered for a retry.
        """
        name = self._unsynced  # Named by the last flush, which then failed to sync.
        self._sync()
        if self._pending:
            name = self._store(update)
            self._sync()
        return None if name is None else self._folder / name.file

    def _store(self, update: int) -> ShardName:
        """Write and name the shard; until the folder is synced, a power cut may still undo that."""
        update, count = max(update, self._update), len(self._pending)
        name = ShardName(update, self._writer, self._number, self._stored, count)
        if ShardName.parse(name.file) != name:
            raise ReplayError(
                f"{_trajectories(count)} cannot be stored in {self._folder}: "
                f"'{name.file}' has a number of more than 10 digits"
            )
        data = encode(self._pending, name, self._before)
        self._write(data, name)
        steps = sum(trajectory.length for trajectory in self._pending)
        self._before = WriterTotals(self._before.timesteps + steps, self._before.bytes + len(data))
        self._number, self._update, self._stored = name.number + 1, update, name.end
        self._pending.clear()
        self._unsynced = name
        return name

    def _write(self, data: bytes, name: ShardName) -> None:
        temporary = self._folder / name.temporary
        try:
            self._check_claim()
            temporary.unlink(missing_ok=True)
            write_file(temporary, data)
            self._check_claim()  # Again: the write may have taken long.
            name_new(temporary, self._folder / name.file)
        except FileExistsError:  # Leave the temporary file, it may be the other's: opening removes it.
            raise ReplayError(f"another process writes to {self._folder} as '{self._writer}'") from None
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise self._store_error(name, error) from error

    def _sync(self) -> None:
        if self._unsynced is None:
            return
        try:
            sync_folder(self._folder)
        except OSError as error:
            raise self._store_error(self._unsynced, error) from error
        self._unsynced = None

    def _store_error(self, name: ShardName, error: OSError) -> ReplayError:
        what = _trajectories(name.trajectories)
        return ReplayError(f"{what} cannot be stored in {self._folder}: {error}")

    def _claim_name(self) -> bytes:
        """Claim the writer's name; a process that had it before raises at its next write."""
        token = os.urandom(_TOKEN_BYTES)
        self._claim.unlink(missing_ok=True)
        with self._claim.open("xb") as file:  # Not synced: after a crash it is not needed.
            file.write(token)
        return token

    def _check_claim(self) -> None:
        """Raise FileExistsError if another process has claimed the writer's name since."""
        try:
            claim = self._claim.read_bytes()
        except FileNotFoundError:
            claim = b""
        if claim != self._token:
            raise FileExistsError

    def _remove_leftovers(self) -> None:
        for file in files_in(self._folder):
            name = ShardName.parse_temporary(file)
            if name is not None and name.writer == self._writer:
                (self._folder / file).unlink()

    def _moved_to(self, folder: str) -> list[ShardName]:
        moved = moved_shards(files_in(self._folder / folder))
        return [name for name in moved if name.writer == self._writer]

    def _totals(self, written: list[ShardName]) -> WriterTotals:
        """Return the totals up to the writer's newest readable shard."""
        for name in reversed(written):
            try:
                return Shard.open(self._folder / name.file, name).after
            except (FileNotFoundError, DamagedShardError):
                continue
        return WriterTotals()


def _trajectories(count: int) -> str:
    return "1 trajectory" if count == 1 else f"{count} trajectories"
