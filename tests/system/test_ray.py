"""Collectors as Ray actors, in a cluster of three nodes that are all on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from programs import amago, command, environment, rounds, write_spec
from test_async import ASYNC, check_lag, records, wait_for_none

from amago_core.replay import Replay

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'amago-core[ray]'"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose head node has no CPU for collectors."""
    # Not tmp_path: paths of sockets are limited to 107 characters. Usage statistics are off.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield made
        made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def nodes(cluster: Any) -> Iterator[list[Any]]:
    """Two nodes with two CPUs each."""
    added = [cluster.add_node(num_cpus=2) for _ in range(2)]
    cluster.wait_for_nodes()
    yield added
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


@pytest.fixture
def spec(cluster: Any, nodes: list[Any], tmp_path: Path) -> Path:
    return write_spec(tmp_path, running={**ASYNC, "engine": "ray", "ray_address": cluster.address})


Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start a program; kill it at the end of the test."""
    launched: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(word) for word in words],
            env=environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        launched.append(process)
        return process

    yield start
    for process in launched:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def collectors(run: Path) -> list[dict[str, Any]]:
    """Return the progress of the collectors."""
    return [
        json.loads(path.read_text()) for path in sorted((run / "exchange").glob("collector_*.json"))
    ]


def state(pid: int) -> tuple[str, int]:
    """Return the state of a process and its parent."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return words[0], int(words[1])


def gone(pid: int) -> bool:
    try:
        return state(pid)[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_run_spans_machines_survives_the_loss_of_one_and_resumes(
    tmp_path: Path, cluster: Any, nodes: list[Any], spec: Path, launch: Launch
) -> None:
    run = tmp_path / "run"
    process = launch(*command(["train", spec, f"--run={run}", "training.rounds=20000"]))
    assert process.stderr is not None
    lines = [next(process.stderr), next(process.stderr)]  # Training has begun, round 1 is done.
    until(lambda: len(collectors(run)) == 2)
    first = collectors(run)
    homes = {node.all_processes["raylet"][0].process.pid: number for number, node in enumerate(nodes)}
    where = [homes[state(each["pid"])[1]] for each in first]
    assert sorted(where) == [0, 1]

    cluster.remove_node(nodes[0], allow_graceful=False)
    lost = where.index(0)
    until(lambda: collectors(run)[lost]["life"] == 2)
    steps = collectors(run)[lost]["steps"]
    until(lambda: collectors(run)[lost]["steps"] > steps + 25)
    assert state(collectors(run)[lost]["pid"])[1] == nodes[1].all_processes["raylet"][0].process.pid

    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: to all processes of the group.
    lines += process.communicate(timeout=120)[1].splitlines(keepends=True)
    assert process.returncode == 130, lines
    assert f"the collector {lost} was lost; restarting it (restart 1 of at most 3)\n" in lines
    assert lines[-1] == "Stopped after saving. The same command with --resume continues the run.\n"
    check(run)

    stopped = rounds(run)[-1]
    again = amago("train", spec, f"--run={run}", f"training.rounds={stopped + 3}", "--resume")
    assert again.returncode == 0, again.stderr
    assert f"resuming after round {stopped}, update " in again.stderr
    words = (f"training.rounds={stopped + 5}", "running.engine=local", "running.ray_address=null")
    local = amago("train", spec, f"--run={run}", *words, "--resume")
    assert local.returncode == 0, local.stderr
    assert rounds(run) == list(range(1, stopped + 6))
    check(run)


def check(run: Path) -> None:
    """Check that nothing is missing or damaged, and that no process is left."""
    until(lambda: all(gone(each["pid"]) for each in collectors(run)))
    wait_for_none(run)
    check_lag(run, max_lag=1.0, collectors=2)
    ended = sum(each["totals"][""]["ended"] for each in collectors(run))
    stored = Replay(run / "replay", 10_000).stored
    assert stored == ended >= records(run)[-1]["trajectories"]
    verified = amago("replay", run / "replay", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_actors_end_with_the_process_that_trains(tmp_path: Path, spec: Path, launch: Launch) -> None:
    run = tmp_path / "run"
    process = launch(*command(["train", spec, f"--run={run}", "training.rounds=20000"]))
    until(lambda: (run / "exchange").is_dir() and len(collectors(run)) == 2)
    process.kill()
    until(lambda: all(gone(each["pid"]) for each in collectors(run)))
    wait_for_none(run)


def test_an_environment_fault_on_another_machine_stops_and_saves_the_run(
    tmp_path: Path, spec: Path, launch: Launch
) -> None:
    run, program = tmp_path / "run", Path(__file__).with_name("faulty.py")
    written = json.loads(spec.read_text())
    written["training"]["rounds"] = 20_000
    spec.write_text(json.dumps({**written, "environment": None}))
    process = launch(sys.executable, program, spec, run, 1013)
    lines = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 1, lines
    assert lines[-2:] == [
        f"a checkpoint of the training so far is saved in {run}",
        "environment meter, step 4 of its task: observation 'observation' is not finite: [nan].",
    ]
    wait_for_none(run)
