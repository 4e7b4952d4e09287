"""File names of shards, which determine the order of trajectories and their indices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from os import scandir
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from amago_core.replay.replay_errors import ReplayError

QUARANTINE = "quarantine"
"""Subfolder of damaged shards."""

PROTECTED = "protected"
"""Subfolder of protected shards: always visible, never evicted."""

MAX_TRAJECTORIES = 10**6
"""Maximum trajectories of a shard: bounds what is read before its checksum is verified."""

_DIGITS = 10

_SHARD = re.compile(r"([0-9]{10})-([a-z0-9_]{1,64})-([0-9]{10})-([0-9]{10})-([0-9]{10})\.safetensors")

_FORMAT_1 = re.compile(r"[0-9]{10}-[a-z0-9_]+-[0-9]{10}\.safetensors")

_PROTECTED = re.compile(r"(?:[0-9a-f]{8}-)?(.*)", re.DOTALL)

_WRITER = re.compile(r"[a-z0-9_]{1,64}")


class ShardName(NamedTuple):
    """Name of a shard; shards are ordered by update, then writer, then number.

    Args:
        update: Update at which the recording of the shard's trajectories began.
        writer: Name of the writer.
        number: Sequence number among the writer's shards; never used twice.
        first: How many trajectories this writer stored before it.
        trajectories: How many it holds; known from the name even if the file is damaged.
    """

    update: int
    writer: str
    number: int
    first: int
    trajectories: int

    @property
    def end(self) -> int:
        """How many trajectories the writer stored up to and including this shard."""
        return self.first + self.trajectories

    @property
    def file(self) -> str:
        """File name; file names sort as shards do."""
        update, number = f"{self.update:0{_DIGITS}}", f"{self.number:0{_DIGITS}}"
        first, count = f"{self.first:0{_DIGITS}}", f"{self.trajectories:0{_DIGITS}}"
        return f"{update}-{self.writer}-{number}-{first}-{count}.safetensors"

    @property
    def temporary(self) -> str:
        """File name while it is being written; readers ignore it."""
        return f".{self.file}.tmp"

    @classmethod
    def parse(cls, file: str) -> ShardName | None:
        """Parse the file name of a shard; None for any other file."""
        match = _SHARD.fullmatch(file)
        if match is None:
            return None
        update, writer, number, first, count = match.groups()
        if not 1 <= int(count) <= MAX_TRAJECTORIES:
            return None
        return cls(int(update), writer, int(number), int(first), int(count))

    @classmethod
    def parse_temporary(cls, file: str) -> ShardName | None:
        """Parse the temporary file name of a shard being written; None for any other file."""
        if not (file.startswith(".") and file.endswith(".tmp")):
            return None
        return cls.parse(file[1 : -len(".tmp")])

    @classmethod
    def parse_protected(cls, file: str) -> ShardName | None:
        """Parse the file name of a copy in ``protected/``; None for any other file."""
        match = _PROTECTED.fullmatch(file)
        return cls.parse(match[1]) if match else None

    @classmethod
    def parse_moved(cls, file: str) -> ShardName | None:
        """Parse the file name of a shard moved to quarantine or set aside; None for any other file.

        Where the name was taken there, a number is appended: ``.2``.
        """
        base, _, suffix = file.rpartition(".")
        return cls.parse_protected(base if suffix.isdigit() else file)


def shards_in(
    folder: Path, known: Mapping[str, ShardName] = MappingProxyType({})
) -> dict[str, ShardName]:
    """List the shards in a folder, by file name, in no order.

    Args:
        folder: The folder; no shards if it does not exist.
        known: File names that were parsed before.

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
                "Move it out of the folder, or continue with the version that wrote it."
            )
    return found


def moved_shards(files: Iterable[str]) -> Iterator[ShardName]:
    """Yield the shards among the files of a folder such as ``quarantine/``."""
    for file in files:
        name = ShardName.parse_moved(file)
        if name is not None:
            yield name


def files_in(folder: Path) -> list[str]:
    """List the names of everything in a folder; none if there is no such folder.

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
    """Check that a writer's name can be part of a file name.

    Raises:
        ReplayError: If it has other characters than a-z, 0-9 and _, or more than 64.
    """
    if not _WRITER.fullmatch(writer):
        raise ReplayError(
            f"'{writer}' cannot name a writer of a replay; use up to 64 of a-z, 0-9 and _"
        )
