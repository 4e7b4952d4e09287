"""The supervisor of an asynchronous run: starts the learner and the collectors, and restarts them."""

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
"""Seconds that processes have to end after a command to stop."""


def supervise(
    spec: RunSpec,
    folder: RunDir,
    environment: MakeEnvironment | None,
    reporter: Reporter,
    resume: bool,
) -> Result:
    """Train with a learner process and collector processes; this process supervises them."""
    supervisor = Supervisor(spec, folder, pickle_environment(environment), reporter)
    try:
        if resume:
            supervisor.lock()
            for consequence in check_resumable(folder, spec):
                reporter.note(consequence)
        return supervisor.run(resume)
    finally:
        supervisor.close()


def pickle_environment(environment: MakeEnvironment | None) -> bytes:
    """Pickle a function that makes environments; return no bytes for None.

    Raises:
        EnvironmentFault: If it holds something that cannot be pickled.
    """
    if environment is None:
        return b""
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(environment)
    except Exception as error:
        name = getattr(environment, "__name__", "local")
        raise EnvironmentFault(
            f"environment {name} cannot run under running.mode=async: the function that makes it "
            f"cannot be sent to the collectors ({type(error).__name__}: {error}). Let it create inside "
            "itself whatever cannot be copied, such as open files, connections and locks, or write "
            "running.mode=interleaved."
        ) from error
    return pickled


class Supervisor:
    """Supervises the processes of an asynchronous run.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        environment: A pickled function that makes environments; empty without one.
        reporter: Shows progress.
    """

    def __init__(self, spec: RunSpec, folder: RunDir, environment: bytes, reporter: Reporter) -> None:
        self.spec, self.folder, self.reporter = spec, folder, reporter
        self._environment = environment
        self._resources = ExitStack()
        self._locked = self._reporter_started = self._stopping = False
        self._result: dict[str, Any] | None = None
        self._error: AmagoError | None = None
        group = self._resources.enter_context(open_collectors(spec, folder))
        self._learner = RunProcess(
            "learner", thread_count(spec.running.threads, reserved=group.on_this_machine)
        )
        self._collectors = group.collectors

    @property
    def _processes(self) -> list[ProcessHandle]:
        return [self._learner, *self._collectors]

    def lock(self, *, orphans: bool = True) -> None:
        """Lock the folder for this training.

        Args:
            orphans: Whether to wait for orphaned processes of an earlier training.
        """
        lock = FolderLock(self.folder, orphans=orphans)
        self._resources.callback(lock.close)
        self._locked = True

    def run(self, resume: bool) -> Result:
        """Start the learner and supervise all processes until it has returned its result.

        Raises:
            AmagoError: An error that a process has sent, or that one has ended too often.
        """
        with Interruption(self._announce_stop) as interruption:
            self._start(self._learner, resume)
            while self._result is None or self._learner.alive:
                if interruption.requested and not self._stopping:
                    self._stopping = True
                    self._learner.send(STOP)
                self._poll()
        return self._make_result()

    def _announce_stop(self) -> None:
        self.reporter.note(
            "stopping after this round and saving a checkpoint; press Ctrl-C again to stop at once"
        )

    def _poll(self) -> None:
        """Handle the events of a moment, and reap the processes that have ended."""
        with DefaultSelector() as selector:
            for process in self._processes:
                if process.alive:
                    selector.register(process.output, EVENT_READ, process)
            ready = [key.data for key, _ in selector.select(_POLL_SECONDS)]
        for process in ready:
            self._handle_events(process)
        for process in self._processes:
            if process.alive and process.ended():
                self._handle_events(process)
                self._reap(process)

    def _handle_events(self, process: ProcessHandle) -> None:
        for event in process.read_events():
            self._handle_event(process, event)

    def _handle_event(self, process: ProcessHandle, event: dict[str, Any]) -> None:
        match event.pop("event"):
            case "tick":
                self.reporter.tick(**event)
            case "round":
                self.reporter.round(event["metrics"])
            case "note":
                self.reporter.note(event["text"])
            case "start" if not self._reporter_started:
                self._reporter_started = True
                self.reporter.start(**event)
            case "ready":
                self._start_collectors()
            case "result":
                self._result = event
            case "error":
                self._error = self._error or error_from_event(event)
            case "crash":
                process.last_output = event["text"]

    def _start_collectors(self) -> None:
        if not self._locked:
            self.lock(orphans=False)  # The learner, which has joined the run, has just made the folder.
        for process in self._collectors:
            if not process.alive:
                self._start(process, resume=True)

    def _start(self, process: ProcessHandle, resume: bool) -> None:
        job = ProcessJob(
            name=process.name,
            folder=str(self.folder.path),
            spec=dump_spec(self.spec),
            resume=resume,
            sys_path=tuple(sys.path),
            pickled_length=len(self._environment),
        )
        process.start(job, self._environment)

    def _reap(self, process: ProcessHandle) -> None:
        """Handle the end of a process: finish, restart it, or raise."""
        name, exit_text = process.display_name, process.reap()
        if self._error is not None:
            self._halt_and_raise(self._error)
        if process is self._learner and self._result is not None:
            return
        self._write_last_output(process, exit_text)
        if self._stopping and process is self._learner:
            self._halt_and_raise(
                LostProcessError(
                    f"the learner {exit_text} before it could save; --resume continues from the last "
                    f"checkpoint in {self.folder.path}.{_quote_last_output(process)}"
                )
            )
        most = self.spec.running.max_restarts
        if process.starts > most:
            self._halt_and_raise(
                LostProcessError(
                    f"the {name} {exit_text}, and running.max_restarts={most} is used up. "
                    f"What was saved is in {self.folder.path}; --resume continues from there."
                    f"{_quote_last_output(process)}"
                )
            )
        what = "it from the last checkpoint" if process is self._learner else "it"
        self.reporter.note(
            f"the {name} {exit_text}; restarting {what} (restart {process.starts} of at most {most})"
        )
        self._start(process, resume=self.folder.spec.is_file())

    def _halt_and_raise(self, error: AmagoError) -> None:
        """Stop the learner, which saves a checkpoint if it can; then raise."""
        if self._learner.alive:
            self._learner.send(HALT)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while not self._learner.ended() and time.monotonic() < deadline:
                for event in self._learner.wait_for_events(_POLL_SECONDS):
                    self._handle_event(self._learner, event)
            self._handle_events(self._learner)  # Its last events.
        raise error

    def _write_last_output(self, process: ProcessHandle, exit_text: str) -> None:
        if self.folder.spec.is_file():
            self.folder.errors.mkdir(exist_ok=True)
            with (self.folder.errors / f"{process.name}.txt").open("a", encoding="utf-8") as file:
                timestamp = time.strftime("%Y-%m-%d %H:%M:%S")
                file.write(
                    f"{timestamp}: the {process.display_name} {exit_text}\n{process.last_output}"
                )

    def _make_result(self) -> Result:
        assert self._result is not None
        evaluated = self._result.pop("evaluation")
        evaluation = self.folder.read_evaluation() if evaluated else None
        return Result(run=self.folder.path, evaluation=evaluation, **self._result)

    def close(self) -> None:
        """Stop all processes, and unlock the folder."""
        try:
            for process in self._processes:
                process.send(STOP if process is not self._learner else HALT)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            for process in self._processes:
                process.end(deadline)
        finally:
            self._resources.close()
            if self._reporter_started:
                self.reporter.finish()


def _quote_last_output(process: ProcessHandle) -> str:
    return f" Its last error:\n{process.last_output.rstrip()}" if process.last_output else ""


ProcessHandle: TypeAlias = "RunProcess | RayProcess"
"""A learner or collector, over all of its restarts: a local process or a Ray actor."""


@dataclass(frozen=True)
class CollectorGroup:
    """The collectors of a run.

    Args:
        collectors: In the order of their numbers.
        on_this_machine: How many of them run on the learner's machine, where each takes a core.
    """

    collectors: Sequence[ProcessHandle]
    on_this_machine: int


@contextmanager
def open_collectors(spec: RunSpec, folder: RunDir) -> Iterator[CollectorGroup]:
    """Make the handles of the collectors of a spec; none is started yet.

    Raises:
        ClusterError: If ``running.engine`` is ray, and there is no Ray or no cluster.
    """
    names = [f"collector_{number}" for number in range(spec.running.collectors)]
    if spec.running.engine == "local":
        yield CollectorGroup([RunProcess(name, 1) for name in names], on_this_machine=len(names))
        return
    from amago_core.running.processes.ray_cluster import join_cluster
    from amago_core.running.processes.ray_worker import RayHub, RayProcess

    with join_cluster(spec.running.ray_address) as cluster:
        hub = RayHub(spec, folder, cluster)
        collectors = [RayProcess(name, hub, cluster) for name in names]
        yield CollectorGroup(collectors, on_this_machine=-(-len(names) // cluster.machines))
