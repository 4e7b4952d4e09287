"""Runs that are interrupted with Ctrl-C, or whose environment fails."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from programs import amago, environment, newest_checkpoint, rounds, start, write_spec


def test_ctrl_c_stops_after_the_round_and_the_same_command_resumes(tmp_path: Path) -> None:
    spec, run = write_spec(tmp_path), tmp_path / "run"
    process = start("train", spec, f"--run={run}", "training.rounds=2000", "checkpoints.every=1000")
    assert process.stderr is not None
    lines = [next(process.stderr), next(process.stderr)]  # Training has begun, round 1 is done.
    process.send_signal(signal.SIGINT)
    lines += process.communicate()[1].splitlines(keepends=True)
    assert process.returncode == 130
    assert lines[0] == f"training small ({run}), round 0 of 2000 done\n"
    assert (
        lines.count(
            "stopping after this round and saving a checkpoint; press Ctrl-C again to stop at once\n"
        )
        == 1
    )
    assert lines[-1] == "Stopped after saving. The same command with --resume continues the run.\n"
    stopped = rounds(run)[-1]
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.name == f"round-{stopped:08}"
    more = stopped + 3
    again = amago("train", spec, f"--run={run}", f"training.rounds={more}", "--resume")
    assert again.returncode == 0, again.stderr
    assert f"resuming after round {stopped}, update " in again.stderr
    assert rounds(run) == list(range(1, more + 1))


def test_a_nan_observation_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    spec, run = write_spec(tmp_path, environment=None, evaluation={"every": 0, "episodes": 2}), "run"

    def train(breaks_at: int, *words: str) -> subprocess.CompletedProcess[str]:
        program = Path(__file__).with_name("faulty.py")
        return subprocess.run(
            [sys.executable, program, spec, run, str(breaks_at), *words],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    failed = train(1013)  # 4 environments: step 254 of the first one, the 4th of its 26th task.
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-2:] == [
        "a checkpoint of the training so far is saved in run",
        "environment meter, step 4 of its task: observation 'observation' is not finite: [nan].",
    ]
    assert rounds(tmp_path / run) == list(range(1, 11))  # Rounds of 25 steps: round 11 failed.
    resumed = train(-1, "resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after round 10, update 50" in resumed.stderr
    assert rounds(tmp_path / run) == list(range(1, 21))
