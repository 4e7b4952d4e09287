"""A run on a full disk stops with one message, and resumes once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import amago, rounds, write_spec

import amago_core

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a real file system of so many KiB; call again to change its size."""
    path = tmp_path / "disk"
    path.mkdir()

    def sized(kilobytes: int) -> Path:
        again = "remount," if path.is_mount() else ""
        options = f"{again}size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except OSError:
            pytest.skip("mount is not available")
        if done.returncode:
            pytest.skip("this user cannot mount a small disk")
        return path

    yield sized
    if path.is_mount():
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("kilobytes", [500, 600, 700, 800])
def test_a_run_stops_on_a_full_disk_and_resumes_once_there_is_room(
    tmp_path: Path, disk: Callable[[int], Path], kilobytes: int
) -> None:
    spec = write_spec(tmp_path, checkpoints={"every": 1}, replay={"capacity": 20_000})
    run = disk(kilobytes) / "run"
    words = ("train", spec, f"--run={run}", "training.rounds=60", "training.updates_per_round=1")
    stopped = amago(*words)
    *_, last = stopped.stderr.splitlines()
    assert stopped.returncode == 2, stopped.stderr
    assert last.startswith("Error: ")
    assert "No space left on device" in last
    assert "Traceback" not in stopped.stderr
    amago_core.load(run)
    disk(8000)
    finished = amago(*words, "--resume")
    assert finished.returncode == 0, finished.stderr
    assert rounds(run) == list(range(1, 61))
