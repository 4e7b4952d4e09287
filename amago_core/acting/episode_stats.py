"""How trajectories went, one by one and as the metrics of a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class EpisodeLike(Protocol):
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
class EpisodeStats:
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


def episode_metrics(outcomes: Sequence[EpisodeLike]) -> dict[str, float | None]:
    """Return means over trajectories; None where there is nothing to take the mean of.

    Returns:
        ``return``, ``success`` and ``length``; for each task that has a name, in the order of the
        names, the same of its own trajectories, such as ``return/t-maze``.
    """
    metrics = _means(outcomes, "")
    for task, own in by_task(outcomes).items():
        metrics |= _means(own, f"/{task}")
    return metrics


def by_task(outcomes: Sequence[EpisodeLike]) -> dict[str, list[EpisodeLike]]:
    """Return the trajectories of each task that has a name, in the order of the names."""
    names = sorted({outcome.task for outcome in outcomes} - {""})
    return {name: [outcome for outcome in outcomes if outcome.task == name] for name in names}


def mean_success(outcomes: Sequence[EpisodeLike]) -> float | None:
    """Return the mean over the trajectories that say something of success; None if none does."""
    return _mean([outcome.success for outcome in outcomes if outcome.success is not None])


def _means(outcomes: Sequence[EpisodeLike], suffix: str) -> dict[str, float | None]:
    return {
        f"return{suffix}": _mean([outcome.total for outcome in outcomes]),
        f"success{suffix}": mean_success(outcomes),
        f"length{suffix}": _mean([outcome.length for outcome in outcomes]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


_FIELDS = ("ended", "return", "length", "judged", "success")

EpisodeSums = dict[str, dict[str, float]]
"""By task (empty: of all tasks together): trajectories that ended, sums of return and length, and of
those that said something of success their number and sum."""


class EpisodeTotals:
    """Adds up outcomes.

    Args:
        totals: What was added up before.
    """

    def __init__(self, totals: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self.totals: EpisodeSums = {
            task: {name: float(sums[name]) for name in _FIELDS} for task, sums in (totals or {}).items()
        }

    def add(self, outcome: EpisodeLike) -> None:
        """Count one trajectory."""
        judged = outcome.success is not None
        one = {
            "ended": 1.0,
            "return": float(outcome.total),
            "length": float(outcome.length),
            "judged": float(judged),
            "success": float(outcome.success or 0.0),
        }
        for task in {"", outcome.task}:
            self._add(task, one)

    def merge(self, other: EpisodeTotals) -> None:
        """Count all that another tally has counted."""
        for task, sums in other.totals.items():
            self._add(task, sums)

    def since(self, before: EpisodeTotals) -> EpisodeTotals:
        """Return what was counted after an earlier state of this tally."""
        nothing = dict.fromkeys(_FIELDS, 0.0)
        return EpisodeTotals(
            {
                task: {name: sums[name] - before.totals.get(task, nothing)[name] for name in _FIELDS}
                for task, sums in self.totals.items()
            }
        )

    def metrics(self) -> dict[str, float | None]:
        """Return what :func:`episode_metrics` returns for the same trajectories."""
        metrics: dict[str, float | None] = {"return": None, "success": None, "length": None}
        for task, sums in sorted(self.totals.items()):
            if sums["ended"]:
                suffix = f"/{task}" if task else ""
                metrics[f"return{suffix}"] = sums["return"] / sums["ended"]
                judged = sums["judged"]
                metrics[f"success{suffix}"] = sums["success"] / judged if judged else None
                metrics[f"length{suffix}"] = sums["length"] / sums["ended"]
        return metrics

    def _add(self, task: str, sums: Mapping[str, float]) -> None:
        mine = self.totals.setdefault(task, dict.fromkeys(_FIELDS, 0.0))
        for name in _FIELDS:
            mine[name] += sums[name]
