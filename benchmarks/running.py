"""Speed of an asynchronous run against an interleaved one.

    python -m benchmarks.running                        # about 4 minutes on 2 cores
    python -m benchmarks.running --updates 10 --repeats 1

The T-maze of length 60 in 24 environments, a Transformer of width 128 and 3 layers, 610 steps of each
environment and ``--updates`` updates of 24 sequences a round; one thread per process. The same spec
runs with ``running.mode=interleaved`` and, with one collector, ``async``, alternating, ``--repeats``
times, each as the command ``amago train``. The first rounds, in which both warm up, and the last, which
evaluates, do not count. A third kind of run takes no updates: its time is the acting share of an
interleaved round. Updates a round are the same in both modes, and checked.

Columns, each of the median run: seconds of a round; steps per second over all environments, as the run
counted them; updates per second; share of an interleaved round that is spent acting; how many times as
fast as interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WARM_UP, ROUNDS, ENVIRONMENTS = 3, 12, 24
SPEC: dict[str, Any] = {
    "environment": {"use": "t-maze", "length": 60},
    "agent": {"context_length": 61, "backbone": {"use": "transformer", "layers": 3, "width": 128}},
    "exploration": "corridor",
    "collector": {"environments": ENVIRONMENTS},
    "training": {"rounds": ROUNDS, "steps_per_round": 610, "batch": 24},
    "evaluation": {"every": 0, "episodes": ENVIRONMENTS},
    "checkpoints": {"every": ROUNDS},
}


@dataclass(frozen=True)
class Speed:
    """Of one run, over the rounds that count.

    Args:
        round_seconds: Wall seconds of a round.
        steps_per_second: Over all environments.
        updates_per_second: Of the learner.
    """

    round_seconds: float
    steps_per_second: float
    updates_per_second: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=6, help="of a round")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    speeds: dict[str, list[Speed]] = {"interleaved": [], "async": [], "no updates": []}
    for _ in range(arguments.repeats):
        speeds["interleaved"].append(measure("interleaved", arguments.updates))
        speeds["async"].append(measure("async", arguments.updates))
        speeds["no updates"].append(measure("interleaved", 0))
    interleaved = _median(speeds["interleaved"])
    print(f"{'mode':<12} {'s/round':>8} {'steps/s':>8} {'updates/s':>9} {'acting':>7} {'times':>6}")
    for mode in ("interleaved", "async"):
        speed = _median(speeds[mode])
        acting = _median(speeds["no updates"]).round_seconds / interleaved.round_seconds
        print(
            f"{mode:<12} {speed.round_seconds:>8.2f} {speed.steps_per_second:>8,.0f} "
            f"{speed.updates_per_second:>9.2f} {acting:>7.0%} "
            f"{interleaved.round_seconds / speed.round_seconds:>5.2f}x"
        )


def measure(mode: str, updates: int) -> Speed:
    """Train in processes of one thread each and read what the rounds took from the run's metrics."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(json.dumps(SPEC))
        settings = [
            f"training.updates_per_round={updates}",
            f"running.mode={mode}",
            "running.threads=1",
        ]
        finished = subprocess.run(
            [sys.executable, "-m", "amago_core", "train", str(spec), *settings, f"--run={folder}/run"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if finished.returncode:
            raise SystemExit(finished.stderr)
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    return speed([json.loads(line) for line in lines], updates)


def speed(rounds: Sequence[dict[str, Any]], updates: int) -> Speed:
    """Return what the metrics of a run's rounds say of its speed.

    Raises:
        ValueError: If it did not take the updates that it should.
    """
    first, last = rounds[WARM_UP - 1], rounds[-2]
    counted = last["round"] - first["round"]
    if last["update"] - first["update"] != counted * updates:
        raise ValueError(f"{last['update'] - first['update']} updates in {counted} rounds of {updates}")
    seconds = last["seconds"] - first["seconds"]
    steps = last["env_steps"] - first["env_steps"]
    return Speed(seconds / counted, steps / seconds, counted * updates / seconds)


def _median(speeds: Sequence[Speed]) -> Speed:
    return sorted(speeds, key=lambda each: each.round_seconds)[len(speeds) // 2]


if __name__ == "__main__":
    main()
