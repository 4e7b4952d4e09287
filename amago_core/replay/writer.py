"""Storing trajectories: whole shards, durable once they have their name."""

from __future__ import annotations

import os
from pathlib import Path

from amago_core.durability import SET_ASIDE, publish, write_file
from amago_core.replay.encoding import Totals, difference, encode, schema
from amago_core.replay.errors import DamagedShardError, ReplayError, TrajectoryError
from amago_core.replay.naming import (
    MOST_TRAJECTORIES,
    QUARANTINE,
    ShardName,
    check_writer,
    files_in,
    moved_shards,
    shards_in,
)
from amago_core.replay.shards import Shard
from amago_core.replay.trajectory import stored_copy
from amago_registry.trajectories import Trajectory

_TOKEN_BYTES = 16


class ReplayWriter:
    """One of the writers of a replay.

    A trajectory is *stored* once its shard has its name; from then on it survives any crash. Shards are
    immutable. Several writers share a folder without locks, each under a name of its own; a name
    belongs to the process that opened it last. Opening a writer removes the half-written file that a
    crash of the same writer left.

    Args:
        folder: The replay; made if it does not exist.
        writer: Name of the writer: up to 64 of a-z, 0-9 and _.

    Raises:
        ReplayError: If the writer's name cannot be used, or the folder cannot be written.
    """

    def __init__(self, folder: Path, writer: str = "main") -> None:
        check_writer(writer)
        self._folder = folder
        self._writer = writer
        self._pending: list[Trajectory] = []
        self._schema: dict[str, str] | None = None
        self._claim = folder / f".{writer}.claim"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            self._token = self._take_name()
        except OSError as error:
            raise ReplayError(f"trajectories cannot be stored in {folder}: {error}") from error
        own = sorted(name for name in shards_in(folder).values() if name.writer == writer)
        damaged = self._moved_to(QUARANTINE)
        self._stored = max((name.end for name in (*own, *damaged)), default=0)
        self._update = own[-1].update if own else 0
        # A number never used: readers take a shard they know by name as read.
        used = (*own, *damaged, *self._moved_to(SET_ASIDE))
        self._number = max((name.number for name in used), default=-1) + 1
        self._before = self._totals(own)

    @property
    def stored(self) -> int:
        """Trajectories this writer has stored since the replay began, evicted ones included."""
        return self._stored

    def append(self, trajectory: Trajectory) -> None:
        """Take a copy of a trajectory, to be stored by the next `flush`.

        Raises:
            TrajectoryError: If its columns do not fit together, or do not fit the ones before.
            ReplayError: If too many are waiting for `flush`.
        """
        if len(self._pending) >= MOST_TRAJECTORIES:
            raise ReplayError(f"a shard holds {MOST_TRAJECTORIES:,} trajectories at most: call flush")
        copy = stored_copy(trajectory)
        described = schema(copy)
        if self._schema is None:
            self._schema = described
        elif described != self._schema:
            raise TrajectoryError(
                f"this trajectory does not fit the ones before: {difference(self._schema, described)}"
            )
        self._pending.append(copy)

    def flush(self, update: int) -> Path | None:
        """Store everything appended so far as one shard.

        Args:
            update: The update at which the recording of these trajectories began. Where training went
                back to an earlier one, the shard is still ordered after those of this writer before.

        Returns:
            The shard, or None if nothing was appended.

        Raises:
            ReplayError: If the shard cannot be written; what was appended is kept for another try.
        """
        if not self._pending:
            return None
        update, count = max(update, self._update), len(self._pending)
        name = ShardName(update, self._writer, self._number, self._stored, count)
        path = self._folder / name.file
        if path.exists() or self._who_claims() != self._token:
            raise ReplayError(f"another process writes to {self._folder} as '{self._writer}'")
        data = encode(self._pending, name, self._before)
        self._write(data, path, self._folder / name.temporary)
        steps = sum(trajectory.length for trajectory in self._pending)
        self._before = Totals(self._before.timesteps + steps, self._before.bytes + len(data))
        self._number, self._update, self._stored = name.number + 1, update, name.end
        self._pending.clear()
        return path

    def _write(self, data: bytes, path: Path, temporary: Path) -> None:
        try:
            write_file(temporary, data)
            publish(temporary, path)
        except OSError as error:
            count = len(self._pending)
            what = "1 trajectory" if count == 1 else f"{count} trajectories"
            raise ReplayError(f"{what} cannot be stored in {self._folder}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _take_name(self) -> bytes:
        """Make the writer's name one's own; who had it before sees that and stops."""
        token = os.urandom(_TOKEN_BYTES)
        self._claim.unlink(missing_ok=True)
        with self._claim.open("xb") as file:  # It need not survive a crash: nor does who made it.
            file.write(token)
        return token

    def _who_claims(self) -> bytes:
        try:
            return self._claim.read_bytes()
        except OSError:
            return b""

    def _remove_leftovers(self) -> None:
        for file in files_in(self._folder):
            name = ShardName.parse_temporary(file)
            if name is not None and name.writer == self._writer:
                (self._folder / file).unlink()

    def _moved_to(self, folder: str) -> list[ShardName]:
        moved = moved_shards(files_in(self._folder / folder))
        return [name for name in moved if name.writer == self._writer]

    def _totals(self, own: list[ShardName]) -> Totals:
        """Return what was stored up to the newest shard that can still be read."""
        for name in reversed(own):
            try:
                return Shard.open(self._folder / name.file, name).after
            except (FileNotFoundError, DamagedShardError):
                continue
        return Totals()
