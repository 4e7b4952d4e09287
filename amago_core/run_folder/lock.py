"""File locks of a run's folder: one training run writes to it at a time.

Locks are the operating system's (flock), which releases them when the process ends for any reason, so
there are no stale lock files.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from amago_core.errors import RunDirError
from amago_core.run_folder.run_dir import RunDir

ORPHAN_TIMEOUT_S = 30.0
"""Seconds to wait for processes that outlive a killed training run (orphans) to exit."""


class FolderLock:
    """An exclusive lock on a run's folder for one training run, held until closed.

    Args:
        folder: The folder.
        orphans: Whether to wait for processes of an earlier training run to exit.
        timeout: Seconds to wait for them.

    Raises:
        RunDirError: If another training run holds the lock, processes of an earlier one do not exit, or
            the folder cannot be written.
    """

    def __init__(
        self, folder: RunDir, *, orphans: bool = True, timeout: float = ORPHAN_TIMEOUT_S
    ) -> None:
        self._file = _open(folder.lock)
        try:
            if not _lock(self._file, fcntl.LOCK_EX):
                raise RunDirError(
                    f"{folder.path} is being trained by process {_holder(folder.lock)}. Wait until it "
                    "ends, or stop it with Ctrl-C; then --resume continues the run."
                )
            if orphans:
                _wait_for_orphans(folder, timeout)
        except BaseException:
            os.close(self._file)
            raise
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)


def join_run(folder: RunDir) -> int:
    """Take the shared lock that every process of a training run holds until it exits.

    Returns:
        The lock's file descriptor, to release it before the process exits.
    """
    file = _open(folder.members)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _wait_for_orphans(folder: RunDir, timeout: float) -> None:
    if not folder.members.exists():
        return
    file = _open(folder.members)
    deadline = time.monotonic() + timeout
    try:
        while not _lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise RunDirError(
                    f"{folder.path}: processes of an earlier training run, which has ended, are still "
                    f"running after {timeout:g} s. Stop them, or wait; then --resume continues the run."
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
