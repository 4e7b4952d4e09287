"""Files that anybody may have made: read only where they are ordinary files of a bearable size."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ELOOP
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20


def memory_share(parts: int = 4) -> int:
    """Return how many bytes one of so many equal parts of this machine's memory has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // parts


def read_ordinary(path: Path, most: int) -> bytes:
    """Return what is in a file.

    Args:
        path: The file; a link, a pipe or a device is refused unread.
        most: Bytes from which on it is refused unread.

    Raises:
        ValueError: If it is refused; the text names the file without its folder.
        OSError: If it cannot be opened.
    """
    with _opened(path, most) as file:
        # Memory for as many bytes as are asked for is taken before the first is read.
        return file.read(min(most, os.fstat(file.fileno()).st_size))


def crc32_ordinary(path: Path, most: int) -> int:
    """Return the CRC-32 of a file, which is never in memory as a whole.

    Args:
        path: The file; a link, a pipe or a device is refused unread.
        most: Bytes from which on it is refused unread.

    Raises:
        ValueError: If it is refused; the text names the file without its folder.
        OSError: If it cannot be opened.
    """
    crc, left = 0, most
    with _opened(path, most) as file:
        # What another process keeps appending to must not be followed for ever.
        while left > 0 and (piece := file.read(min(_CHUNK, left))):
            crc, left = zlib.crc32(piece, crc), left - len(piece)
    return crc


@contextmanager
def _opened(path: Path, most: int) -> Iterator[BinaryIO]:
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == ELOOP:
            raise ValueError(f"{path.name} is a link, which is not followed") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is no ordinary file")
        if status.st_size > most:
            raise ValueError(
                f"{path.name} has {status.st_size:,} bytes, more than the {most:,} that are read"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)
