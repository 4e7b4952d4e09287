"""Ray collectors and the threads that drive them; here the cluster is this process."""

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


class FakeCluster:
    """A cluster that is this process; arguments and results are pickled, as Ray does.

    Args:
        on_call: Called before each call of an actor, with its method; may raise.
    """

    machines = 1

    def __init__(self, on_call: Callable[[str], None] = lambda method: None) -> None:
        self.on_call, self.published, self.killed = on_call, list[Any](), 0

    def put(self, value: Any) -> Any:
        self.published.append(value)
        return value

    def start_collector(self, job: ProcessJob, environment: bytes) -> Any:
        acting = RemoteCollector(job.number, job.spec, environment, "0.1.0")

        def call(method: str, *values: Any, check: Callable[[], None]) -> Any:
            self.on_call(method)
            check()
            return pickle.loads(
                pickle.dumps(getattr(acting, method)(*pickle.loads(pickle.dumps(values))))
            )

        def kill() -> None:
            self.killed += 1

        return SimpleNamespace(call=call, kill=kill)


# 20 steps a round in 2 environments, tasks of 10 steps.
@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # A collector sets them and does not restore them.
    return load_spec(tiny(), ["running.mode=async", "running.engine=ray"])


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    made = create_run(tmp_path / "run")
    made.shared_files.mkdir()
    return made


def publish(spec: RunSpec, folder: RunDir, update: int) -> None:
    task = compose_task(spec.environment, spec.seed)
    SharedFiles(folder.shared_files).publish(compose_agent(spec.agent, task), update)


def collector(spec: RunSpec, folder: RunDir, cluster: Any) -> RayProcess:
    if not (folder.shared_files / "weights.safetensors").exists():
        publish(spec, folder, 5)
    return RayProcess("collector_0", RayHub(spec, folder, cluster), cluster)


def begin(acting: RayProcess, spec: RunSpec, folder: RunDir, environment: bytes = b"") -> None:
    path, modules = str(folder.path), tuple(sys.path)
    job = ProcessJob("collector_0", path, dump_spec(spec), True, modules, len(environment))
    acting.start(job, environment)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def steps(folder: RunDir) -> int:
    progress = SharedFiles(folder.shared_files).read_progress("collector_0")
    return 0 if progress is None else progress.steps


def stop(acting: RayProcess) -> None:
    acting.send(STOP)
    acting.end(time.monotonic() + 60)


def stored(folder: RunDir) -> Replay:
    return Replay(folder.replay, 1000)


def test_a_ray_collector_is_rate_limited_and_the_learners_machine_stores_its_data(
    spec: RunSpec, folder: RunDir
) -> None:
    cluster = FakeCluster()
    acting = collector(spec, folder, cluster)
    begin(acting, spec, folder)
    until(lambda: steps(folder) == 20 and stored(folder).stored == 4)
    publish(spec, folder, 7)
    SharedFiles(folder.shared_files).write_rounds_learned(1.0, 7)
    until(lambda: steps(folder) == 40)
    stop(acting)
    progress = SharedFiles(folder.shared_files).read_progress("collector_0")
    assert progress is not None
    assert (progress.life, progress.steps, progress.totals[""]["ended"]) == (1, 40, 8)
    assert stored(folder).stored == 8
    updates = {path.name[:22] for path in folder.replay.glob("*.safetensors")}
    assert updates == {"0000000005-collector_0", "0000000007-collector_0"}
    assert (len(cluster.published), cluster.killed) == (2, 1)


def test_weights_are_put_into_the_object_store_once_per_version(spec: RunSpec, folder: RunDir) -> None:
    cluster: Any = FakeCluster()
    hub = RayHub(spec, folder, cluster)
    publish(spec, folder, 5)
    assert [hub.version().number for _ in range(3)] == [1, 1, 1]
    publish(spec, folder, 5)  # By a restarted learner.
    assert [hub.version().number for _ in range(3)] == [2, 2, 2]
    assert len(cluster.published) == 2
    weights = np.frombuffer((folder.shared_files / "weights.safetensors").read_bytes(), np.uint8)
    assert np.array_equal(cluster.published[1], weights)


def test_a_restarted_actor_continues_from_all_that_the_lost_one_returned(
    spec: RunSpec, folder: RunDir
) -> None:
    calls: list[str] = []
    # Chunks of 12 steps, and a shard every 250 or when waiting after 60; the very first is at once.
    long = load_spec(dump_spec(spec), ["training.steps_per_round=1000", "running.max_lag=0.05"])

    def on_call(method: str) -> None:
        calls.append(method)
        if len(calls) == 4:  # Begun, and two chunks.
            raise LostActorError("its node is gone")

    cluster = FakeCluster(on_call)
    acting = collector(long, folder, cluster)
    begin(acting, long, folder)
    until(acting.ended)
    assert acting.read_events() == [{"event": "crash", "text": "its node is gone\n"}]
    assert (acting.reap(), acting.alive, cluster.killed) == ("was lost", False, 1)
    assert (steps(folder), stored(folder).stored) == (24, 4)
    begin(acting, long, folder)
    until(lambda: steps(folder) == 60)
    stop(acting)
    progress = SharedFiles(folder.shared_files).read_progress("collector_0")
    assert progress is not None
    assert (progress.life, progress.dropped, acting.starts) == (2, 2, 2)
    assert stored(folder).stored == progress.totals[""]["ended"] == 4 + 6  # 36 steps of tasks of 10.


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


def test_an_environment_fault_is_sent_and_earlier_trajectories_are_stored(
    spec: RunSpec, folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaks, "steps", 0)
    task = compose_task(None, spec.seed, Breaks)
    SharedFiles(folder.shared_files).publish(compose_agent(spec.agent, task), 5)
    local = spec.model_copy(update={"environment": None})
    acting = collector(local, folder, FakeCluster())
    begin(acting, local, folder, cloudpickle.dumps(Breaks))
    until(acting.ended)
    (event,) = acting.read_events()
    assert (event["event"], event["kind"], event["text"]) == (
        "error",
        "EnvironmentFault",
        "environment Breaks, step 2 of its task: reward is not finite: nan.",
    )
    acting.reap()
    assert stored(folder).stored == 4  # Seven whole steps of two environments.


def test_an_unexpected_error_is_sent_as_a_crash(spec: RunSpec, folder: RunDir) -> None:
    def on_call(method: str) -> None:
        raise ZeroDivisionError

    acting = collector(spec, folder, FakeCluster(on_call))
    begin(acting, spec, folder)
    until(acting.ended)
    (event,) = acting.read_events()
    assert event["event"] == "crash"
    assert event["text"].endswith("ZeroDivisionError\n")
    assert acting.reap() == "ended with an error"


def test_a_collector_waiting_for_a_cpu_notes_it_once_and_stops_on_command(
    spec: RunSpec, folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_worker, "_SLOW_START", 0.02)

    def call(method: str, *values: Any, check: Callable[[], None]) -> Any:
        while True:
            check()
            time.sleep(0.005)

    full: Any = FakeCluster()
    full.start_collector = lambda job, environment: SimpleNamespace(call=call, kill=lambda: None)
    acting = collector(spec, folder, full)
    begin(acting, spec, folder)
    time.sleep(0.2)
    assert acting.read_events() == [
        {
            "event": "note",
            "text": "the collector 0 has not started after 0.02 s; perhaps no CPU of the Ray cluster "
            "is free (`ray status` shows them)",
        }
    ]
    stop(acting)
    assert not acting.alive


def test_a_collector_that_does_not_return_is_killed_at_the_deadline(
    spec: RunSpec, folder: RunDir
) -> None:
    cluster: Any = FakeCluster()
    slow, start = [False], cluster.start_collector

    def stuck(job: ProcessJob, environment: bytes) -> Any:
        actor = start(job, environment)

        def call(method: str, *values: Any, check: Callable[[], None]) -> Any:
            while method == "collect_chunk":
                slow[0] = True
                check()
                time.sleep(0.005)
            return actor.call(method, *values, check=check)

        return SimpleNamespace(call=call, kill=actor.kill)

    cluster.start_collector = stuck
    acting = collector(spec, folder, cluster)
    begin(acting, spec, folder)
    until(lambda: slow[0])
    acting.send(STOP)
    acting.end(time.monotonic() + 0.05)
    assert (acting.alive, cluster.killed) == (False, 1)
    begin(acting, spec, folder)
    until(lambda: slow[0])
    acting.send(HALT)
    until(acting.ended)
    acting.reap()


@contextmanager
def joined_here(address: str | None) -> Iterator[Any]:
    yield FakeCluster()


def test_a_run_with_ray_collectors_has_the_folder_of_any_run(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "join_cluster", joined_here)
    run, listener = tmp_path / "run", Listener()
    result = train(dump_spec(spec), ["evaluation.every=0"], run=run, reporter=listener)
    assert (result.stopped, listener.notes) == ("rounds", [])
    assert [record["round"] for record in listener.rounds] == [1, 2, 3, 4]
    # Collectors continue while the learner closes.
    assert stored(RunDir(run)).stored >= listener.rounds[-1]["trajectories"] > 0


def test_without_ray_the_error_has_the_install_command_and_nothing_is_written(
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


def test_a_cluster_that_cannot_be_joined_is_named(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: Any) -> None:
        raise ConnectionError("refused by 10.0.0.1:6379")

    ray: Any = ModuleType("ray")
    ray.init, ray.is_initialized = init, lambda: False
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(ClusterError) as caught, ray_cluster.join_cluster("10.0.0.1:6379"):
        pass
    assert str(caught.value) == (
        "running.ray_address=10.0.0.1:6379: this Ray cluster cannot be joined (ConnectionError: "
        "refused by 10.0.0.1:6379). Start one with `ray start --head`, or write running.engine=local."
    )


def test_a_lost_actor_is_distinguished_from_one_that_raised() -> None:
    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        pass

    def call(error: Exception) -> None:
        def get(answer: object) -> None:
            raise error

        exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        ray = SimpleNamespace(exceptions=exceptions, get=get, wait=lambda refs, timeout: (refs, []))
        handle = SimpleNamespace(close=SimpleNamespace(remote=lambda: "answer"))
        ray_cluster.RayActorHandle(ray, handle).call("close", check=lambda: None)

    with pytest.raises(LostActorError, match=r"^its node died$"):
        call(RayError("its node died"))
    with pytest.raises(RayTaskError, match=r"^KeyError: 3$"):
        call(RayTaskError("KeyError: 3"))


def test_a_machine_with_another_version_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_collector.metadata, "version", lambda name: "0.2.0")
    monkeypatch.setattr(ray_collector.platform, "node", lambda: "node-7")
    with pytest.raises(ClusterError) as caught:
        ray_collector.check_version("0.1.0")
    assert str(caught.value) == (
        "amago-core is 0.1.0 where the learner runs and 0.2.0 on node-7, a machine of the Ray cluster. "
        "There: pip install 'amago-core==0.1.0'"
    )


def test_an_environment_module_missing_on_a_machine_is_named_with_a_fix(
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
    assert report.error is not None
    assert report.error["text"] == (
        "the function that makes environments cannot be used on node-7, a machine of the Ray cluster "
        "(ModuleNotFoundError: No module named 'far_away'). Install that module there, or define the "
        "environment in the program itself."
    )
    acting.close()
