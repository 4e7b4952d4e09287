"""Several writers, a reader at full speed and eviction, all at once on one folder."""

from __future__ import annotations

import json
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

folder, number, until = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
rng = np.random.default_rng(number)
writer = ReplayWriter(folder, f"w{number}")
identity = count(number << 21)
while time.time() < until:
    update = int(10 * time.time()) % 10**9  # Others may be faster: then this shard comes late.
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
import json, sys, time
from pathlib import Path
import numpy as np
from amago_core.replay import Replay, TrajectoryGoneError

folder, capacity, until = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
rng, notes = np.random.default_rng(0), []
replay = Replay(folder, capacity, note=notes.append)
read = gone = 0
while time.time() < until:
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


class Said:
    """What a writer said last: how much it has stored."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.stored = 0
        self._lines = process.stdout
        self.thread = Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
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
    until = time.time() + seconds
    with ExitStack() as stack:
        writers = [stack.enter_context(running(WRITE, folder, n, until)) for n in range(WRITERS)]
        reader = stack.enter_context(running(READ, folder, CAPACITY, until))
        said = [Said(process) for process in writers]
        replay = Replay(folder, CAPACITY)
        marks: dict[str, int] = {}
        told: list[int] = []
        while time.time() < until or any(one.thread.is_alive() for one in said):
            promised = {f"w{number}": one.stored for number, one in enumerate(said)}
            replay.refresh()
            news, marks = replay.news(marks)
            told += [int(outcome.total) for outcome in news]
            assert all(marks.get(writer, 0) >= stored for writer, stored in promised.items())
            assert replay.missing(replay.stored) == 0
            replay.evict(before=replay.visible().start)
            time.sleep(0.01)
        replay.refresh()
        news, marks = replay.news(marks)
        told += [int(outcome.total) for outcome in news]
        assert reader.stdout is not None
        summary = json.loads(reader.stdout.read())
        assert [process.wait() for process in (*writers, reader)] == [0] * (WRITERS + 1)
    assert marks == {f"w{number}": one.stored for number, one in enumerate(said)}
    # Each trajectory was told of once, and none was missed.
    stored = [(number << 21) + n for number, one in enumerate(said) for n in range(one.stored)]
    assert sorted(told) == stored
    assert summary["read"] > 0
    assert (summary["notes"], replay.quarantined, verify(folder).problems) == ([], 0, ())
    assert replay.stored == len(stored)


def test_nothing_that_several_writers_store_is_missed_and_nothing_read_is_wrong(tmp_path: Path) -> None:
    stress(tmp_path, 3.0)


@pytest.mark.slow
def test_writers_and_readers_get_along_for_a_minute(tmp_path: Path) -> None:
    stress(tmp_path, SECONDS)
