"""Concurrent writers, a reader at full speed and eviction on one replay folder."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from amago_core.replay import Replay, verify

WRITERS = 4
CAPACITY = 200
SECONDS = float(os.environ.get("AMAGO_STRESS_SECONDS", "60"))
"""How long the long test lasts."""

WRITE = """
import sys, time
from itertools import count
from pathlib import Path
import numpy as np
from amago_core.replay import ReplayWriter
from amago_registry.trajectories import Trajectory

folder, number, stop = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
rng = np.random.default_rng(number)
writer = ReplayWriter(folder, f"w{number}")
identity = count(number << 21)
while not stop.exists():
    update = int(10 * time.time()) % 10**9  # Other writers may be faster: then this shard is late.
    for _ in range(rng.integers(1, 5)):
        mine, length = next(identity), int(rng.integers(1, 300))
        reward = np.zeros(length, np.float32)
        reward[-1] = mine
        writer.append(Trajectory({
            "obs.place": np.full((length + 1, 3), mine, np.float32),
            "action": np.full(length, mine),
            "reward": reward,
            "terminated": np.arange(length) == length - 1,
            "truncated": np.zeros(length, bool),
        }, seed=mine))
    writer.flush(update)
    print(writer.stored, flush=True)
"""

READ = """
import json, sys
from pathlib import Path
import numpy as np
from amago_core.replay import Replay, TrajectoryGoneError

folder, capacity, stop = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
rng, notes = np.random.default_rng(0), []
replay = Replay(folder, capacity, note=notes.append)
read = gone = 0
while not (read and stop.exists()):
    replay.refresh()
    view = replay.view()
    for position in rng.integers(0, len(view), 100).tolist() if len(view) else ():
        try:
            trajectory = view.trajectory(position)
        except TrajectoryGoneError:
            gone += 1
            continue
        read += 1
        mine, columns = trajectory.seed, trajectory.columns
        assert np.all(columns["obs.place"] == mine) and np.all(columns["action"] == mine)
        assert len(columns["obs.place"]) == trajectory.length + 1
        assert columns["reward"].sum() == mine and columns["terminated"].tolist().index(True) + 1 == (
            trajectory.length
        )
print(json.dumps({"read": read, "gone": gone, "notes": notes}))
"""


class StoredCount:
    """The count of stored trajectories that a writer has printed last."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.stored = 0
        self._lines = process.stdout
        self.thread = Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        assert self._lines is not None
        for line in self._lines:
            self.stored = int(line)


@contextmanager
def running(code: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def stress(folder: Path, seconds: float) -> None:
    replay_folder, stop = folder / "replay", folder / "stop"
    with ExitStack() as stack:
        writers = [stack.enter_context(running(WRITE, replay_folder, n, stop)) for n in range(WRITERS)]
        reader = stack.enter_context(running(READ, replay_folder, CAPACITY, stop))
        counts = [StoredCount(process) for process in writers]
        replay = Replay(replay_folder, CAPACITY)
        until = math.inf
        while any(one.thread.is_alive() for one in counts):
            before = [one.stored for one in counts]
            if all(before):  # All writers have started.
                until = min(until, time.time() + seconds)
            if time.time() >= until:
                stop.touch()
            assert replay.refresh() >= sum(before)
            assert replay.missing(replay.stored) == 0
            replay.evict(before=replay.visible().start)
            time.sleep(0.01)
        assert replay.refresh() == sum(one.stored for one in counts)
        assert reader.stdout is not None
        summary = json.loads(reader.stdout.read())
        assert [process.wait() for process in (*writers, reader)] == [0] * (WRITERS + 1)
    # Late shards or not, each writer's trajectories are in order.
    view, last = replay.view(), [-1] * WRITERS
    for position in range(len(view)):
        writer, number = divmod(view.trajectory(position).seed, 1 << 21)
        assert last[writer] < number < counts[writer].stored
        last[writer] = number
    assert summary["read"] > 0
    assert (summary["notes"], replay.quarantined, verify(replay_folder).problems) == ([], 0, ())


def test_concurrent_writers_lose_nothing_and_readers_read_nothing_wrong(tmp_path: Path) -> None:
    stress(tmp_path, 3.0)


@pytest.mark.slow
def test_concurrent_writers_and_readers_stay_consistent_for_a_minute(tmp_path: Path) -> None:
    stress(tmp_path, SECONDS)
