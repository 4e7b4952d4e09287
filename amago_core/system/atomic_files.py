"""Atomic, durable file writes: after a crash or a power cut, a file is complete or absent."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from errno import ENOTDIR
from itertools import count
from pathlib import Path

SET_ASIDE = "set-aside"
"""Subfolder for stored files that are no longer used: they are moved there and never deleted."""


def write_file(path: Path, data: bytes) -> None:
    """Write and fsync a new file; its name is durable after `sync_folder`.

    Raises:
        FileExistsError: If the file exists.
        OSError: If the disk is full or the folder cannot be written.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_file(source: Path, path: Path) -> None:
    """Copy a file as `write_file` writes one, in chunks, so that it need not fit in memory.

    Raises:
        FileExistsError: If the file exists.
        OSError: If the source cannot be read, the disk is full or the folder cannot be written.
    """
    with source.open("rb") as original, path.open("xb") as file:
        shutil.copyfileobj(original, file)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Fsync a folder, so that the names of the files in it are durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Rename a finished file or folder atomically within its folder, and fsync the folder."""
    temporary.rename(final)
    sync_folder(final.parent)


def name_new(temporary: Path, final: Path) -> None:
    """Rename a finished file without replacing another; the name is durable after `sync_folder`.

    Raises:
        FileExistsError: If the file exists.
        OSError: If the folder cannot be written.
    """
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError:
        # The file system has no hard links. Another process might create the file between this check
        # and the rename.
        if os.path.lexists(final):
            raise FileExistsError(final) from None
        temporary.rename(final)
    else:
        with suppress(OSError):
            temporary.unlink()


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file atomically: a reader sees the old content or the new one."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        write_file(temporary, data)
        publish(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def set_aside(path: Path, folder: Path | None = None) -> Path:
    """Move a file or folder into another folder, under a name not yet taken there.

    Args:
        path: The file or folder.
        folder: Destination, created if it does not exist; by default ``set-aside/`` beside ``path``.

    Returns:
        The new path.

    Raises:
        FileNotFoundError: If ``path`` does not exist.
        OSError: If it cannot be moved, or the destination is a symbolic link.
    """
    folder = path.parent / SET_ASIDE if folder is None else folder
    if folder.is_symlink():
        raise NotADirectoryError(ENOTDIR, "it is a link", str(folder))
    folder.mkdir(exist_ok=True)
    names = (path.name if n == 1 else f"{path.name}.{n}" for n in count(1))
    target = next(folder / name for name in names if not (folder / name).exists())
    path.rename(target)
    sync_folder(folder)
    sync_folder(path.parent)
    return target
