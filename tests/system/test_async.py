"""Asynchronous runs: the lag between learner and collectors, and kills of their processes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import SMALL, amago, command, environment, rounds, write_spec

import amago_core
from amago_core.replay import Replay

STEPS, UPDATES, ENVIRONMENTS = 25, 5, 4  # Of the small spec, in a round.
ASYNC = {"threads": 1, "device": "cpu", "mode": "async", "collectors": 2}


def records(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of every round."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def processes(run: Path) -> dict[str, int]:
    """Return the live processes of a run by name; the one that started them is 'supervisor'."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")[:-1]
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state == "Z" or not words:
            continue
        if words[-1] == str(run):
            found[words[-2]] = int(folder.name)
        elif f"--run={run}" in words:
            found["supervisor"] = int(folder.name)
    return found


def wait_for_none(run: Path) -> None:
    """Wait until all processes of a run have ended."""
    deadline = time.monotonic() + 30
    while processes(run):
        assert time.monotonic() < deadline, f"orphans: {processes(run)}"
        time.sleep(0.05)


Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start a run as the leader of its own process group; kill it at the end of the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(spec: Path, run: Path, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(["train", spec, f"--run={run}", *words]),
            env=environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def find(run: Path, victim: str) -> list[int]:
    """Return the processes to kill, as soon as they exist."""
    deadline = time.monotonic() + 120
    while True:
        there = processes(run)
        if victim == "group" and len(there) > 1:
            return list(there.values())
        if victim in there:
            return [there[victim]]
        assert time.monotonic() < deadline, f"there is no {victim}, only {there}"
        time.sleep(0.02)


def wait_until_all_report(run: Path, since: float) -> None:
    """Wait until the learner and both collectors have written their progress."""
    files = [run / "exchange" / f"{name}.json" for name in ("learner", "collector_0", "collector_1")]
    deadline = time.monotonic() + 120
    while not all(file.exists() and file.stat().st_mtime > since for file in files):
        assert time.monotonic() < deadline, f"only {processes(run)} run"
        time.sleep(0.02)


def check_lag(run: Path, max_lag: float, collectors: int) -> None:
    """Check that learner and collectors are never further apart than ``max_lag``, in rounds.

    Collectors check between chunks, so each may overshoot by one chunk; the learner by an update.
    """
    chunk = max(1, int(max_lag * STEPS / collectors / 4))
    skipped = None
    for record in records(run):
        collected = record["env_steps"] / (STEPS * ENVIRONMENTS)
        overshoot = (chunk * collectors + 1) / STEPS
        assert -max_lag - 1 / UPDATES <= collected - record["round"] <= max_lag + overshoot, record
        behind = record["round"] * UPDATES - record["update"]
        # Update slots are skipped only until the first trajectory is stored.
        assert skipped is None or behind == skipped
        skipped = behind if record["update"] else None


def test_a_run_keeps_its_rate_limit_though_a_collector_is_killed(tmp_path: Path, begin: Begin) -> None:
    spec, run = write_spec(tmp_path, running=ASYNC), tmp_path / "run"
    process = begin(spec, run, "training.rounds=60")
    assert process.stderr is not None
    lines = [next(process.stderr), next(process.stderr)]  # Training has begun, round 1 is done.
    os.kill(processes(run)["collector_1"], signal.SIGKILL)
    lines += process.communicate(timeout=120)[1].splitlines(keepends=True)
    assert process.returncode == 0, lines
    assert lines[0] == f"training small ({run}), round 0 of 60 done\n"
    assert "the collector 1 was killed by SIGKILL; restarting it (restart 1 of at most 3)\n" in lines
    assert (
        (run / "errors" / "collector_1.txt")
        .read_text()
        .endswith(": the collector 1 was killed by SIGKILL\n")
    )
    assert rounds(run) == list(range(1, 61))
    check_lag(run, max_lag=1.0, collectors=2)
    last = records(run)[-1]
    assert last["dropped"] in (0, 4)  # Those of the killed one, if it had written its progress.
    assert Replay(run / "replay", 10_000).stored == last["trajectories"]
    # A round that passes while the collectors are ahead may see no trajectory end.
    assert any(record["return"] is not None for record in records(run)[-10:])
    wait_for_none(run)
    agent = amago_core.load(run)
    agent.reset(1)


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_resumes(tmp_path: Path, begin: Begin) -> None:
    spec, run = write_spec(tmp_path, running=ASYNC), tmp_path / "run"
    process = begin(spec, run, "training.rounds=20000", "checkpoints.every=10000")
    assert process.stderr is not None
    lines = [next(process.stderr), next(process.stderr)]
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: to all processes of the group.
    lines += process.communicate(timeout=120)[1].splitlines(keepends=True)
    assert process.returncode == 130, lines
    stopping = "stopping after this round and saving a checkpoint; press Ctrl-C again to stop at once\n"
    assert lines.count(stopping) == 1
    assert lines[-1] == "Stopped after saving. The same command with --resume continues the run.\n"
    wait_for_none(run)
    stopped = rounds(run)[-1]
    again = amago("train", spec, f"--run={run}", f"training.rounds={stopped + 3}", "--resume")
    assert again.returncode == 0, again.stderr
    assert f"resuming after round {stopped}, update " in again.stderr
    assert rounds(run) == list(range(1, stopped + 4))
    evaluated = amago("evaluate", run)
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.slow
def test_a_second_training_in_the_folder_is_refused(tmp_path: Path, begin: Begin) -> None:
    spec, run = write_spec(tmp_path, running=ASYNC), tmp_path / "run"
    process = begin(spec, run, "training.rounds=20000")
    assert process.stderr is not None
    next(process.stderr)
    second = amago("train", spec, f"--run={run}", "training.rounds=20000", "--resume")
    assert second.returncode == 2
    assert second.stderr == (
        f"Error: {run} is being trained by process {process.pid}. Wait until it ends, or stop it with "
        "Ctrl-C; then --resume continues the run.\n"
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    wait_for_none(run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_run_survives_kills_of_any_process_at_any_moment(
    tmp_path: Path, begin: Begin, seed: int
) -> None:
    """Twenty kills in one run: the learner, a collector, the supervisor alone, or the whole group."""
    training = {**SMALL["training"], "rounds": 100_000}  # type: ignore[dict-item]
    running = {**ASYNC, "max_restarts": 100}
    replay = {"capacity": 10**6}
    spec = write_spec(tmp_path, running=running, training=training, replay=replay, seed=seed)
    run, chance = tmp_path / "run", random.Random(seed)
    victims = ["learner", "collector_0", "collector_1", "group", "supervisor"] * 4
    chance.shuffle(victims)
    process = begin(spec, run)
    killed, seen = time.time(), set[str]()
    for victim in victims:
        if chance.random() < 0.75:
            wait_until_all_report(run, since=killed)
        time.sleep(chance.uniform(0.0, 2.0))
        for pid in find(run, victim):
            os.kill(pid, signal.SIGKILL)
        killed = time.time()
        seen |= {path.name for path in (run / "replay").glob("*.safetensors")}
        if victim in ("group", "supervisor"):
            process.communicate(timeout=60)
            process = begin(spec, run, *(["--resume"] if run.exists() else []))
    deadline = time.monotonic() + 120
    before = rounds(run)[-1]
    while rounds(run)[-1] <= before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    lines = process.communicate(timeout=120)[1]
    assert process.returncode == 130, lines
    wait_for_none(run)
    recorded = records(run)
    assert [record["round"] for record in recorded] == list(range(1, len(recorded) + 1))
    updates = [record["update"] for record in recorded if record["update"]]
    assert updates == list(range(updates[0], updates[-1] + 1, UPDATES))
    left = {path.name for path in (run / "replay").glob("*.safetensors")}
    assert seen <= left, "stored shards are missing"
    stored = Replay(run / "replay", 10**6)
    assert stored.missing(stored.stored) == 0
    assert {stored.trajectory(index).length for index in stored.visible()} == {30}


@pytest.mark.slow
def test_t_maze_is_solved(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "t-maze.yaml"
    # Short, with time to spare: asynchronous runs differ, so when it is solved is random.
    words = ["environment.length=20", "agent.context_length=21", "training.rounds=60"]
    done = subprocess.run(
        command(["train", example, f"--run={tmp_path / 'run'}", "running.mode=async", *words]),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stderr
    last = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert last["success"] >= 0.95


@pytest.mark.slow
def test_an_environment_fault_stops_the_run_and_saves_it(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, environment=None, running=ASYNC, evaluation={"every": 0, "episodes": 2})
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("faulty.py"), spec, "run", "1013"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-2:] == [
        "a checkpoint of the training so far is saved in run",
        "environment meter, step 4 of its task: observation 'observation' is not finite: [nan].",
    ]
    wait_for_none(Path("run"))
