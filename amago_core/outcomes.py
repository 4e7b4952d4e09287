"""How trajectories went, one by one and as the metrics of a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Ended(Protocol):
    """What is known of every trajectory that ended, also long after: see ``Replay.outcomes``."""

    @property
    def total(self) -> float:
        """Sum of the rewards."""

    @property
    def length(self) -> int:
        """Steps."""

    @property
    def success(self) -> float | None:
        """Mean over the attempts; None where the environment says nothing of success."""

    @property
    def task(self) -> str:
        """Name of the task, where the environment has several; else empty."""


@dataclass(frozen=True)
class Outcome:
    """How one trajectory went, attempt by attempt.

    Args:
        seed: What its task was drawn from; 0 where nobody knows.
        length: Steps.
        total: Sum of the rewards.
        successes: Outcome of each attempt, or of the whole task; empty where the environment says none.
        attempt_returns: Sum of the rewards of each attempt.
        task: Name of the task, where the environment has several; else empty.
    """

    seed: int
    length: int
    total: float
    successes: np.ndarray
    attempt_returns: np.ndarray
    task: str = ""

    @property
    def success(self) -> float | None:
        """Mean over the attempts; None where the environment says nothing of success."""
        return float(self.successes.mean()) if len(self.successes) else None


def outcome_metrics(outcomes: Sequence[Ended]) -> dict[str, float | None]:
    """Return means over trajectories; None where there is nothing to take the mean of.

    Returns:
        ``return``, ``success`` and ``length``; for each task that has a name, in the order of the
        names, the same of its own trajectories, such as ``return/t-maze``.
    """
    metrics = _means(outcomes, "")
    for task, own in by_task(outcomes).items():
        metrics |= _means(own, f"/{task}")
    return metrics


def by_task(outcomes: Sequence[Ended]) -> dict[str, list[Ended]]:
    """Return the trajectories of each task that has a name, in the order of the names."""
    names = sorted({outcome.task for outcome in outcomes} - {""})
    return {name: [outcome for outcome in outcomes if outcome.task == name] for name in names}


def mean_success(outcomes: Sequence[Ended]) -> float | None:
    """Return the mean over the trajectories that say something of success; None if none does."""
    return _mean([outcome.success for outcome in outcomes if outcome.success is not None])


def _means(outcomes: Sequence[Ended], suffix: str) -> dict[str, float | None]:
    return {
        f"return{suffix}": _mean([outcome.total for outcome in outcomes]),
        f"success{suffix}": mean_success(outcomes),
        f"length{suffix}": _mean([outcome.length for outcome in outcomes]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
