"""A learner and collectors side by side: started, watched, and started again when they die."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
from typing import TYPE_CHECKING, Any, TypeAlias

from amago_core.environments import EnvironmentFault
from amago_core.errors import LostProcessError
from amago_core.run_folder.lock import FolderLock
from amago_core.run_folder.resume import check_resumable
from amago_core.running.processes.messages import HALT, STOP, ProcessJob, error_from_event
from amago_core.running.processes.process import RunProcess
from amago_core.running.result import Result
from amago_core.spec.yaml_files import dump_spec
from amago_core.system.stopping import Interruption
from amago_core.system.threads import thread_count
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.environments import MakeEnvironment
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.running.processes.ray_worker import RayProcess
    from amago_core.running.progress import Reporter
    from amago_core.spec import RunSpec


_POLL_SECONDS = 0.1

STOP_TIMEOUT_S = 20.0
"""Seconds that processes are given to end when they are told to."""


def supervise(
    spec: RunSpec,
    folder: RunDir,
    environment: MakeEnvironment | None,
    reporter: Reporter,
    resume: bool,
) -> Result:
    """Train with a learner and collectors in processes of their own; this one only watches them."""
    supervisor = Supervisor(spec, folder, pickled(environment), reporter)
    try:
        if resume:
            supervisor.lock()
            for consequence in check_resumable(folder, spec):
                reporter.note(consequence)
        return supervisor.run(resume)
    finally:
        supervisor.close()


def pickled(environment: MakeEnvironment | None) -> bytes:
    """Return a function that makes environments, as bytes for another process.

    Raises:
        EnvironmentFault: If it holds something that cannot leave this process.
    """
    if environment is None:
        return b""
    import cloudpickle

    try:
        made: bytes = cloudpickle.dumps(environment)
    except Exception as error:
        name = getattr(environment, "__name__", "local")
        raise EnvironmentFault(
            f"environment {name} cannot run under running.mode=async: the function that makes it "
            f"cannot be sent to the collectors ({type(error).__name__}: {error}). Let it create inside "
            "itself whatever cannot be copied, such as open files, connections and locks, or write "
            "running.mode=interleaved."
        ) from error
    return made


class Supervisor:
    """The processes of one asynchronous training.

    Args:
        spec: The resolved spec.
        folder: Of the run.
        environment: A pickled function that makes environments; empty without one.
        reporter: Shows progress.
    """

    def __init__(self, spec: RunSpec, folder: RunDir, environment: bytes, reporter: Reporter) -> None:
        self.spec, self.folder, self.reporter = spec, folder, reporter
        self._environment = environment
        self._held = ExitStack()
        self._locked = self._shown = self._stopping = False
        self._result: dict[str, Any] | None = None
        self._mistake: AmagoError | None = None
        group = self._held.enter_context(open_collectors(spec, folder))
        self._learner = RunProcess("learner", thread_count(spec.running.threads, reserved=group.beside))
        self._collectors = group.collectors

    @property
    def _workers(self) -> list[ProcessHandle]:
        return [self._learner, *self._collectors]

    def lock(self, *, orphans: bool = True) -> None:
        """Hold the folder for this training alone.

        Args:
            orphans: Whether processes of an earlier training may still have to end.
        """
        lock = FolderLock(self.folder, orphans=orphans)
        self._held.callback(lock.close)
        self._locked = True

    def run(self, resume: bool) -> Result:
        """Watch the processes until the learner is done.

        Raises:
            AmagoError: What a process has found wrong, or that one has died too often.
        """
        with Interruption(self._announce_stop) as interruption:
            self._start(self._learner, resume)
            while self._result is None or self._learner.alive:
                if interruption.requested and not self._stopping:
                    self._stopping = True
                    self._learner.tell(STOP)
                self._watch()
        return self._conclude()

    def _announce_stop(self) -> None:
        self.reporter.note(
            "stopping after this round; what was learned is saved. Again to stop at once."
        )

    def _watch(self) -> None:
        """Hear what the processes say for a moment, and notice who has died."""
        with DefaultSelector() as selector:
            for worker in self._workers:
                if worker.alive:
                    selector.register(worker.output, EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(_POLL_SECONDS)]
        for worker in ready:
            self._handle_events(worker)
        for worker in self._workers:
            if worker.alive and worker.ended():
                self._handle_events(worker)
                self._reap(worker)

    def _handle_events(self, worker: ProcessHandle) -> None:
        for event in worker.events():
            self._handle_event(worker, event)

    def _handle_event(self, worker: ProcessHandle, event: dict[str, Any]) -> None:
        match event.pop("event"):
            case "tick":
                self.reporter.tick(**event)
            case "round":
                self.reporter.round(event["metrics"])
            case "note":
                self.reporter.note(event["text"])
            case "start" if not self._shown:
                self._shown = True
                self.reporter.start(**event)
            case "ready":
                self._learner_is_ready()
            case "result":
                self._result = event
            case "mistake":
                self._mistake = self._mistake or error_from_event(event)
            case "crash":
                worker.last_output = event["text"]

    def _learner_is_ready(self) -> None:
        if not self._locked:
            self.lock(orphans=False)  # The learner, a member itself, has just made the folder.
        for worker in self._collectors:
            if not worker.alive:
                self._start(worker, resume=True)

    def _start(self, worker: ProcessHandle, resume: bool) -> None:
        job = ProcessJob(
            name=worker.name,
            folder=str(self.folder.path),
            spec=dump_spec(self.spec),
            resume=resume,
            path=tuple(sys.path),
            local=len(self._environment),
        )
        worker.start(job, self._environment)

    def _reap(self, worker: ProcessHandle) -> None:
        """Decide what the end of a process means."""
        how = worker.reap()
        if self._mistake is not None:
            self._give_up(self._mistake)
        if worker is self._learner and self._result is not None:
            return
        self._write_last_output(worker, how)
        if self._stopping and worker is self._learner:
            self._give_up(
                LostProcessError(
                    f"the learner {how} before it could save; --resume continues from the last "
                    f"checkpoint in {self.folder.path}.{_quoted(worker)}"
                )
            )
        most = self.spec.running.max_restarts
        if worker.starts > most:
            self._give_up(
                LostProcessError(
                    f"the {worker.title} {how}, and running.max_restarts={most} is used up. "
                    f"What was saved is in {self.folder.path}; --resume continues from there."
                    f"{_quoted(worker)}"
                )
            )
        since = " from the last checkpoint" if worker is self._learner else ""
        self.reporter.note(
            f"the {worker.title} {how}; it is started again{since} ({worker.starts} of at most {most} "
            "times)"
        )
        self._start(worker, resume=self.folder.spec.is_file())

    def _give_up(self, error: AmagoError) -> None:
        """Let the learner save what it can, then raise."""
        if self._learner.alive:
            self._learner.tell(HALT)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while not self._learner.ended() and time.monotonic() < deadline:
                for event in self._learner.wait_for_events(_POLL_SECONDS):
                    self._handle_event(self._learner, event)
            self._handle_events(self._learner)  # What it said last.
        raise error

    def _write_last_output(self, worker: ProcessHandle, how: str) -> None:
        if self.folder.spec.is_file():
            self.folder.errors.mkdir(exist_ok=True)
            with (self.folder.errors / f"{worker.name}.txt").open("a", encoding="utf-8") as file:
                moment = time.strftime("%Y-%m-%d %H:%M:%S")
                file.write(f"{moment}: the {worker.title} {how}\n{worker.last_output}")

    def _conclude(self) -> Result:
        assert self._result is not None
        evaluated = self._result.pop("evaluation")
        evaluation = self.folder.read_evaluation() if evaluated else None
        return Result(run=self.folder.path, evaluation=evaluation, **self._result)

    def close(self) -> None:
        """End all processes, and let go of the folder."""
        try:
            for worker in self._workers:
                worker.tell(STOP if worker is not self._learner else HALT)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            for worker in self._workers:
                worker.end(deadline)
        finally:
            self._held.close()
            if self._shown:
                self.reporter.finish()


def _quoted(worker: ProcessHandle) -> str:
    return f" Its last error:\n{worker.last_output.rstrip()}" if worker.last_output else ""


ProcessHandle: TypeAlias = "RunProcess | RayProcess"
"""A learner or collector, over all of its lives, as the supervisor sees it."""


@dataclass(frozen=True)
class CollectorGroup:
    """The collectors of a run.

    Args:
        collectors: In the order of their numbers.
        beside: How many of them take a core of the learner's machine.
    """

    collectors: Sequence[ProcessHandle]
    beside: int


@contextmanager
def open_collectors(spec: RunSpec, folder: RunDir) -> Iterator[CollectorGroup]:
    """Give the collectors that a spec asks for; none is started yet.

    Raises:
        ClusterError: If they are to be Ray actors, and there is no Ray or no cluster.
    """
    names = [f"collector_{number}" for number in range(spec.running.collectors)]
    if spec.running.engine == "local":
        yield CollectorGroup([RunProcess(name, 1) for name in names], beside=len(names))
        return
    from amago_core.running.processes.ray_cluster import join_cluster
    from amago_core.running.processes.ray_worker import RayHub, RayProcess

    with join_cluster(spec.running.ray_address) as cluster:
        hub = RayHub(spec, folder, cluster)
        collectors = [RayProcess(name, hub, cluster) for name in names]
        yield CollectorGroup(collectors, beside=-(-len(names) // cluster.machines))
