"""Collectors in a cluster, and what tells them what to do; here the cluster is this process."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest
from ready_runs import create_run
from toys import Listener, Walk, tiny

from amago_core import train
from amago_core.compose.networks import compose_agent
from amago_core.compose.tasks import compose_task
from amago_core.errors import ClusterError
from amago_core.replay import Replay
from amago_core.run_folder.run_dir import RunDir
from amago_core.running.processes import ray_cluster, ray_collector, ray_worker
from amago_core.running.processes.messages import HALT, STOP, ProcessJob
from amago_core.running.processes.ray_cluster import LostActorError
from amago_core.running.processes.ray_collector import RemoteCollector
from amago_core.running.processes.ray_worker import RayHub, RayProcess
from amago_core.running.processes.shared_files import SharedFiles
from amago_core.spec import RunSpec, load_spec
from amago_core.spec.yaml_files import dump_spec


class Here:
    """A cluster of nothing but this process; what would travel is copied, as Ray does.

    Args:
        fate: Called before each call of an actor, with its method; may raise.
    """

    machines = 1

    def __init__(self, fate: Callable[[str], None] = lambda method: None) -> None:
        self.fate, self.published, self.killed = fate, list[Any](), 0

    def put(self, value: Any) -> Any:
        self.published.append(value)
        return value

    def collector(self, job: ProcessJob, local: bytes) -> Any:
        acting = RemoteCollector(job.number, job.spec, local, "0.1.0")

        def ask(method: str, *values: Any, check: Callable[[], None]) -> Any:
            self.fate(method)
            check()
            return pickle.loads(
                pickle.dumps(getattr(acting, method)(*pickle.loads(pickle.dumps(values))))
            )

        def kill() -> None:
            self.killed += 1

        return SimpleNamespace(ask=ask, kill=kill)


# 20 steps a round in 2 environments, tasks of 10 steps.
@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # A collector sets them for good.
    return load_spec(tiny(), ["running.mode=async", "running.engine=ray"])


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    made = create_run(tmp_path / "run")
    made.shared.mkdir()
    return made


def publish(spec: RunSpec, folder: RunDir, update: int) -> None:
    task = compose_task(spec.environment, spec.seed)
    SharedFiles(folder.shared).publish(compose_agent(spec.agent, task), update)


def worker(spec: RunSpec, folder: RunDir, here: Any) -> RayProcess:
    if not (folder.shared / "weights.safetensors").exists():
        publish(spec, folder, 5)
    return RayProcess("collector_0", RayHub(spec, folder, here), here)


def begin(acting: RayProcess, spec: RunSpec, folder: RunDir, local: bytes = b"") -> None:
    path = str(folder.path)
    acting.start(
        ProcessJob("collector_0", path, dump_spec(spec), True, tuple(sys.path), len(local)), local
    )


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def steps(folder: RunDir) -> int:
    known = SharedFiles(folder.shared).collector("collector_0")
    return 0 if known is None else known.steps


def stop(acting: RayProcess) -> None:
    acting.tell(STOP)
    acting.end(time.monotonic() + 60)


def stored(folder: RunDir) -> Replay:
    return Replay(folder.replay, 1000)


def test_a_collector_keeps_the_pace_and_its_trajectories_are_stored_beside_the_learner(
    spec: RunSpec, folder: RunDir
) -> None:
    here = Here()
    acting = worker(spec, folder, here)
    begin(acting, spec, folder)
    until(lambda: steps(folder) == 20 and stored(folder).stored == 4)
    publish(spec, folder, 7)
    SharedFiles(folder.shared).write_learned(1.0, 7)
    until(lambda: steps(folder) == 40)
    stop(acting)
    known = SharedFiles(folder.shared).collector("collector_0")
    assert known is not None
    assert (known.life, known.steps, known.totals[""]["ended"]) == (1, 40, 8)
    assert stored(folder).stored == 8
    updates = {path.name[:22] for path in folder.replay.glob("*.safetensors")}
    assert updates == {"0000000005-collector_0", "0000000007-collector_0"}
    assert (len(here.published), here.killed) == (2, 1)


def test_weights_are_put_into_the_cluster_once_however_many_ask(spec: RunSpec, folder: RunDir) -> None:
    here: Any = Here()
    hub = RayHub(spec, folder, here)
    publish(spec, folder, 5)
    assert [hub.version().number for _ in range(3)] == [1, 1, 1]
    publish(spec, folder, 5)  # By a learner that was started again.
    assert [hub.version().number for _ in range(3)] == [2, 2, 2]
    assert len(here.published) == 2
    weights = np.frombuffer((folder.shared / "weights.safetensors").read_bytes(), np.uint8)
    assert np.array_equal(here.published[1], weights)


def test_a_lost_actor_loses_nothing_that_it_sent_and_a_new_one_goes_on(
    spec: RunSpec, folder: RunDir
) -> None:
    calls: list[str] = []
    # Chunks of 12 steps, and a shard every 250 or when waiting after 60; the very first is at once.
    long = load_spec(dump_spec(spec), ["training.steps_per_round=1000", "running.max_lag=0.05"])

    def fate(method: str) -> None:
        calls.append(method)
        if len(calls) == 4:  # Begun, and two chunks.
            raise LostActorError("its node is gone")

    here = Here(fate)
    acting = worker(long, folder, here)
    begin(acting, long, folder)
    until(acting.ended)
    assert acting.events() == [{"event": "crash", "text": "its node is gone\n"}]
    assert (acting.reap(), acting.alive, here.killed) == ("was lost", False, 1)
    assert (steps(folder), stored(folder).stored) == (24, 4)
    begin(acting, long, folder)
    until(lambda: steps(folder) == 60)
    stop(acting)
    known = SharedFiles(folder.shared).collector("collector_0")
    assert known is not None
    assert (known.life, known.dropped, acting.starts) == (2, 2, 2)
    assert stored(folder).stored == known.totals[""]["ended"] == 4 + 6  # 36 steps of tasks of 10.


class Breaks(Walk):
    """Tasks of 3 steps; the seventh step in this process pays NaN."""

    steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        found = super().reset(seed=seed)
        self.length = 3
        return found

    def step(self, action: Any) -> Any:
        Breaks.steps += 1
        seen, reward, *rest = super().step(action)
        return seen, np.nan if Breaks.steps == 15 else reward, *rest


def test_a_fault_of_an_environment_is_told_and_what_ended_before_is_stored(
    spec: RunSpec, folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaks, "steps", 0)
    task = compose_task(None, spec.seed, Breaks)
    SharedFiles(folder.shared).publish(compose_agent(spec.agent, task), 5)
    local = spec.model_copy(update={"environment": None})
    acting = worker(local, folder, Here())
    begin(acting, local, folder, cloudpickle.dumps(Breaks))
    until(acting.ended)
    (event,) = acting.events()
    assert (event["event"], event["kind"], event["text"]) == (
        "mistake",
        "EnvironmentFault",
        "environment Breaks, step 2 of its task: reward is not finite: nan.",
    )
    acting.reap()
    assert stored(folder).stored == 4  # Seven whole steps of two environments.


def test_an_error_of_ours_is_told_as_a_crash(spec: RunSpec, folder: RunDir) -> None:
    def fate(method: str) -> None:
        raise ZeroDivisionError

    acting = worker(spec, folder, Here(fate))
    begin(acting, spec, folder)
    until(acting.ended)
    (event,) = acting.events()
    assert event["event"] == "crash"
    assert event["text"].endswith("ZeroDivisionError\n")
    assert acting.reap() == "ended with an error"


def test_who_waits_for_a_machine_says_so_once_and_ends_when_told(
    spec: RunSpec, folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_worker, "_SLOW_START", 0.02)

    def ask(method: str, *values: Any, check: Callable[[], None]) -> Any:
        while True:
            check()
            time.sleep(0.005)

    full: Any = Here()
    full.collector = lambda job, local: SimpleNamespace(ask=ask, kill=lambda: None)
    acting = worker(spec, folder, full)
    begin(acting, spec, folder)
    time.sleep(0.2)
    assert acting.events() == [
        {
            "event": "note",
            "text": "the collector 0 has not begun after 0.02 s; perhaps no CPU of the Ray cluster is "
            "free (`ray status` shows them)",
        }
    ]
    stop(acting)
    assert not acting.alive


def test_a_collector_that_does_not_answer_is_not_waited_for(spec: RunSpec, folder: RunDir) -> None:
    here: Any = Here()
    slow, collector = [False], here.collector

    def stuck(job: ProcessJob, local: bytes) -> Any:
        actor = collector(job, local)

        def ask(method: str, *values: Any, check: Callable[[], None]) -> Any:
            while method == "collect_chunk":
                slow[0] = True
                check()
                time.sleep(0.005)
            return actor.ask(method, *values, check=check)

        return SimpleNamespace(ask=ask, kill=actor.kill)

    here.collector = stuck
    acting = worker(spec, folder, here)
    begin(acting, spec, folder)
    until(lambda: slow[0])
    acting.tell(STOP)
    acting.end(time.monotonic() + 0.05)
    assert (acting.alive, here.killed) == (False, 1)
    begin(acting, spec, folder)
    until(lambda: slow[0])
    acting.tell(HALT)
    until(acting.ended)
    acting.reap()


@contextmanager
def joined_here(address: str | None) -> Iterator[Any]:
    yield Here()


def test_a_run_with_collectors_in_a_cluster_has_the_folder_of_any_run(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "join_cluster", joined_here)
    run, listener = tmp_path / "run", Listener()
    result = train(dump_spec(spec), ["evaluation.every=0"], run=run, reporter=listener)
    assert (result.stopped, listener.notes) == ("rounds", [])
    assert [record["round"] for record in listener.rounds] == [1, 2, 3, 4]
    # Collectors go on while the learner takes its leave.
    assert stored(RunDir(run)).stored >= listener.rounds[-1]["trajectories"] > 0


def test_without_ray_the_command_that_installs_it_is_said_before_anything_is_written(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError) as caught:
        train(spec, run=tmp_path / "run", reporter=Listener())
    assert str(caught.value) == (
        "running.engine=ray needs Ray, which cannot be imported here (import of ray halted; None in "
        "sys.modules): pip install 'amago-core[ray]'. Or write running.engine=local."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_does_not_answer_is_named(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: Any) -> None:
        raise ConnectionError("nobody at 10.0.0.1:6379")

    ray: Any = ModuleType("ray")
    ray.init, ray.is_initialized = init, lambda: False
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(ClusterError) as caught, ray_cluster.join_cluster("10.0.0.1:6379"):
        pass
    assert str(caught.value) == (
        "running.ray_address=10.0.0.1:6379: this Ray cluster cannot be joined (ConnectionError: nobody "
        "at 10.0.0.1:6379). Start one with `ray start --head`, or write running.engine=local."
    )


def test_an_actor_that_is_gone_is_told_from_one_that_met_an_error() -> None:
    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        pass

    def ask(error: Exception) -> None:
        def get(answer: object) -> None:
            raise error

        exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        ray = SimpleNamespace(exceptions=exceptions, get=get, wait=lambda refs, timeout: (refs, []))
        handle = SimpleNamespace(close=SimpleNamespace(remote=lambda: "answer"))
        ray_cluster.RayActorHandle(ray, handle).ask("close", check=lambda: None)

    with pytest.raises(LostActorError, match=r"^its node died$"):
        ask(RayError("its node died"))
    with pytest.raises(RayTaskError, match=r"^KeyError: 3$"):
        ask(RayTaskError("KeyError: 3"))


def test_a_machine_with_another_version_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_collector.metadata, "version", lambda name: "0.2.0")
    monkeypatch.setattr(ray_collector.platform, "node", lambda: "node-7")
    with pytest.raises(ClusterError) as caught:
        ray_collector.check_version("0.1.0")
    assert str(caught.value) == (
        "amago-core is 0.1.0 where the learner runs and 0.2.0 on node-7, a machine of the Ray cluster. "
        "There: pip install 'amago-core==0.1.0'"
    )


def test_an_environment_whose_module_a_machine_lacks_says_what_to_do(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("far_away")
    exec("def make(): pass", vars(module))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "far_away", module)
        local = cloudpickle.dumps(module.make)
    monkeypatch.setattr(ray_collector.platform, "node", lambda: "node-7")
    acting = RemoteCollector(0, dump_spec(spec), local, "0.1.0")
    report = acting.begin(np.zeros(0, np.uint8), None)
    assert (report.progress, report.trajectories) == (None, [])
    assert report.mistake is not None
    assert report.mistake["text"] == (
        "the function that makes environments cannot be used on node-7, a machine of the Ray cluster "
        "(ModuleNotFoundError: No module named 'far_away'). Install that module there, or define the "
        "environment in the program itself."
    )
    acting.close()
