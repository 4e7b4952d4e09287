"""The result of an evaluation: returns, success and adaptation, by attempt and by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amago_core.acting.episode_stats import EpisodeLike, EpisodeStats, by_task, mean_success


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


def summarize(outcomes: Sequence[EpisodeStats]) -> Evaluation:
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


def _result(name: str, outcomes: Sequence[EpisodeLike]) -> TaskResult:
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


def _by_attempt(outcomes: Sequence[EpisodeStats]) -> tuple[Attempt, ...]:
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
