"""How good an agent is: by task, and by attempt within a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from amago_core.agent import Agent
from amago_core.collector import Collector, Tasks
from amago_core.compose import Task
from amago_core.environments import EnvironmentFault, Environments, make_environments
from amago_core.outcomes import Ended, Outcome, by_task, mean_success
from amago_core.recording import Pieces

EVALUATION_STREAM = 1
FRESH_STREAM = 2
PATIENCE = 100_000
"""Steps after which a task that says nothing of its length is taken to be endless."""
_CHUNK = 16
_ROWS = 1024


@dataclass(frozen=True)
class Attempt:
    """One attempt, over all tasks that came to it.

    Args:
        tasks: How many did.
        success: Mean outcome.
        total: Mean return of the attempt.
        standard_error: Of the mean return.
    """

    tasks: int
    success: float
    total: float
    standard_error: float


@dataclass(frozen=True)
class TaskResult:
    """Result on one of several tasks.

    Args:
        name: Of the task.
        episodes: Trajectories of it.
        mean_return: Mean sum of rewards.
        standard_error: Of the mean return.
        success: Mean success; None where the environment says nothing of it.
        length: Mean steps.
    """

    name: str
    episodes: int
    mean_return: float
    standard_error: float
    success: float | None
    length: float


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Args:
        episodes: Trajectories, each of a task of its own.
        mean_return: Mean sum of rewards.
        standard_error: Of the mean return.
        success: Mean success; None where the environment says nothing of it.
        length: Mean steps.
        attempts: Outcome by attempt, first to last; empty for tasks without attempts.
        tasks: Results by the names of tasks, in their order; empty where tasks have no names.
    """

    episodes: int
    mean_return: float
    standard_error: float
    success: float | None
    length: float
    attempts: tuple[Attempt, ...]
    tasks: tuple[TaskResult, ...] = ()

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Evaluation:
        """Return what ``dataclasses.asdict`` and JSON have made of an evaluation.

        Raises:
            KeyError: If a list is missing.
            TypeError: If it is not of that form.
        """
        attempts = tuple(Attempt(**attempt) for attempt in stored["attempts"])
        tasks = tuple(TaskResult(**task) for task in stored["tasks"])
        return cls(**{**stored, "attempts": attempts, "tasks": tasks})

    @property
    def shared_attempts(self) -> tuple[Attempt, ...]:
        """Attempts that nine in ten of the tasks with attempts came to, not only the quick ones."""
        return tuple(each for each in self.attempts if each.tasks >= 0.9 * self.attempts[0].tasks)

    @property
    def adaptation(self) -> tuple[float, float] | None:
        """Mean return of the first and of the last tenth of the shared attempts, if there are two."""
        totals = np.array([attempt.total for attempt in self.shared_attempts])
        if len(totals) < 2:
            return None
        tenth = max(1, len(totals) // 10)
        return float(totals[:tenth].mean()), float(totals[-tenth:].mean())


def summarize(outcomes: Sequence[Outcome]) -> Evaluation:
    """Return the result of one trajectory per task."""
    whole = _result("", outcomes)
    return Evaluation(
        episodes=whole.episodes,
        mean_return=whole.mean_return,
        standard_error=whole.standard_error,
        success=whole.success,
        length=whole.length,
        attempts=_by_attempt(outcomes),
        tasks=tuple(_result(name, own) for name, own in by_task(outcomes).items()),
    )


def _result(name: str, outcomes: Sequence[Ended]) -> TaskResult:
    totals = np.array([outcome.total for outcome in outcomes])
    return TaskResult(
        name=name,
        episodes=len(outcomes),
        mean_return=float(totals.mean()),
        standard_error=standard_error(totals),
        success=mean_success(outcomes),
        length=float(np.mean([outcome.length for outcome in outcomes])),
    )


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean; 0 for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _by_attempt(outcomes: Sequence[Outcome]) -> tuple[Attempt, ...]:
    most = max(len(outcome.successes) for outcome in outcomes)
    if most < 2:
        return ()
    attempts = []
    for number in range(most):
        reached = [outcome for outcome in outcomes if len(outcome.successes) > number]
        success = np.mean([outcome.successes[number] for outcome in reached])
        totals = np.array([outcome.attempt_returns[number] for outcome in reached])
        attempt = Attempt(len(reached), float(success), float(totals.mean()), standard_error(totals))
        attempts.append(attempt)
    return tuple(attempts)


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
        make_many: Callable[[int], Environments] | None = None,
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
            Tasks(self._seed, self._stream, np.zeros(self._vector.count, np.int64)),
            sample=self._sample,
            step_limit=self._step_limit,
            # Nobody gets them; without, the rows of long tasks would fill the memory.
            pieces=Pieces(_ROWS, 0.0, np.random.default_rng(0)),
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

    def _first_outcomes(self, collector: Collector) -> list[Outcome]:
        # Later tasks only fill environments that would idle; counting them would favour short ones.
        wanted = {collector.tasks.seed_of(number) for number in range(self.episodes)}
        patience = max(self._step_limit or self.task.horizon or 0, PATIENCE)
        outcomes: list[Outcome] = []
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


def _begins_as_seeded(environments: Environments) -> bool:
    if not environments.reproducible:  # Then it is known after the first reset.
        environments.reset(range(environments.count))
    return environments.seeded


def _in_this_process(task: Task, count: int) -> Environments:
    assert task.make is not None, "there is nothing to act in"
    return make_environments(task.make, task.name, count)
