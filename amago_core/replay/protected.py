"""Protected trajectories: shards copied from another run or replay, which are never evicted."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from amago_core.replay.inspection import find_replay, verify_shard
from amago_core.replay.replay_errors import DamagedShardError, ReplayError
from amago_core.replay.shard import Shard
from amago_core.replay.shard_format import difference
from amago_core.replay.shard_name import PROTECTED, ShardName, files_in, shards_in
from amago_core.system.atomic_files import copy_file, publish


@dataclass(frozen=True)
class Protection:
    """Result of `protect`.

    Args:
        shards: Shards that were copied.
        trajectories: Trajectories in them.
        already: Shards that had been copied before.
        problems: A sentence for each damaged shard, which was skipped.
    """

    shards: int
    trajectories: int
    already: int
    problems: tuple[str, ...]


def protect(source: Path, folder: Path) -> Protection:
    """Copy the shards of a run or replay into ``protected/`` of a replay.

    Protected trajectories are always visible, never evicted, and not counted in any limit. Every
    checksum of a copy is verified before it gets its final name. Copying the same shards again changes
    nothing.

    Args:
        source: Folder of a run or of a replay.
        folder: The replay that receives them; created if it does not exist.

    Raises:
        ReplayError: If there is nothing to copy, a trajectory does not fit those already in the replay
            (then nothing is copied), or a copy cannot be written.
    """
    found = find_replay(source)
    if found.resolve() == folder.resolve():
        raise ReplayError(f"{folder} is both source and target: every trajectory would be drawn twice.")
    names = sorted(shards_in(found).values())
    if not names:
        raise ReplayError(f"{found} holds no trajectory to protect.")
    schema = _schema(folder)
    targets: dict[ShardName, Path] = {}
    problems = []
    for name in names:
        try:
            shard = Shard.open(found / name.file, name)
        except FileNotFoundError:  # Evicted meanwhile.
            continue
        except DamagedShardError as error:
            problems.append(str(error))
            continue
        schema = schema or shard.schema
        if shard.schema != schema:
            raise ReplayError(
                f"the trajectories of {shard.path} do not fit those of {folder}: "
                f"{difference(schema, shard.schema)}"
            )
        targets[name] = folder / PROTECTED / f"{shard.header:08x}-{name.file}"
    copied = trajectories = already = 0
    for name, target in targets.items():
        if os.path.lexists(target):
            already += 1
            continue
        try:
            _copy(found / name.file, name, target)
        except FileNotFoundError:
            continue
        except DamagedShardError as error:
            problems.append(str(error))
            continue
        copied += 1
        trajectories += name.trajectories
    return Protection(copied, trajectories, already, tuple(problems))


def _copy(path: Path, name: ShardName, target: Path) -> None:
    """Copy a shard atomically: a partial or damaged copy never gets the final name.

    Raises:
        FileNotFoundError: If it was evicted.
        DamagedShardError: If it is corrupt.
        ReplayError: If the copy cannot be written, or differs from the original.
    """
    verify_shard(path, name)
    # A random name: another process may be copying the same shard.
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(path, temporary)
        verify_shard(temporary, name)
        publish(temporary, target)
    except DamagedShardError:
        raise ReplayError(f"{path} changed while it was copied to {target.parent}.") from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ReplayError(f"{path} cannot be copied to {target.parent}: {error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _schema(folder: Path) -> dict[str, str] | None:
    """Return the schema of a replay's newest readable shard; None if there is none."""
    inside = folder / PROTECTED
    protected = [(inside / file, ShardName.parse_protected(file)) for file in files_in(inside)]
    evictable = [
        (folder / name.file, name) for name in sorted(shards_in(folder).values(), reverse=True)
    ]
    for path, name in [*evictable, *protected]:
        try:
            if name is not None:
                return Shard.open(path, name).schema
        except (FileNotFoundError, DamagedShardError):
            continue
    return None
