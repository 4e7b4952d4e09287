"""Storing trajectories: whole shards, durable once they have their name."""

from __future__ import annotations

from pathlib import Path

from amago_core.durability import SET_ASIDE, publish, write_file
from amago_core.replay.errors import ReplayError, TrajectoryError
from amago_core.replay.naming import ShardName, check_writer
from amago_core.replay.shards import Shard, encode, schema
from amago_core.replay.trajectory import stored_copy
from amago_registry.trajectories import Trajectory


class ReplayWriter:
    """One of the writers of a replay.

    A trajectory is *stored* once its shard has its name; from then on it survives any crash. Shards are
    immutable. Several writers share a folder without locks, each under a name of its own; a name
    belongs to one process at a time. Opening a writer removes the half-written file that a crash of the
    same writer left.

    Args:
        folder: The replay; made if it does not exist.
        writer: Name of the writer: a-z, 0-9 and _.

    Raises:
        ReplayError: If the writer's name cannot be used.
        DamagedShardError: If the last shard this writer stored cannot be read.
    """

    def __init__(self, folder: Path, writer: str = "main") -> None:
        check_writer(writer)
        self._folder = folder
        self._writer = writer
        self._pending: list[Trajectory] = []
        self._schema: dict[str, str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        last = self._last_shard()
        self._stored = last.first + last.count if last else 0
        self._update = last.name.update if last else 0
        self._number = self._next_number()

    @property
    def stored(self) -> int:
        """Trajectories this writer has stored since the replay began, evicted ones included."""
        return self._stored

    def append(self, trajectory: Trajectory) -> None:
        """Take a copy of a trajectory, to be stored by the next `flush`.

        Raises:
            TrajectoryError: If its columns do not fit together, or do not fit the ones before.
        """
        copy = stored_copy(trajectory)
        described = schema(copy)
        if self._schema is None:
            self._schema = described
        elif described != self._schema:
            raise TrajectoryError(_difference(self._schema, described))
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
        name = ShardName(max(update, self._update), self._writer, self._number)
        path = self._folder / name.file
        if path.exists():
            raise ReplayError(
                f"{path} exists: another process writes to this replay as '{self._writer}'"
            )
        self._write(path, self._folder / name.temporary)
        self._number += 1
        self._update = name.update
        self._stored += len(self._pending)
        self._pending.clear()
        return path

    def _write(self, path: Path, temporary: Path) -> None:
        try:
            write_file(temporary, encode(self._pending, self._stored))
            publish(temporary, path)
        except OSError as error:
            raise ReplayError(
                f"{len(self._pending)} trajectories cannot be stored in {self._folder}: {error}"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        for path in self._folder.iterdir():
            name = ShardName.parse_temporary(path.name)
            if name is not None and name.writer == self._writer:
                path.unlink()

    def _own_shards(self, folder: Path) -> list[ShardName]:
        names = [ShardName.parse(path.name) for path in folder.glob("*.safetensors*")]
        return [name for name in names if name is not None and name.writer == self._writer]

    def _last_shard(self) -> Shard | None:
        name = max(self._own_shards(self._folder), default=None)
        return Shard.open(self._folder / name.file, name) if name else None

    def _next_number(self) -> int:
        """Return a number never used: readers take a shard they know by name as read."""
        used = [*self._own_shards(self._folder), *self._own_shards(self._folder / SET_ASIDE)]
        return max((name.number for name in used), default=-1) + 1


def _difference(before: dict[str, str], now: dict[str, str]) -> str:
    changes = [
        f"{name} is {now.get(name, 'absent')}, it was {before.get(name, 'absent')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return f"this trajectory does not fit the ones before: {'; '.join(changes)}"
