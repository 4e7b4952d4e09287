"""Names of shards: they alone give the order in which trajectories were stored."""

from __future__ import annotations

import re
from dataclasses import dataclass

from amago_core.replay.errors import ReplayError

_DIGITS = 10
_SHARD = re.compile(r"([0-9]{10})-([a-z0-9_]+)-([0-9]{10})\.safetensors")
_WRITER = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, order=True)
class ShardName:
    """Which shard a file is; shards are ordered by update, then writer, then number.

    Args:
        update: Update at which the recording of the shard's trajectories began.
        writer: Who wrote it.
        number: How many shards this writer wrote before; never used twice.
    """

    update: int
    writer: str
    number: int

    @property
    def file(self) -> str:
        """Name of the file; file names sort as shards do."""
        return f"{self.update:0{_DIGITS}}-{self.writer}-{self.number:0{_DIGITS}}.safetensors"

    @property
    def temporary(self) -> str:
        """Name of the file while it is being written; readers do not see it."""
        return f".{self.file}.tmp"

    @classmethod
    def parse(cls, file: str) -> ShardName | None:
        """Return the shard that a file name means, or None for any other file."""
        match = _SHARD.fullmatch(file)
        return cls(int(match[1]), match[2], int(match[3])) if match else None

    @classmethod
    def parse_temporary(cls, file: str) -> ShardName | None:
        """Return the shard that a temporary file would have become, or None for any other file."""
        if not (file.startswith(".") and file.endswith(".tmp")):
            return None
        return cls.parse(file[1 : -len(".tmp")])


def check_writer(writer: str) -> None:
    """Refuse a writer's name that cannot be part of a file name.

    Raises:
        ReplayError: If it has other characters than a-z, 0-9 and _.
    """
    if not _WRITER.fullmatch(writer):
        raise ReplayError(f"'{writer}' cannot name a writer of a replay; use a-z, 0-9 and _")
