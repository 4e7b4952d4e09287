"""How good an agent is: by task, and by attempt within a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from amago_core.agent import Agent
from amago_core.collector import Collector, Tasks
from amago_core.compose import Task
from amago_core.environments import EnvironmentFault, make_environments
from amago_core.recording import Outcome

EVALUATION_STREAM = 1
FRESH_STREAM = 2
PATIENCE = 100_000
"""Steps after which a task that says nothing of its length is taken to be endless."""
_CHUNK = 16


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
class Evaluation:
    """Result of an evaluation.

    Args:
        episodes: Tasks, one trajectory each.
        mean_return: Mean sum of rewards.
        standard_error: Of the mean return.
        success: Mean success; None where the environment says nothing of it.
        length: Mean steps.
        attempts: Outcome by attempt, first to last; empty for tasks without attempts.
    """

    episodes: int
    mean_return: float
    standard_error: float
    success: float | None
    length: float
    attempts: tuple[Attempt, ...]

    @property
    def adaptation(self) -> tuple[float, float] | None:
        """Mean return per attempt over the first and over the last tenth of the attempts."""
        if len(self.attempts) < 2:
            return None
        tenth = max(1, len(self.attempts) // 10)
        totals = np.array([attempt.total for attempt in self.attempts])
        return float(totals[:tenth].mean()), float(totals[-tenth:].mean())


def summarize(outcomes: Sequence[Outcome]) -> Evaluation:
    """Return the result of one trajectory per task."""
    totals = np.array([outcome.total for outcome in outcomes])
    successes = [outcome.success for outcome in outcomes if outcome.success is not None]
    return Evaluation(
        episodes=len(outcomes),
        mean_return=float(totals.mean()),
        standard_error=standard_error(totals),
        success=float(np.mean(successes)) if successes else None,
        length=float(np.mean([outcome.length for outcome in outcomes])),
        attempts=_by_attempt(outcomes),
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
    ) -> None:
        self.task, self.episodes, self._step_limit = task, episodes, step_limit
        self._sample, self._seed, self._stream = sample, seed, stream
        self._vector = make_environments(task.make, task.name, min(environments, episodes))

    def __call__(self, agent: Agent) -> Evaluation:
        """Evaluate; weights and global random state are left as they were.

        Raises:
            EnvironmentFault: If a task does not end and no ``step_limit`` says where to cut it.
        """
        collector = Collector(
            agent,
            self._vector,
            self.task.name,
            Tasks(self._seed, self._stream, np.zeros(self._vector.count, np.int64)),
            sample=self._sample,
            step_limit=self._step_limit,
        )
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            return summarize(self._first_outcomes(collector))

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
