"""How good an agent is: by task, and by attempt within a task."""

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

FRESH_STREAM = 2

MAX_TASK_STEPS = 100_000
"""Steps after which a task that says nothing of its length is taken to be endless."""

_CHUNK = 16

_ROWS = 1024


class Evaluator:
    """Runs an agent on the first tasks of a stream, one trajectory each; the same tasks at every call.

    Args:
        task: Where to act.
        episodes: Number of tasks.
        environments: Most environments side by side.
        sample: Draw from the policy instead of taking its mode.
        seed: Seed of the run.
        stream: Which tasks: ``EVALUATION_STREAM`` while training, ``FRESH_STREAM`` afterwards.
        step_limit: Steps after which a trajectory is cut and counted as it stands; None waits for the
            end of every one.
        make_many: Makes so many environments that are stepped together. Where seeds do not say which
            tasks they begin, or where it is None, environments are made and stepped one by one, in this
            process.
        max_restarts: How often lost environments are started anew, over all calls; their tasks are
            begun again.
        note: Shows one sentence to the user.
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
        self._restarts, self._note = max_restarts, note
        count = min(environments, episodes)
        self._vector = _in_this_process(task, count) if make_many is None else make_many(count)
        if not _begins_as_seeded(self._vector):
            self._vector.close()
            self._vector = _in_this_process(task, count)

    def __call__(self, agent: Agent) -> Evaluation:
        """Evaluate; weights and global random state are left as they were.

        Raises:
            EnvironmentFault: If a task does not end and no ``step_limit`` says where to cut it.
            EnvironmentLost: If environments are lost more often than ``max_restarts``.
        """
        collector = Collector(
            agent,
            self._vector,
            self.task.name,
            TaskSeeds(self._seed, self._stream, np.zeros(self._vector.count, np.int64)),
            sample=self._sample,
            step_limit=self._step_limit,
            # Nobody gets them; without, the rows of long tasks would fill the memory.
            pieces=SegmentLengths(_ROWS, 0.0, np.random.default_rng(0)),
            max_restarts=self._restarts,
            repeats=True,
            records=False,
            note=self._note,
        )
        try:
            with torch.random.fork_rng():
                torch.manual_seed(self._seed)
                return summarize(self._first_outcomes(collector))
        finally:
            self._restarts -= collector.restarts

    def _first_outcomes(self, collector: Collector) -> list[EpisodeStats]:
        # Later tasks only fill environments that would idle; counting them would favour short ones.
        wanted = {collector.tasks.seed_of(number) for number in range(self.episodes)}
        patience = max(self._step_limit or self.task.horizon or 0, MAX_TASK_STEPS)
        outcomes: list[EpisodeStats] = []
        collector.start()
        while wanted - {outcome.seed for outcome in outcomes}:
            collector.run(_CHUNK, None, outcomes)
            if collector.recorder.time_B.max() > patience:
                raise EnvironmentFault(
                    f"environment {self.task.name}: a task has not ended after {patience} steps of an "
                    "evaluation. Set evaluation.step_limit=<steps> to cut trajectories there, or give "
                    "the environment a time limit."
                )
        return [outcome for outcome in outcomes if outcome.seed in wanted]

    def close(self) -> None:
        """Close the environments."""
        self._vector.close()


def _begins_as_seeded(environments: VectorEnvironments) -> bool:
    if not environments.reproducible:  # Then it is known after the first reset.
        environments.reset(range(environments.count))
    return environments.seeded


def _in_this_process(task: Task, count: int) -> VectorEnvironments:
    assert task.make is not None, "there is nothing to act in"
    return make_environments(task.make, task.name, count)
