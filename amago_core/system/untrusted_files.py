"""Safe reading of untrusted files: regular files up to a size limit; no links, pipes or devices."""

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
    """Return the fraction ``1 / parts`` of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // parts


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a regular file.

    Args:
        path: The file; a link, a pipe or a device is refused unread.
        max_bytes: Size limit; a larger file is refused unread.

    Raises:
        ValueError: If it is refused; the text names the file without its folder.
        OSError: If it cannot be opened.
    """
    with _opened(path, max_bytes) as file:
        # ``read(n)`` allocates n bytes at once: no more than the file has.
        return file.read(min(max_bytes, os.fstat(file.fileno()).st_size))


def crc32_regular(path: Path, max_bytes: int) -> int:
    """Return the CRC-32 of a regular file, read in chunks.

    Args:
        path: The file; a link, a pipe or a device is refused unread.
        max_bytes: Size limit; a larger file is refused unread.

    Raises:
        ValueError: If it is refused; the text names the file without its folder.
        OSError: If it cannot be opened.
    """
    crc, left = 0, max_bytes
    with _opened(path, max_bytes) as file:
        # Bounded, because another process might keep appending to the file.
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return crc


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[BinaryIO]:
    try:
        # Without O_NONBLOCK, opening a pipe would block until a process opens it for writing.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == ELOOP:
            raise ValueError(f"{path.name} is a symbolic link, which is not followed") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if status.st_size > max_bytes:
            raise ValueError(
                f"{path.name} has {status.st_size:,} bytes, more than the limit of {max_bytes:,}"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)
