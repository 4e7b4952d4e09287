"""A writer killed at any moment loses no stored trajectory."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from amago_core.replay import Replay, ReplayWriter

WRITE = """
import sys
from pathlib import Path
import numpy as np
from amago_core.replay import ReplayWriter
from amago_registry.trajectories import Trajectory

writer = ReplayWriter(Path(sys.argv[1]))
for update in range(10**9):
    for number in range(writer.stored, writer.stored + 3):
        writer.append(Trajectory({
            "obs.place": np.full((401, 20), number, np.float32),
            "action": np.full(400, number % 5),
            "reward": np.full(400, number, np.float32),
            "terminated": np.zeros(400, bool),
            "truncated": np.zeros(400, bool),
        }, seed=number))
    writer.flush(update)
    print(writer.stored, flush=True)
"""


def write_until_killed(folder: Path, seconds: float) -> int:
    """Return how many trajectories the writer had reported as stored when it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        reported = [process.stdout.readline()]  # it has begun
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        reported += process.stdout.readlines()
    return int([line for line in reported if line.endswith("\n")][-1])


def test_everything_a_killed_writer_had_stored_is_intact(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(5):
        reported = write_until_killed(tmp_path, rng.uniform(0.0, 0.1))
        replay = Replay(tmp_path, capacity=10**6)
        assert (
            reported <= replay.stored <= reported + 3
        )  # one shard may be stored and not yet announced
        for index in replay.visible():
            trajectory = replay.trajectory(index)
            assert trajectory.seed == index
            assert np.all(trajectory.columns["obs.place"] == index)
    ReplayWriter(tmp_path)
    assert not list(tmp_path.glob(".*.tmp"))
