"""The collector process of an asynchronous run: acts with published weights, writes trajectories."""

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
from amago_core.compose.make_collector import make_collector
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
"""Collectors use task streams from here on; evaluation and interleaved training use lower ones."""

_POLL_SECONDS = 0.005


def run_collector(commands: CommandPipe, events: EventPipe) -> None:
    """Collect until a command to stop comes."""
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


class ResumableCollector:
    """A collector that resumes its counters after a restart, in a local process or a Ray actor.

    Its :meth:`progress` is stored elsewhere. A restart continues from that progress; trajectories that
    were unfinished or not yet stored are lost, and counted as dropped.

    Args:
        spec: The resolved spec.
        task: The environment to act in.
        number: Number of the collector.
        before: Its progress before the restart; None at the first start.
        note: Shows one sentence to the user.

    Attributes:
        agent: The agent that acts; its weights are replaced from outside.
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
        progress = self._progress = before or CollectorProgress()
        progress.dropped += progress.started
        progress.life += 1
        seeds = [spec.seed, COLLECTOR_STREAMS + number, progress.life]
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        self.agent = compose_agent(spec.agent, task).to(device_of(spec))
        count = spec.collector.environments
        # Skip the tasks that may have begun after the progress was last written: none is repeated,
        # whatever the rate limiter was then.
        begun = progress.begun + (LONGEST_CHUNK + 1) * count * (progress.life > 1)
        tasks = TaskSeeds(spec.seed, COLLECTOR_STREAMS + number, np.zeros(count, np.int64), begun)
        exploration = compose_exploration(spec, task)
        self.collector = make_collector(spec, task, self.agent, exploration, tasks, seeds, note)
        self.collector.steps = progress.steps
        self._totals = EpisodeTotals(progress.totals)
        self._cpu_before = progress.cpu_seconds
        self._dropped_before, self._restarts_before = progress.dropped, progress.restarts

    def collect_chunk(self, sink: Sink) -> None:
        """Take the next chunk of steps."""
        episodes: list[EpisodeStats] = []
        self.collector.run(self.limiter.chunk, sink, episodes)
        for episode in episodes:
            self._totals.add(episode)

    def progress(self) -> CollectorProgress:
        """Return the collector's progress since the run began, over all restarts."""
        progress, collector = self._progress, self.collector
        progress.pid, progress.steps = os.getpid(), collector.steps
        progress.begun, progress.started = collector.tasks.begun, collector.started
        progress.cpu_seconds = self._cpu_before + time.process_time()
        progress.totals = self._totals.totals
        progress.dropped = self._dropped_before + collector.dropped
        progress.restarts = self._restarts_before + collector.restarts
        return progress


class CollectorProcess:
    """A collector on the learner's machine; they communicate through files in the run's folder.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        task: The environment to act in.
        number: Number of the collector.
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
        self._shared_files = SharedFiles(folder.shared_files)
        self._resumable = ResumableCollector(
            spec, task, number, self._shared_files.read_progress(self.name), note
        )
        self.limiter, self.collector = self._resumable.limiter, self._resumable.collector
        self._follower = WeightFollower(self._shared_files, self._resumable.agent)
        self._follower.refresh()
        self._buffer = ShardBuffer(folder.replay, self.name, self.limiter, self.collector.steps)
        self.collector.start()
        self._write_progress()

    def collect_chunk(self) -> bool:
        """Take the next chunk of steps; return False if it must wait for the learner."""
        collectors = self._shared_files.read_all_progress().values()
        collected = self.limiter.rounds_collected(sum(each.steps for each in collectors))
        if not self.limiter.may_collect(self._shared_files.rounds_learned(), collected):
            if self._buffer.waiting:  # The learner may be waiting for these.
                self._buffer.flush(self._follower.update)
                self._write_progress()
            return False
        self._follower.refresh()
        self._resumable.collect_chunk(self._buffer.append)
        self._buffer.advance(self.collector.steps, self._follower.update)
        self._write_progress()
        return True

    def _write_progress(self) -> None:
        """Write the progress once trajectories are stored; unwritten steps are retaken on a restart."""
        progress = self._resumable.progress()
        progress.started += self._buffer.waiting
        self._shared_files.write_progress(self.name, progress)

    def close(self) -> None:
        """Store the trajectories that have ended, and close the environments."""
        try:
            self._buffer.flush(self._follower.update)
            self._write_progress()
        finally:
            self.collector.environments.close()
