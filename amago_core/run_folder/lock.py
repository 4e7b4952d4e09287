"""Who may write to a run's folder: one training at a time.

Locks are the operating system's (flock): they end with the process that holds them, however it ends, so
none is ever left behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from amago_core.errors import RunDirError
from amago_core.run_folder.run_dir import RunDir

ORPHAN_TIMEOUT_S = 30.0
"""Seconds that processes of a killed training are given to notice that they are orphans."""


class FolderLock:
    """Holds a run's folder for one training, until closed.

    Args:
        folder: The folder.
        orphans: Whether processes of an earlier training may still have to end.
        patience: Seconds to wait for them.

    Raises:
        RunDirError: If another training holds it, its processes do not end, or nobody may write there.
    """

    def __init__(
        self, folder: RunDir, *, orphans: bool = True, patience: float = ORPHAN_TIMEOUT_S
    ) -> None:
        self._file = _open(folder.lock)
        try:
            if not _lock(self._file, fcntl.LOCK_EX):
                raise RunDirError(
                    f"{folder.path} is being trained by process {_holder(folder.lock)}. Wait for its "
                    "end, or stop it with Ctrl-C; then --resume continues the run."
                )
            if orphans:
                _await_orphans(folder, patience)
        except BaseException:
            os.close(self._file)
            raise
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let others train."""
        os.close(self._file)


def join_run(folder: RunDir) -> int:
    """Count this process among those that write to the folder for a training, until it ends."""
    file = _open(folder.members)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _await_orphans(folder: RunDir, patience: float) -> None:
    if not folder.members.exists():
        return
    file = _open(folder.members)
    deadline = time.monotonic() + patience
    try:
        while not _lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise RunDirError(
                    f"{folder.path}: processes of the training before have not ended in "
                    f"{patience:g} s, though the one that started them has. End them, or wait; then "
                    "--resume continues the run."
                )
            time.sleep(0.05)
    finally:
        os.close(file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunDirError(f"{path.parent} cannot be written: {error.strerror}.") from None


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() or "another"
