"""The result of an evaluation: returns, success and adaptation, by attempt and by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from amago_core.acting.episode_stats import EpisodeLike, EpisodeStats, by_task, mean_success


@dataclass(frozen=True)
class Attempt:
    """Mean result of one attempt, over all tasks that reached it.

    Args:
        tasks: Number of tasks that reached it.
        success: Mean success.
        total: Mean return of the attempt.
        standard_error: Of the mean return.
    """

    tasks: int
    success: float
    total: float
    standard_error: float


@dataclass(frozen=True)
class TaskResult:
    """Mean result on one of several named tasks.

    Args:
        name: Name of the task.
        episodes: Its episodes.
        mean_return: Mean sum of rewards.
        standard_error: Of the mean return.
        success: Mean success; None if the environment reports none.
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
    """Result of an evaluation: return, success and length, by attempt and by task.

    Args:
        episodes: Episodes, each of its own task.
        mean_return: Mean sum of rewards.
        standard_error: Of the mean return.
        success: Mean success; None if the environment reports none.
        length: Mean steps.
        attempts: Results by attempt, first to last; empty for tasks without attempts.
        tasks: Results by task, sorted by name; empty where tasks have no names.
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
        """Return an evaluation from its JSON form, the output of ``dataclasses.asdict``.

        Raises:
            KeyError: If a list is missing.
            TypeError: If the form is another.
        """
        attempts = tuple(Attempt(**attempt) for attempt in stored["attempts"])
        tasks = tuple(TaskResult(**task) for task in stored["tasks"])
        return cls(**{**stored, "attempts": attempts, "tasks": tasks})

    @property
    def shared_attempts(self) -> tuple[Attempt, ...]:
        """Attempts that at least 90 % of the tasks with attempts reached, not only the quick ones."""
        return tuple(each for each in self.attempts if each.tasks >= 0.9 * self.attempts[0].tasks)

    @property
    def adaptation(self) -> tuple[float, float] | None:
        """Mean return of the first and of the last tenth of the shared attempts, if there are two."""
        totals = np.array([attempt.total for attempt in self.shared_attempts])
        if len(totals) < 2:
            return None
        tenth = max(1, len(totals) // 10)
        return float(totals[:tenth].mean()), float(totals[-tenth:].mean())


def summarize(episodes: Sequence[EpisodeStats]) -> Evaluation:
    """Return the evaluation result of one episode per task."""
    overall = _result("", episodes)
    return Evaluation(
        episodes=overall.episodes,
        mean_return=overall.mean_return,
        standard_error=overall.standard_error,
        success=overall.success,
        length=overall.length,
        attempts=_by_attempt(episodes),
        tasks=tuple(_result(name, of_task) for name, of_task in by_task(episodes).items()),
    )


def _result(name: str, episodes: Sequence[EpisodeLike]) -> TaskResult:
    totals = np.array([episode.total for episode in episodes])
    return TaskResult(
        name=name,
        episodes=len(episodes),
        mean_return=float(totals.mean()),
        standard_error=standard_error(totals),
        success=mean_success(episodes),
        length=float(np.mean([episode.length for episode in episodes])),
    )


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean; 0 for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _by_attempt(episodes: Sequence[EpisodeStats]) -> tuple[Attempt, ...]:
    most = max(len(episode.successes) for episode in episodes)
    if most < 2:
        return ()
    attempts = []
    for number in range(most):
        reached = [episode for episode in episodes if len(episode.successes) > number]
        success = np.mean([episode.successes[number] for episode in reached])
        totals = np.array([episode.attempt_returns[number] for episode in reached])
        attempt = Attempt(len(reached), float(success), float(totals.mean()), standard_error(totals))
        attempts.append(attempt)
    return tuple(attempts)
