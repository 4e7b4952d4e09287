"""The supervisor's side of a Ray collector: drives the actor, stores its trajectories and progress."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from amago_core.running.processes.messages import (
    HALT,
    STOP,
    ProcessJob,
    error_from_event,
    error_to_event,
)
from amago_core.running.processes.rate_limit import RateLimiter
from amago_core.running.processes.ray_cluster import LostActorError
from amago_core.running.processes.shard_writer import ShardBuffer
from amago_core.running.processes.shared_files import CollectorProgress, PublishedWeights, SharedFiles
from amago_core.system.stopping import HaltedError
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.running.processes.ray_cluster import Cluster
    from amago_core.running.processes.ray_collector import Report
    from amago_core.spec import RunSpec


_POLL_SECONDS = 0.01

_SLOW_START = 30.0
"""Seconds after which a note says that a collector still waits for a machine."""


class RayProcess:
    """One Ray collector, over all of its restarts; a thread calls the actor and stores what it returns.

    Args:
        name: ``collector_`` and a number.
        hub: Progress and weights, shared with the other collectors.
        cluster: The cluster that the actor runs on.
    """

    def __init__(self, name: str, hub: RayHub, cluster: Cluster) -> None:
        self.name, self._hub, self._cluster = name, hub, cluster
        self.display_name = name.replace("_", " ")
        self.starts = 0
        self.last_output = ""
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether it was started and not reaped since."""
        return self._thread is not None

    @property
    def output(self) -> int:
        """File descriptor of a pipe that becomes readable when events have arrived."""
        return self._wakeup[0]

    def start(self, job: ProcessJob, environment: bytes) -> None:
        """Start the collector.

        Args:
            job: The job of the collector.
            environment: The pickled function that makes environments; empty without one.
        """
        self.starts += 1
        self.last_output, self._exit_text, self._update = "", "ended", 0
        self._stopping, self._halting = threading.Event(), threading.Event()
        self._events: deque[dict[str, Any]] = deque()
        self._wakeup = os.pipe()
        self._thread = threading.Thread(
            target=self._run, args=(job, environment), name=self.name, daemon=True
        )
        self._thread.start()

    def send(self, command: str) -> None:
        """Send a command, if the collector is alive."""
        if self._thread is not None and command in (STOP, HALT):
            self._stopping.set()
            if command == HALT:
                self._halting.set()

    def read_events(self) -> list[dict[str, Any]]:
        """Return the events that have arrived, without waiting for any."""
        events = [self._events.popleft() for _ in range(len(self._events))]
        for _ in events:
            os.read(self._wakeup[0], 1)
        return events

    def ended(self) -> bool:
        """Whether the collector has ended."""
        return self._thread is None or not self._thread.is_alive()

    def reap(self) -> str:
        """Join the thread and close the pipe; return how the collector ended, in words."""
        assert self._thread is not None
        self._thread.join()
        self._thread = None
        for descriptor in self._wakeup:
            os.close(descriptor)
        return self._exit_text

    def end(self, deadline: float) -> None:
        """Wait for its end; force it at the deadline (monotonic seconds)."""
        if self._thread is None:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._halting.set()
        self.reap()

    def _run(self, job: ProcessJob, environment: bytes) -> None:
        try:
            self._collect(job, environment)
        except HaltedError:
            pass
        except LostActorError as error:
            self._exit_text = "was lost"
            self._send_event("crash", text=f"{error}\n")
        except AmagoError as error:
            self._send_event("error", **error_to_event(error))
        except BaseException:
            self._exit_text = "ended with an error"
            self._send_event("crash", text=traceback.format_exc())

    def _collect(self, job: ProcessJob, environment: bytes) -> None:
        before, buffer = self._hub.open(self.name)
        actor = self._cluster.start_collector(job, environment)
        try:
            version = self._hub.version()
            report = actor.call("begin", version.weights, before, check=self._check_start())
            self._store(report, buffer)
            while not self._stopping.is_set():
                if not self._hub.may_collect():
                    buffer.flush(self._update)  # The learner may be waiting for these.
                    self._stopping.wait(_POLL_SECONDS)
                    continue
                newest = self._hub.version()
                weights = None if newest is version else newest.weights
                self._store(actor.call("collect_chunk", weights, check=self._check), buffer)
                version = newest
            actor.call("close", check=self._check)
        finally:
            try:
                buffer.flush(self._update)
            finally:
                actor.kill()

    def _store(self, report: Report, buffer: ShardBuffer) -> None:
        """Store the trajectories, then write the progress; unwritten steps are retaken on a restart."""
        self._update = report.update
        for trajectory in report.trajectories:
            buffer.append(trajectory)
        for text in report.notes:
            self._send_event("note", text=f"{self.display_name}: {text}")
        if report.progress is not None:
            buffer.advance(report.progress.steps, report.update)
            self._hub.write_progress(self.name, report.progress)
        if report.error is not None:
            raise error_from_event(report.error)

    def _check(self) -> None:
        if self._halting.is_set():
            raise HaltedError

    def _check_start(self) -> Callable[[], None]:
        """Return the check while the collector starts: it notes once if no CPU seems to be free."""
        late = time.monotonic() + _SLOW_START

        def check() -> None:
            nonlocal late
            if self._stopping.is_set():
                raise HaltedError
            if time.monotonic() > late:
                late = float("inf")
                self._send_event(
                    "note",
                    text=f"the {self.display_name} has not started after {_SLOW_START:g} s; perhaps no "
                    "CPU of the Ray cluster is free (`ray status` shows them)",
                )

        return check

    def _send_event(self, event: str, **fields: Any) -> None:
        self._events.append({"event": event, **fields})
        os.write(self._wakeup[1], b".")


class WeightVersion(NamedTuple):
    """A version of the published weights, in the cluster's object store.

    Args:
        number: Counts the versions.
        weights: Reference to their bytes.
    """

    number: int
    weights: Any


class RayHub:
    """Progress and weights, shared by the threads that drive the Ray collectors.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        cluster: Holds the weights: one copy of each version, however many collectors there are.
    """

    def __init__(self, spec: RunSpec, folder: RunDir, cluster: Cluster) -> None:
        self._replay, self._shared_files = folder.replay, SharedFiles(folder.shared_files)
        self._limiter, self._cluster = RateLimiter.of(spec), cluster
        self._published = PublishedWeights(self._shared_files)
        self._lock = threading.Lock()
        self._progress: dict[str, CollectorProgress] = {}
        self._version = WeightVersion(0, None)

    def open(self, name: str) -> tuple[CollectorProgress | None, ShardBuffer]:
        """Return a collector's progress before a restart, and a buffer for its trajectories."""
        with self._lock:
            if not self._progress:  # The first to start reads that of earlier trainings in the folder.
                self._progress = self._shared_files.read_all_progress()
            before = self._progress.get(name)
        return before, ShardBuffer(self._replay, name, self._limiter, before.steps if before else 0)

    def write_progress(self, name: str, progress: CollectorProgress) -> None:
        """Replace a collector's progress; call it after its trajectories are stored."""
        with self._lock:
            self._progress[name] = progress
        self._shared_files.write_progress(name, progress)

    def may_collect(self) -> bool:
        """Whether collectors may take their next chunk of steps."""
        with self._lock:
            steps = sum(each.steps for each in self._progress.values())
        return self._limiter.may_collect(
            self._shared_files.rounds_learned(), self._limiter.rounds_collected(steps)
        )

    def version(self) -> WeightVersion:
        """Return the latest published weights."""
        with self._lock:
            data = self._published.read_if_new()
            if data is not None:
                # An array, because Ray puts arrays into its store without pickling them.
                weights = self._cluster.put(np.frombuffer(data, np.uint8))
                self._version = WeightVersion(self._version.number + 1, weights)
            return self._version
