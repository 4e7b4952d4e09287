"""Names of shards: they alone give the order in which trajectories were stored, and their indices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from os import scandir
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from amago_core.replay.errors import ReplayError

QUARANTINE = "quarantine"
"""Subfolder for shards that turned out to be damaged."""

PROTECTED = "protected"
"""Subfolder for shards that are always visible and never evicted."""

MOST_TRAJECTORIES = 10**6
"""Most trajectories of a shard: a bound on what is read of one before it is believed."""

_DIGITS = 10

_SHARD = re.compile(r"([0-9]{10})-([a-z0-9_]{1,64})-([0-9]{10})-([0-9]{10})-([0-9]{10})\.safetensors")

_FORMAT_1 = re.compile(r"[0-9]{10}-[a-z0-9_]+-[0-9]{10}\.safetensors")

_PROTECTED = re.compile(r"(?:[0-9a-f]{8}-)?(.*)", re.DOTALL)

_WRITER = re.compile(r"[a-z0-9_]{1,64}")


class ShardName(NamedTuple):
    """Which shard a file is; shards are ordered by update, then writer, then number.

    Args:
        update: Update at which the recording of the shard's trajectories began.
        writer: Who wrote it.
        number: How many shards this writer wrote before; never used twice.
        first: How many trajectories this writer stored before.
        trajectories: How many it holds; a file that is damaged still has its name.
    """

    update: int
    writer: str
    number: int
    first: int
    trajectories: int

    @property
    def end(self) -> int:
        """How many trajectories the writer has stored with this shard."""
        return self.first + self.trajectories

    @property
    def file(self) -> str:
        """Name of the file; file names sort as shards do."""
        update, number = f"{self.update:0{_DIGITS}}", f"{self.number:0{_DIGITS}}"
        first, count = f"{self.first:0{_DIGITS}}", f"{self.trajectories:0{_DIGITS}}"
        return f"{update}-{self.writer}-{number}-{first}-{count}.safetensors"

    @property
    def temporary(self) -> str:
        """Name of the file while it is being written; readers do not see it."""
        return f".{self.file}.tmp"

    @classmethod
    def parse(cls, file: str) -> ShardName | None:
        """Return the shard that a file name means, or None for any other file."""
        match = _SHARD.fullmatch(file)
        if match is None:
            return None
        update, writer, number, first, count = match.groups()
        if not 1 <= int(count) <= MOST_TRAJECTORIES:
            return None
        return cls(int(update), writer, int(number), int(first), int(count))

    @classmethod
    def parse_temporary(cls, file: str) -> ShardName | None:
        """Return the shard that a temporary file would have become, or None for any other file."""
        if not (file.startswith(".") and file.endswith(".tmp")):
            return None
        return cls.parse(file[1 : -len(".tmp")])

    @classmethod
    def parse_protected(cls, file: str) -> ShardName | None:
        """Return the shard that a file in ``protected/`` is a copy of, or None for any other file."""
        match = _PROTECTED.fullmatch(file)
        return cls.parse(match[1]) if match else None

    @classmethod
    def parse_moved(cls, file: str) -> ShardName | None:
        """Return the shard that a file was before it was moved, or None for any other file.

        Where its name was taken, it has a number behind it: ``.2``.
        """
        base, _, again = file.rpartition(".")
        return cls.parse_protected(base if again.isdigit() else file)


def shards_in(
    folder: Path, known: Mapping[str, ShardName] = MappingProxyType({})
) -> dict[str, ShardName]:
    """Return the shards that lie in a folder by the names of their files, in no order.

    Args:
        folder: Where to look; no shards if it does not exist.
        known: Names that were taken apart before.

    Raises:
        ReplayError: If the folder cannot be listed, or holds shards of a format that is no longer read.
    """
    found = {}
    for file in files_in(folder):
        name = known.get(file) or ShardName.parse(file)
        if name is not None:
            found[file] = name
        elif _FORMAT_1.fullmatch(file):
            raise ReplayError(
                f"{folder / file} has format 1, and this version of amago-core reads format 2. "
                "Move it out of the folder, or go on with the version that wrote it."
            )
    return found


def moved_shards(files: Iterable[str]) -> Iterator[ShardName]:
    """Yield the shards among the files of a folder such as ``quarantine/``."""
    for file in files:
        name = ShardName.parse_moved(file)
        if name is not None:
            yield name


def files_in(folder: Path) -> list[str]:
    """Return the names of everything in a folder; none if there is no such folder.

    Raises:
        ReplayError: If the folder cannot be listed.
    """
    try:
        with scandir(folder) as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ReplayError(f"{folder} cannot be listed: {error.strerror}") from None


def check_writer(writer: str) -> None:
    """Refuse a writer's name that cannot be part of a file name.

    Raises:
        ReplayError: If it has other characters than a-z, 0-9 and _, or more than 64.
    """
    if not _WRITER.fullmatch(writer):
        raise ReplayError(
            f"'{writer}' cannot name a writer of a replay; use up to 64 of a-z, 0-9 and _"
        )
