"""The supervisor starts, watches and restarts processes; here they are short fake programs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ready_runs import create_run
from toys import Listener, Walk, tiny

from amago_core import train
from amago_core.environments import EnvironmentFault
from amago_core.errors import AmagoError, LostProcessError
from amago_core.running.processes import process
from amago_core.running.processes.messages import error_from_event
from amago_core.spec import load_spec
from amago_core.system.processes import describe_exit

RESULT = {
    "evaluation": False, "updates": 8, "env_steps": 160, "seconds": 1.0, "cpu_seconds": 2.0,
    "peak_bytes": 3, "stopped": "rounds",
}  # fmt: skip
PRELUDE = f"""
import json, os, sys, time
job = json.loads(sys.stdin.readline())
sys.stdin.read(0)
def send(event, **fields):
    print(json.dumps(dict(event=event, **fields)), flush=True)
def done(**changes):
    send("result", **{{**{RESULT!r}, **changes}})
    raise SystemExit
if job["name"] != "learner":
    {{collector}}
    sys.stdin.readline()
    raise SystemExit
"""
Fake = Callable[..., None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replace what runs in the processes by a few lines."""

    def replace(learner: str, collector: str = "pass") -> None:
        file = tmp_path / "fake.py"
        file.write_text(PRELUDE.replace("{collector}", collector) + learner)
        monkeypatch.setattr(process, "_RUN", f"exec(open({str(file)!r}).read())")

    return replace


def go(path: Path, *overrides: str, reporter: Listener | None = None) -> tuple[Any, Listener]:
    """Resume a run in a folder that already exists."""
    folder, listener = create_run(path), reporter or Listener()
    spec = load_spec(tiny(), ["running.mode=async", *overrides])
    folder.record_versions(spec, 0)
    return train(spec, run=path, resume=True, reporter=listener), listener


def test_the_learners_events_reach_the_reporter_and_the_result(tmp_path: Path, fake: Fake) -> None:
    fake(
        'send("ready"); send("start", title="tiny", rounds=4, done=0); send("note", text="good")\n'
        'send("round", metrics={"round": 1}); done()'
    )
    result, listener = go(tmp_path / "run")
    assert (listener.title, listener.notes, listener.rounds) == ("tiny", ["good"], [{"round": 1}])
    assert listener.finished
    assert (result.run, result.evaluation) == (tmp_path / "run", None)
    assert {name: getattr(result, name) for name in RESULT if name != "evaluation"} == {
        name: value for name, value in RESULT.items() if name != "evaluation"
    }


def test_a_learner_that_always_crashes_stops_the_run_with_its_last_error(
    tmp_path: Path, fake: Fake
) -> None:
    fake('send("crash", text="Traceback:\\nKeyError: 3\\n"); sys.exit(1)')
    run, listener = tmp_path / "run", Listener()
    with pytest.raises(LostProcessError) as caught:
        go(run, "running.max_restarts=2", reporter=listener)
    assert str(caught.value) == (
        "the learner ended with exit code 1, and running.max_restarts=2 is used up. "
        f"What was saved is in {run}; --resume continues from there. "
        "Its last error:\nTraceback:\nKeyError: 3"
    )
    assert listener.notes == [
        "the learner ended with exit code 1; restarting it from the last checkpoint "
        f"(restart {number} of at most 2)"
        for number in (1, 2)
    ]
    logged = (run / "errors" / "learner.txt").read_text().splitlines()
    assert [line.partition(": ")[2] for line in logged[::3]] == [
        "the learner ended with exit code 1"
    ] * 3
    assert logged[1:3] == ["Traceback:", "KeyError: 3"]


def test_a_collector_that_crashes_is_restarted_while_the_learner_continues(
    tmp_path: Path, fake: Fake
) -> None:
    mark = tmp_path / "crashed"
    fake(
        'send("ready")\n'
        f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\n"
        "time.sleep(0.3)\ndone()",
        collector=f"if not os.path.exists({str(mark)!r}): open({str(mark)!r}, 'w'); os.abort()",
    )
    result, listener = go(tmp_path / "run")
    assert result.updates == 8
    assert listener.notes == [
        "the collector 0 was killed by SIGABRT; restarting it (restart 1 of at most 3)"
    ]


def test_an_environment_fault_is_not_retried_and_the_learner_saves(tmp_path: Path, fake: Fake) -> None:
    fake(
        'send("ready"); sys.stdin.readline(); send("note", text="saved"); raise SystemExit',
        collector='send("error", module="amago_core.environments.environment_errors", '
        'kind="EnvironmentFault", text="the simulator is gone", notes=["its traceback"]); '
        "raise SystemExit(2)",
    )
    listener = Listener()
    with pytest.raises(EnvironmentFault) as caught:
        go(tmp_path / "run", reporter=listener)
    assert str(caught.value) == "the simulator is gone"
    assert caught.value.__notes__ == ["its traceback"]
    assert listener.notes == ["saved"]


@pytest.mark.parametrize(
    ("module", "kind"),
    [("os", "system"), ("builtins", "OSError"), ("no.such", "Thing"), ("os", "nothing")],
)
def test_an_error_of_a_foreign_class_becomes_an_amago_error(module: str, kind: str) -> None:
    error = error_from_event({"module": module, "kind": kind, "text": "false", "notes": []})
    assert (type(error), str(error)) == (AmagoError, "false")


def test_a_request_to_stop_reaches_the_learner_alone(tmp_path: Path, fake: Fake) -> None:
    fake(
        f'send("ready"); os.kill(os.getppid(), {int(signal.SIGINT)})\n'
        "done(stopped=sys.stdin.readline().strip())"
    )
    result, listener = go(tmp_path / "run")
    assert result.stopped == "stop"
    assert listener.notes == [
        "stopping after this round and saving a checkpoint; press Ctrl-C again to stop at once"
    ]


def test_thread_counts_are_set_before_torch_is_imported(tmp_path: Path, fake: Fake) -> None:
    fake(
        'send("ready"); threads = os.environ["OMP_NUM_THREADS"]\n'
        f"while not os.path.exists({str(tmp_path / 'one')!r}): time.sleep(0.01)\n"
        "done(updates=int(threads))",
        collector=f'open({str(tmp_path / "one")!r}, "w").write(os.environ["MKL_NUM_THREADS"])',
    )
    result, _ = go(tmp_path / "run", "running.threads=3")
    assert result.updates == 3
    assert (tmp_path / "one").read_text() in ("", "1")


def test_no_process_outlives_the_run(tmp_path: Path, fake: Fake) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    fake(
        f'open(f"{pids}/{{os.getpid()}}", "w"); send("ready")\n'
        f'while len(os.listdir("{pids}")) < 4: time.sleep(0.01)\ndone()',
        collector=f'open(f"{pids}/{{os.getpid()}}", "w")',
    )
    go(tmp_path / "run", "running.collectors=3")
    assert len(list(pids.iterdir())) == 4
    for pid in pids.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.name), 0)


def test_an_environment_that_cannot_be_pickled_is_refused_and_nothing_written(
    tmp_path: Path,
) -> None:
    lock = threading.Lock()

    def walk() -> Walk:
        with lock:
            return Walk()

    with pytest.raises(EnvironmentFault) as caught:
        train(tiny(environment=None), ["running.mode=async"], environment=walk, run=tmp_path / "run")
    assert str(caught.value) == (
        "environment walk cannot run under running.mode=async: the function that makes it cannot be "
        "sent to the collectors (TypeError: cannot pickle '_thread.lock' object). Let it create inside "
        "itself whatever cannot be copied, such as open files, connections and locks, or write "
        "running.mode=interleaved."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (3, "ended with exit code 3"),
        (-9, "was killed by SIGKILL"),
        (-62, "was killed by signal 62"),
    ],
)
def test_an_exit_code_is_described_in_words(code: int, how: str) -> None:
    assert describe_exit(code) == how


def test_running_mode_cannot_change_when_a_run_is_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    create_run(run)
    with pytest.raises(AmagoError) as caught:
        train(tiny(), ["running.mode=async", "running.collectors=2"], run=run, resume=True)
    assert str(caught.value) == (
        f"{run} was trained with another spec; it cannot be resumed with:"
        "\n  running.mode: interleaved -> async\n"
        f"Change that back, or start a new run from its weights: --run OTHER/FOLDER init_from={run}."
    )
