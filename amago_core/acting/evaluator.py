"""The evaluator: measures an agent on a fixed sequence of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from amago_core.acting.agent import Agent
from amago_core.acting.collector import Collector
from amago_core.acting.episode_stats import EpisodeStats
from amago_core.acting.evaluation_result import summarize
from amago_core.acting.recorder import SegmentLengths
from amago_core.acting.task import Task
from amago_core.acting.task_seeds import TaskSeeds
from amago_core.environments import EnvironmentFault, VectorEnvironments, make_environments

if TYPE_CHECKING:
    from amago_core.acting.evaluation_result import Evaluation


EVALUATION_STREAM = 1
"""Seed stream of the tasks of evaluations during training."""

FRESH_STREAM = 2
"""Seed stream of the tasks of evaluations after training, which training never evaluated on."""

MAX_TASK_STEPS = 100_000
"""Steps after which a task without a known horizon is treated as endless."""

_CHUNK = 16

_SEGMENT_LENGTH = 1024


class Evaluator:
    """Runs an agent on the first tasks of a seed stream, one episode each; the same at every call.

    Args:
        task: The environment to evaluate on.
        episodes: Number of tasks.
        environments: Largest number of environments that are stepped together.
        sample: Draw from the policy instead of taking its mode.
        seed: Seed of the run.
        stream: Seed stream of the tasks: ``EVALUATION_STREAM`` in training, ``FRESH_STREAM`` after it.
        step_limit: Steps after which a trajectory is cut and counted as it stands; None waits for the
            end of every one.
        make_many: Makes a given number of environments that are stepped together. If it is None, or if
            their seeds do not determine the tasks, environments are stepped one by one in this process.
        max_restarts: How often crashed environments are restarted, over all calls; the interrupted
            tasks begin again.
        note: Notifies the user with one sentence.
    """

    def __init__(
        self,
        task: Task,
        *,
        episodes: int,
        environments: int,
        sample: bool,
        seed: int,
        stream: int = EVALUATION_STREAM,
        step_limit: int | None = None,
        make_many: Callable[[int], VectorEnvironments] | None = None,
        max_restarts: int = 0,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.task, self.episodes, self._step_limit = task, episodes, step_limit
        self._sample, self._seed, self._stream = sample, seed, stream
        self._restarts_left, self._note = max_restarts, note
        count = min(environments, episodes)
        self._vector = _sync_environments(task, count) if make_many is None else make_many(count)
        if not _has_seeded_tasks(self._vector):
            self._vector.close()
            self._vector = _sync_environments(task, count)

    def __call__(self, agent: Agent) -> Evaluation:
        """Evaluate the agent; weights and global random state stay unchanged.

        Raises:
            EnvironmentFault: If a task does not end and there is no ``step_limit``.
            EnvironmentCrashed: If environments crash more often than ``max_restarts``.
        """
        collector = Collector(
            agent,
            self._vector,
            self.task.name,
            TaskSeeds(self._seed, self._stream, np.zeros(self._vector.count, np.int64)),
            sample=self._sample,
            step_limit=self._step_limit,
            # Segments are discarded: they only bound the memory of long tasks.
            segments=SegmentLengths(_SEGMENT_LENGTH, 0.0, np.random.default_rng(0)),
            max_restarts=self._restarts_left,
            repeats=True,
            records=False,
            note=self._note,
        )
        try:
            with torch.random.fork_rng():
                torch.manual_seed(self._seed)
                return summarize(self._first_episodes(collector))
        finally:
            self._restarts_left -= collector.restarts

    def _first_episodes(self, collector: Collector) -> list[EpisodeStats]:
        # Later tasks only fill environments that would idle; counting them would favour short ones.
        wanted = {collector.tasks.seed_of(number) for number in range(self.episodes)}
        max_steps = max(self._step_limit or self.task.horizon or 0, MAX_TASK_STEPS)
        episodes: list[EpisodeStats] = []
        collector.start()
        while wanted - {episode.seed for episode in episodes}:
            collector.run(_CHUNK, None, episodes)
            if collector.recorder.time_B.max() > max_steps:
                raise EnvironmentFault(
                    f"environment {self.task.name}: a task has not ended after {max_steps} steps of an "
                    "evaluation. Set evaluation.step_limit=<steps> to cut trajectories there, or give "
                    "the environment a time limit."
                )
        return [episode for episode in episodes if episode.seed in wanted]

    def close(self) -> None:
        """Close the environments."""
        self._vector.close()


def _has_seeded_tasks(environments: VectorEnvironments) -> bool:
    if not environments.reproducible:  # Then ``seeded`` is known only after the first reset.
        environments.reset(range(environments.count))
    return environments.seeded


def _sync_environments(task: Task, count: int) -> VectorEnvironments:
    assert task.make is not None, "an evaluation needs an environment"
    return make_environments(task.make, task.name, count)
