"""Files that are there whole or not at all, also after a crash or a power cut."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from errno import ENOTDIR
from itertools import count
from pathlib import Path

SET_ASIDE = "set-aside"
"""Subfolder for what is no longer used and was stored, and is therefore never deleted."""


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it; its name is durable after `sync_folder`.

    Raises:
        FileExistsError: If there is such a file.
        OSError: If the disk is full or the folder cannot be written.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_file(source: Path, path: Path) -> None:
    """Write a copy of a file as `write_file` does; it is never in memory as a whole.

    Raises:
        FileExistsError: If there is such a file.
        OSError: If the source cannot be read, the disk is full or the folder cannot be written.
    """
    with source.open("rb") as original, path.open("xb") as file:
        shutil.copyfileobj(original, file)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file or folder its name, all at once; both lie in the same folder."""
    temporary.rename(final)
    sync_folder(final.parent)


def name_new(temporary: Path, final: Path) -> None:
    """Give a finished file its name, which is durable after `sync_folder`; never in place of another.

    Raises:
        FileExistsError: If there is such a file.
        OSError: If the folder cannot be written.
    """
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError:
        # Not every file system has second names. There, between this look and the next line, another
        # process might make the file.
        if os.path.lexists(final):
            raise FileExistsError(final) from None
        temporary.rename(final)
    else:
        with suppress(OSError):
            temporary.unlink()


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in place of any that has its name; a reader sees the old one or the new one."""
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
        path: What is moved.
        folder: Where to; made if it does not exist. ``set-aside/`` beside ``path`` if absent.

    Returns:
        Where it is now.

    Raises:
        FileNotFoundError: If it is no longer there.
        OSError: If it cannot be moved; also where the folder is a link, which may lead anywhere.
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
