"""File locks of a run's folder."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from ready_runs import create_run

from amago_core.errors import RunDirError
from amago_core.run_folder.lock import FolderLock, join_run


def test_a_second_training_run_in_a_folder_is_refused(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run")
    lock = FolderLock(folder)
    with pytest.raises(RunDirError) as caught:
        FolderLock(folder)
    assert str(caught.value) == (
        f"{folder.path} is being trained by process {os.getpid()}. Wait until it ends, or stop it with "
        "Ctrl-C; then --resume continues the run."
    )
    lock.close()
    FolderLock(folder).close()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run")
    folder.lock.mkdir()
    with pytest.raises(RunDirError) as caught:
        FolderLock(folder)
    assert str(caught.value) == f"{folder.path} cannot be written: Is a directory."


def test_a_lock_waits_for_orphans_to_exit(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run")
    orphan = join_run(folder)
    ending = threading.Timer(0.2, os.close, (orphan,))
    ending.start()
    began = time.monotonic()
    FolderLock(folder).close()
    assert time.monotonic() - began > 0.1
    ending.join()


def test_orphans_that_do_not_exit_are_an_error_and_release_the_lock(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run")
    orphan = join_run(folder)
    with pytest.raises(RunDirError) as caught:
        FolderLock(folder, timeout=0.1)
    assert str(caught.value) == (
        f"{folder.path}: processes of an earlier training run, which has ended, are still running "
        "after 0.1 s. Stop them, or wait; then --resume continues the run."
    )
    FolderLock(folder, orphans=False).close()
    os.close(orphan)


def test_processes_of_one_training_run_share_the_lock(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run")
    members = [join_run(folder), join_run(folder)]
    for member in members:
        os.close(member)
