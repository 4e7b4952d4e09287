"""Speed of the replay: sampling batches, writing trajectories, opening.

    python -m benchmarks.replay            # the whole table: about 5 minutes and 1 GB of disk
    python -m benchmarks.replay --quick    # a twentieth of the trajectories

Observations of 8 numbers, 5 discrete actions, on one thread, in a folder below ``--folder``; whatever
is read has just been written, so it comes from the page cache.

Loading: batches of 24 sequences of L transitions from 5 million stored transitions in trajectories of L
to 2L, nothing relabeled. ``first ms`` is the first time that a trajectory is touched, when its shard
is opened and its checksum compared; ``later ms`` each other time; ``pack ms`` is packing alone.
Both use the code of a run.

Loaders: the same batches at L = 256, touched before, for a learner that is idle.

Writing: per trajectory of 200 transitions, 24 to a shard, all of the time divided by all of them; ``no
sync`` leaves out waiting for the disk. Opening: a replay of 100,000 trajectories of 20 transitions, 24
to a shard and one to a shard, by a reader and by a resumed run, each up to the first batch;
``lengths s`` is reading all lengths, which sampling by timesteps needs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast
from unittest import mock

import numpy as np
import torch
from gymnasium import spaces

from amago_core.learning.batch import pack
from amago_core.learning.loader import make_loader
from amago_core.replay import Replay, ReplayWriter, Sampler
from amago_core.spec import load_spec
from amago_core.spec.schema import SamplingSpec
from amago_core.system.memory import keep_freed_memory
from amago_registry.trajectories import Trajectory

ACTIONS = spaces.Discrete(5)
PER_SHARD, BATCH, REPEATS = 24, 24, 300


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the trajectories")
    parser.add_argument("--folder", type=Path, default=None, help="where to write; by default in /tmp")
    arguments = parser.parse_args()
    share = 20 if arguments.quick else 1
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run(Path(folder), 20_000 // share, 100_000 // share)


def run(folder: Path, trajectories: int, opened: int) -> None:
    """Measure everything in a folder.

    Args:
        folder: Empty; what is written stays.
        trajectories: Loaded from at L = 256; a quarter of them at L = 1024.
        opened: In the replay that is opened.
    """
    print(f"{'L':>5} {'stored':>7} {'by':>13} {'first ms':>9} {'later ms':>9} {'pack ms':>8}")
    for window, count in ((256, trajectories), (1024, trajectories // 4)):
        stored = folder / f"of-{window}"
        lengths = np.random.default_rng(0).integers(window, 2 * window + 1, count)
        store(stored, lengths.tolist(), PER_SHARD)
        for by in ("trajectories", "timesteps"):
            first, later, packing = load(stored, count, window, by)
            print(f"{window:>5} {count:>7} {by:>13} {first:>9.2f} {later:>9.2f} {packing:>8.2f}")
    print(f"\n{'loader':>8} {'start s':>8} {'ms':>6}")
    for loader in ("none", "thread", "process"):
        start, each = feed(folder / "of-256", trajectories, loader)
        print(f"{loader:>8} {start:>8.2f} {each:>6.2f}")
    print(f"\n{'writing':>8} {'ms':>6}")
    for name, sync in (("synced", True), ("no sync", False)):
        print(f"{name:>8} {write(folder / name, sync):>6.3f}")
    print(f"\n{'opened':>7} {'per shard':>9} {'open s':>7} {'go on s':>8} {'lengths s':>9}")
    for per_shard in (PER_SHARD, 1):
        many = folder / f"many-{per_shard}"
        store(many, [20] * opened, per_shard)
        seconds, on_seconds, lengths_seconds = resume(many, opened)
        print(f"{opened:>7} {per_shard:>9} {seconds:>7.2f} {on_seconds:>8.2f} {lengths_seconds:>9.2f}")


def load(
    folder: Path, count: int, window: int, by: Literal["trajectories", "timesteps"]
) -> tuple[float, float, float]:
    """Return the median milliseconds of a batch at first touch, of a later one, and of its packing."""
    replay = Replay(folder, count)
    sampler = Sampler(replay, 0, window, spec=SamplingSpec(by=by))

    def batch(update: int) -> None:
        pack(sampler.sample(update, BATCH), ACTIONS)

    sampler.sample(0, 1)  # The lengths are read, where they are needed.
    # Few enough that what one draws is new to the next.
    first = milliseconds(batch, range(1, 2 + count // (10 * BATCH)))
    view = replay.view()
    for position in range(len(view)):
        view.trajectory(position)
    later = milliseconds(batch, range(1000, 1000 + REPEATS))
    slices = sampler.sample(0, BATCH)
    return first, later, milliseconds(lambda _: pack(slices, ACTIONS), range(REPEATS))


def feed(folder: Path, count: int, loader: str) -> tuple[float, float]:
    """Return the seconds until the first batch, and the milliseconds of each after the first few."""
    spec = load_spec(
        {
            "agent": {"context_length": 256},
            "sampling": {"loader": loader},
            "replay": {"capacity": count},
            "training": {"batch": BATCH},
        },
        local_environment=True,
    )
    task = SimpleNamespace(make=None, observed=spaces.Dict(), acted=ACTIONS)
    relabeler = SimpleNamespace(identity=True)
    begin = time.perf_counter()
    made = make_loader(
        spec,
        cast(Any, task),
        Replay(folder, count),
        relabeler=cast(Any, relabeler),
        dataset=None,
        device=torch.device("cpu"),
    )
    try:
        list(made.round(0, 1, count))
        start = time.perf_counter() - begin
        list(made.round(1, count // 4, count))  # By then, most have been touched.
        begin = time.perf_counter()
        list(made.round(count, REPEATS, count))
        return start, 1e3 * (time.perf_counter() - begin) / REPEATS
    finally:
        made.close()


def write(folder: Path, sync: bool) -> float:
    """Return the mean milliseconds of writing one trajectory, shards at a time."""
    writer = ReplayWriter(folder)
    recordings = [recording(200, n) for n in range(PER_SHARD)]

    shards = REPEATS // 10
    with nullcontext() if sync else unsynced():
        begin = time.perf_counter()
        for update in range(shards):
            for each in recordings:
                writer.append(each)
            writer.flush(update)
        return 1e3 * (time.perf_counter() - begin) / (shards * PER_SHARD)


def resume(folder: Path, count: int) -> tuple[float, float, float]:
    """Return the seconds until a replay can be drawn from, until a run goes on, and for the lengths."""
    begin = time.perf_counter()
    Sampler(Replay(folder, count), 0, 256).sample(0, BATCH)
    opened = time.perf_counter()
    Replay(folder, count).set_aside(after=count)
    ReplayWriter(folder)
    replay = Replay(folder, count)
    replay.missing(count)
    Sampler(replay, 0, 256).sample(0, BATCH)
    on = time.perf_counter()
    Sampler(replay, 0, 256, spec=SamplingSpec(by="timesteps")).sample(0, BATCH)
    return opened - begin, on - opened, time.perf_counter() - on


def store(folder: Path, lengths: list[int], per_shard: int) -> None:
    """Write trajectories without waiting for the disk."""
    writer = ReplayWriter(folder)
    with unsynced():
        for number, length in enumerate(lengths):
            writer.append(recording(length, number))
            if (number + 1) % per_shard == 0:
                writer.flush(number)
        writer.flush(len(lengths))


def recording(length: int, seed: int) -> Trajectory:
    """Return a trajectory of ``length`` transitions."""
    rng = np.random.default_rng(seed)
    terminated = np.zeros(length, bool)
    terminated[-1] = True
    return Trajectory(
        {
            "obs.observation": rng.normal(size=(length + 1, 8)).astype(np.float32),
            "action": rng.integers(0, 5, length).astype(np.uint8),
            "reward": rng.normal(size=length).astype(np.float32),
            "terminated": terminated,
            "truncated": np.zeros(length, bool),
        },
        seed=seed,
    )


@contextmanager
def unsynced() -> Iterator[None]:
    """Let nobody wait for the disk."""
    with mock.patch("os.fsync", return_value=None):
        yield


def milliseconds(function: Callable[[int], None], arguments: range) -> float:
    """Return the median time of a function."""
    taken = []
    for argument in arguments:
        begin = time.perf_counter()
        function(argument)
        taken.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(taken)


if __name__ == "__main__":
    main()
