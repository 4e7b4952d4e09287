"""A collector in a cluster, as the process sees it that started it."""

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
"""Seconds after which the user learns that a collector waits for a machine."""


class RayProcess:
    """One collector, over all of its lives; a thread here tells the actor what to do.

    Args:
        name: ``collector_`` and a number.
        hub: Where it meets the learner.
        cluster: Where the actor is.
    """

    def __init__(self, name: str, hub: RayHub, cluster: Cluster) -> None:
        self.name, self._hub, self._cluster = name, hub, cluster
        self.title = name.replace("_", " ")
        self.starts = 0
        self.last_output = ""
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether it was started and is not buried yet."""
        return self._thread is not None

    @property
    def output(self) -> int:
        """The end of a pipe that can be read when events have arrived."""
        return self._bell[0]

    def start(self, job: ProcessJob, local: bytes) -> None:
        """Begin a life; ``local`` is the pickled function that makes environments, or empty."""
        self.starts += 1
        self.last_output, self._how, self._update = "", "ended", 0
        self._stopping, self._halting = threading.Event(), threading.Event()
        self._events: deque[dict[str, Any]] = deque()
        self._bell = os.pipe()
        self._thread = threading.Thread(
            target=self._live, args=(job, local), name=self.name, daemon=True
        )
        self._thread.start()

    def tell(self, word: str) -> None:
        """Send it one word, if it lives."""
        if self._thread is not None and word in (STOP, HALT):
            self._stopping.set()
            if word == HALT:
                self._halting.set()

    def events(self) -> list[dict[str, Any]]:
        """Return the events that have arrived, without waiting for any."""
        found = [self._events.popleft() for _ in range(len(self._events))]
        for _ in found:
            os.read(self._bell[0], 1)
        return found

    def ended(self) -> bool:
        """Whether this life has ended."""
        return self._thread is None or not self._thread.is_alive()

    def reap(self) -> str:
        """Close what was left of it; return how it ended."""
        assert self._thread is not None
        self._thread.join()
        self._thread = None
        for end in self._bell:
            os.close(end)
        return self._how

    def end(self, deadline: float) -> None:
        """Wait for its end; at the deadline, in monotonic seconds, force it."""
        if self._thread is None:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._halting.set()
        self.reap()

    def _live(self, job: ProcessJob, local: bytes) -> None:
        try:
            self._collect(job, local)
        except HaltedError:
            pass
        except LostActorError as error:
            self._how = "was lost"
            self._say("crash", text=f"{error}\n")
        except AmagoError as error:
            self._say("mistake", **error_to_event(error))
        except BaseException:
            self._how = "ended with an error"
            self._say("crash", text=traceback.format_exc())

    def _collect(self, job: ProcessJob, local: bytes) -> None:
        before, buffer = self._hub.open(self.name)
        actor = self._cluster.collector(job, local)
        try:
            version = self._hub.version()
            report = actor.ask("begin", version.weights, before, check=self._waiting())
            self._take(report, buffer)
            while not self._stopping.is_set():
                if not self._hub.may_collect():
                    buffer.flush(self._update)  # Whatever the learner may be waiting for.
                    self._stopping.wait(_POLL_SECONDS)
                    continue
                newest = self._hub.version()
                weights = None if newest is version else newest.weights
                self._take(actor.ask("collect_chunk", weights, check=self._check), buffer)
                version = newest
            actor.ask("close", check=self._check)
        finally:
            try:
                buffer.flush(self._update)
            finally:
                actor.kill()

    def _take(self, report: Report, buffer: ShardBuffer) -> None:
        """Store what has ended, and only then say what was done: what is not said is done again."""
        self._update = report.update
        for trajectory in report.trajectories:
            buffer.append(trajectory)
        for text in report.notes:
            self._say("note", text=f"{self.title}: {text}")
        if report.progress is not None:
            buffer.advance(report.progress.steps, report.update)
            self._hub.tell(self.name, report.progress)
        if report.mistake is not None:
            raise error_from_event(report.mistake)

    def _check(self) -> None:
        if self._halting.is_set():
            raise HaltedError

    def _waiting(self) -> Callable[[], None]:
        """Return what is checked until the collector has begun, for which there may be no CPU yet."""
        late = time.monotonic() + _SLOW_START

        def check() -> None:
            nonlocal late
            if self._stopping.is_set():
                raise HaltedError
            if time.monotonic() > late:
                late = float("inf")
                self._say(
                    "note",
                    text=f"the {self.title} has not begun after {_SLOW_START:g} s; perhaps no CPU of "
                    "the Ray cluster is free (`ray status` shows them)",
                )

        return check

    def _say(self, event: str, **fields: Any) -> None:
        self._events.append({"event": event, **fields})
        os.write(self._bell[1], b".")


class WeightVersion(NamedTuple):
    """Published weights in the cluster's object store.

    Args:
        number: Tells it from the ones before.
        weights: Refers to their bytes.
    """

    number: int
    weights: Any


class RayHub:
    """Progress and weights, shared by the threads that collectors have here.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        cluster: Holds the weights: one copy of each version, however many collectors there are.
    """

    def __init__(self, spec: RunSpec, folder: RunDir, cluster: Cluster) -> None:
        self._replay, self._shared = folder.replay, SharedFiles(folder.shared_files)
        self._limiter, self._cluster = RateLimiter.of(spec), cluster
        self._published = PublishedWeights(self._shared)
        self._lock = threading.Lock()
        self._known: dict[str, CollectorProgress] = {}
        self._version = WeightVersion(0, None)

    def open(self, name: str) -> tuple[CollectorProgress | None, ShardBuffer]:
        """Return what a collector has done in its lives before, and where its trajectories go."""
        with self._lock:
            if not self._known:  # Those of an earlier training are here before the first one begins.
                self._known = self._shared.collectors()
            before = self._known.get(name)
        return before, ShardBuffer(self._replay, name, self._limiter, before.steps if before else 0)

    def tell(self, name: str, collected: CollectorProgress) -> None:
        """Replace what is known of a collector; to be called once that is stored."""
        with self._lock:
            self._known[name] = collected
        self._shared.write_progress(name, collected)

    def may_collect(self) -> bool:
        """Whether collectors may take their next chunk of steps."""
        with self._lock:
            steps = sum(each.steps for each in self._known.values())
        return self._limiter.may_collect(self._shared.learned(), self._limiter.collected(steps))

    def version(self) -> WeightVersion:
        """Return the weights that were published last."""
        with self._lock:
            news = self._published.news()
            if news is not None:
                # An array, because Ray puts arrays into its store without pickling them.
                weights = self._cluster.put(np.frombuffer(news, np.uint8))
                self._version = WeightVersion(self._version.number + 1, weights)
            return self._version
