"""A collector process: acts with the weights that are published, and writes what it saw."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from amago_core.acting.episode_stats import EpisodeTotals
from amago_core.acting.task import Task
from amago_core.acting.task_seeds import TaskSeeds
from amago_core.compose.build import compose_exploration
from amago_core.compose.collector import make_collector
from amago_core.compose.networks import compose_agent, device_of
from amago_core.compose.tasks import compose_task
from amago_core.run_folder.lock import join_run
from amago_core.run_folder.run_dir import RunDir
from amago_core.running.processes.rate_limit import LONGEST_CHUNK, RateLimiter
from amago_core.running.processes.shard_writer import ShardBuffer
from amago_core.running.processes.shared_files import CollectorProgress, SharedFiles, WeightFollower
from amago_core.spec import RunSpec, load_spec

if TYPE_CHECKING:
    from amago_core.acting.collector import Sink
    from amago_core.acting.episode_stats import EpisodeStats
    from amago_core.running.processes.messages import CommandPipe, EventPipe


COLLECTOR_STREAMS = 1000
"""Task streams of collectors begin here; those below are evaluation's and interleaved training's."""

_POLL_SECONDS = 0.005


def run_collector(commands: CommandPipe, events: EventPipe) -> None:
    """Collect until told to stop."""
    job = commands.job
    torch.set_num_threads(1)
    spec = load_spec(job.spec, local_environment=True)
    folder = RunDir(Path(job.folder))
    join_run(folder)
    task = compose_task(spec.environment, spec.seed, commands.environment())

    def note(text: str) -> None:
        events.send("note", text=f"{job.name.replace('_', ' ')}: {text}")

    process = CollectorProcess(spec, folder, task, job.number, note)
    try:
        while not commands.stopping:
            commands.check()
            if not process.collect_chunk():
                time.sleep(_POLL_SECONDS)
    finally:
        process.close()


class CollectorLife:
    """One life of a collector, wherever it runs.

    What it knows outlives it, as its `progress`. A new life goes on with those counters; what was under
    way is lost, and counted.

    Args:
        spec: The resolved spec.
        task: Where to act.
        number: Which collector it is.
        before: What it did in its lives before; None if this is the first.
        note: Shows one sentence to the user.

    Attributes:
        agent: Acts; its weights are for others to replace.
    """

    def __init__(
        self,
        spec: RunSpec,
        task: Task,
        number: int,
        before: CollectorProgress | None,
        note: Callable[[str], None],
    ) -> None:
        self.limiter = RateLimiter.of(spec)
        known = self._known = before or CollectorProgress()
        known.dropped += known.started
        known.life += 1
        seeds = [spec.seed, COLLECTOR_STREAMS + number, known.life]
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        self.agent = compose_agent(spec.agent, task).to(device_of(spec))
        count = spec.collector.environments
        # Tasks that began after the last time it was said how many: never to be begun again, whatever
        # the limiter was then.
        begun = known.begun + (LONGEST_CHUNK + 1) * count * (known.life > 1)
        tasks = TaskSeeds(spec.seed, COLLECTOR_STREAMS + number, np.zeros(count, np.int64), begun)
        exploration = compose_exploration(spec, task)
        self.collector = make_collector(spec, task, self.agent, exploration, tasks, seeds, note)
        self.collector.steps = known.steps
        self._tally = EpisodeTotals(known.totals)
        self._cpu_before = known.cpu_seconds
        self._dropped_before, self._restarts_before = known.dropped, known.restarts

    def collect_chunk(self, sink: Sink) -> None:
        """Take the next chunk of steps."""
        outcomes: list[EpisodeStats] = []
        self.collector.run(self.limiter.chunk, sink, outcomes)
        for outcome in outcomes:
            self._tally.add(outcome)

    def progress(self) -> CollectorProgress:
        """Return what the collector has done in all of its lives."""
        known, collector = self._known, self.collector
        known.pid, known.steps, known.begun = os.getpid(), collector.steps, collector.tasks.begun
        known.cpu_seconds = self._cpu_before + time.process_time()
        known.totals = self._tally.totals
        known.started = collector.started
        known.dropped = self._dropped_before + collector.dropped
        known.restarts = self._restarts_before + collector.restarts
        return known


class CollectorProcess:
    """A collector that meets the learner in the run's folder.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        task: Where to act.
        number: Which collector it is.
        note: Shows one sentence to the user.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunDir,
        task: Task,
        number: int,
        note: Callable[[str], None],
    ) -> None:
        self.name = f"collector_{number}"
        self.shared = SharedFiles(folder.shared_files)
        self._life = CollectorLife(spec, task, number, self.shared.collector(self.name), note)
        self.limiter, self.collector = self._life.limiter, self._life.collector
        self._follower = WeightFollower(self.shared, self._life.agent)
        self._follower.follow()
        self._buffer = ShardBuffer(folder.replay, self.name, self.limiter, self.collector.steps)
        self.collector.start()
        self._tell()

    def collect_chunk(self) -> bool:
        """Take the next chunk of steps; return False if the learner is too far behind for it."""
        known = self.shared.collectors()
        collected = self.limiter.collected(sum(each.steps for each in known.values()))
        if not self.limiter.may_collect(self.shared.learned(), collected):
            if self._buffer.waiting:  # Perhaps what the learner is waiting for.
                self._buffer.flush(self._follower.update)
                self._tell()
            return False
        self._follower.follow()
        self._life.collect_chunk(self._buffer.append)
        self._buffer.advance(self.collector.steps, self._follower.update)
        self._tell()
        return True

    def _tell(self) -> None:
        """Say what was done; only after it is stored, for what is not said is done again."""
        known = self._life.progress()
        known.started += self._buffer.waiting
        self.shared.write_progress(self.name, known)

    def close(self) -> None:
        """Store what is finished and close the environments."""
        try:
            self._buffer.flush(self._follower.update)
            self._tell()
        finally:
            self.collector.environments.close()
