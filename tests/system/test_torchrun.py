"""Data-parallel training: two ranks that torchrun starts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from programs import SMALL, command, environment, newest_checkpoint, rounds, write_spec

PROGRAM = Path(__file__).with_name("two_ranks.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# No random draws in an update, so that the shares of a batch sum to the whole.
WITHOUT_DRAWS = {
    "backbone": {"use": "gru", "layers": 1, "width": 16},
    "objective": {"use": "amago", "target_members": 4},
}


def run_two_ranks(words: list[Any], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def small(folder: Path, **changes: Any) -> Path:
    agent = {**SMALL["agent"], **WITHOUT_DRAWS}  # type: ignore[dict-item]
    training = {**SMALL["training"], "rounds": 4, "steps_per_round": 40}  # type: ignore[dict-item]
    return write_spec(folder, agent=agent, training=training, **changes)


@pytest.mark.slow
def test_two_ranks_take_the_updates_of_one_and_keep_equal_weights(tmp_path: Path) -> None:
    spec = small(tmp_path)
    alone = subprocess.run(
        [sys.executable, PROGRAM, spec, "one", "training.rounds=1"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    done = run_two_ranks([PROGRAM, spec, "both"], tmp_path)
    assert done.returncode == 0, done.stderr
    one = json.loads((tmp_path / "one-alone.json").read_text())
    first, second = (json.loads((tmp_path / f"both-{rank}.json").read_text()) for rank in (0, 1))
    assert len(first) == 20
    assert first == second  # To the bit, after every update.
    for mine, wanted in zip(first[:5], one, strict=True):
        assert mine[:2] == pytest.approx(wanted[:2], rel=1e-4)
    assert rounds(tmp_path / "both") == [1, 2, 3, 4]
    more = run_two_ranks([PROGRAM, spec, "both", "training.rounds=6", "resume"], tmp_path)
    assert more.returncode == 0, more.stderr
    assert rounds(tmp_path / "both") == [1, 2, 3, 4, 5, 6]
    first, second = (json.loads((tmp_path / f"both-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first) == 10


@pytest.mark.slow
def test_the_command_line_reports_once_and_stops_when_asked(tmp_path: Path) -> None:
    spec = small(tmp_path)
    process = subprocess.Popen(
        [*TORCHRUN, *command(["train", spec, "run=run", "training.rounds=10000"])[1:]],
        cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert errors.count("training small (run), round 0 of 10000 done\n") == 1
    assert errors.count("stopping after this round and saving a checkpoint;") == 1
    assert out.count("experience") == 1
    newest = newest_checkpoint(tmp_path / "run")
    assert newest is not None
    assert newest.name == f"round-{rounds(tmp_path / 'run')[-1]:08}"


@pytest.mark.slow
def test_async_is_refused_under_torchrun(tmp_path: Path) -> None:
    done = run_two_ranks(["-m", "amago_core", "train", small(tmp_path), "running.mode=async"], tmp_path)
    assert (
        "Error: torchrun has started 2 processes, and running.mode is async, which starts its own. "
        "Leave torchrun out, or write running.mode=interleaved.\n" in done.stderr
    )
    assert not (tmp_path / "runs").exists()
