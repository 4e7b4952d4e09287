"""A run that is killed and resumed ends with the bits of one that was never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from programs import SMALL, amago, learned, newest_checkpoint, rounds, start, write_spec

GRU = {**SMALL["agent"], "backbone": {"use": "gru", "layers": 1, "width": 16}}  # type: ignore[dict-item]
CASES: dict[str, dict[str, Any]] = {
    "transformer": {},
    "gru": {"agent": GRU, "exploration": {"use": "bilevel", "anneal_steps": 300}},
    # Tasks of unequal length, most of them unfinished at the end of a round.
    "cart-pole": {"agent": GRU, "environment": {"use": "gymnasium", "id": "CartPole-v1"}},
    "pendulum": {
        "environment": {"use": "gymnasium", "id": "Pendulum-v1", "kwargs": {}},
        "training": {**SMALL["training"], "steps_per_round": 60},  # type: ignore[dict-item]
    },
}


def kill_after(spec: Path, run: Path, moment: float, *words: str) -> bool:
    """Train, and kill -9 ``moment`` seconds after its next checkpoint; return whether it still ran."""
    process = start("train", spec, f"--run={run}", *words)
    before = newest_checkpoint(run)
    wait_while(process, lambda: newest_checkpoint(run) == before)
    time.sleep(moment)
    return killed(process)


def killed(process: subprocess.Popen[str]) -> bool:
    """Kill -9 a run; return False if it had ended before."""
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


@pytest.mark.parametrize("case", ["cart-pole"])
def test_a_run_killed_twice_ends_with_the_bits_of_an_uninterrupted_one(
    case: str, tmp_path: Path
) -> None:
    spec = write_spec(tmp_path, **CASES[case])
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    done = amago("train", spec, f"--run={whole}")
    assert done.returncode == 0, done.stderr
    chance = random.Random(case)
    moments = [chance.uniform(0.0, 0.2), chance.uniform(0.0, 0.2)]
    hits = [kill_after(spec, resumed, moments[0]), kill_after(spec, resumed, moments[1], "--resume")]
    assert any(hits), "both runs ended before they could be killed: nothing was tried"
    again = amago("train", spec, f"--run={resumed}", "--resume")
    assert again.returncode == 0, again.stderr
    assert "resuming after round" in again.stderr
    assert learned(resumed) == learned(whole)
    assert rounds(resumed) == rounds(whole) == list(range(1, 21))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_repeatedly_ends_with_the_same_bits(case: str, tmp_path: Path) -> None:
    """Two hundred updates; killed after random rounds of the whole run, and as it starts."""
    training = {**CASES[case].get("training", SMALL["training"]), "updates_per_round": 10}
    spec = write_spec(tmp_path, **{**CASES[case], "training": training})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert amago("train", spec, f"--run={whole}").returncode == 0
    chance = random.Random(case)
    hits = []
    for reached in [1, *sorted(chance.sample(range(2, 18), 2))]:
        hits += kill_twice(spec, resumed, reached, chance)
    assert any(hits), "every run ended before it could be killed: nothing was tried"
    again = amago("train", spec, f"--run={resumed}", "--resume")
    assert again.returncode == 0, again.stderr
    assert "resuming after round" in again.stderr
    assert learned(resumed) == learned(whole)
    assert rounds(resumed) == list(range(1, 21))


def kill_twice(spec: Path, run: Path, reached: int, chance: random.Random) -> list[bool]:
    """Kill a run that has recorded ``reached`` rounds, and again while it restores its checkpoint."""
    process = start("train", spec, f"--run={run}", *(["--resume"] * run.exists()))
    wait_while(process, lambda: recorded(run) < reached)
    time.sleep(chance.uniform(0.0, 0.1))
    first = killed(process)
    left = sizes(run)
    process = start("train", spec, f"--run={run}", "--resume")
    wait_while(process, lambda: sizes(run) == left)
    time.sleep(chance.uniform(0.0, 0.02))
    return [first, killed(process)]


def wait_while(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait while the condition holds and the run has not ended."""
    while process.poll() is None and condition():
        time.sleep(0.002)


def recorded(run: Path) -> int:
    """Return how many rounds a run has recorded."""
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def sizes(run: Path) -> dict[Path, int]:
    """Return the sizes of a run's files, which change as soon as it restores its checkpoint."""
    found = {}
    for folder, _, names in os.walk(run):  # os.walk skips folders that are removed meanwhile.
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                found[path] = path.stat().st_size
    return found
