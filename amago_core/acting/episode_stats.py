"""Episode statistics: length, return and success of each episode, and the metrics of a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class EpisodeLike(Protocol):
    """Return, length, success and task of a finished episode: what :func:`episode_metrics` reads."""

    @property
    def total(self) -> float:
        """Sum of the rewards."""

    @property
    def length(self) -> int:
        """Steps."""

    @property
    def success(self) -> float | None:
        """Mean over the attempts; None if the environment reports no success."""

    @property
    def task(self) -> str:
        """Name of the task, where the environment has several; else empty."""


@dataclass(frozen=True)
class EpisodeStats:
    """Statistics of one finished episode, also attempt by attempt.

    Args:
        seed: Seed of its task; 0 if not known.
        length: Steps.
        total: Sum of the rewards.
        successes: Success of each attempt, or of the whole task; empty if the environment reports none.
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
        """Mean over the attempts; None if the environment reports no success."""
        return float(self.successes.mean()) if len(self.successes) else None


def episode_metrics(episodes: Sequence[EpisodeLike]) -> dict[str, float | None]:
    """Return mean return, success and length over episodes; None for the mean of nothing.

    Returns:
        ``return``, ``success`` and ``length``; for each task that has a name, in the order of the
        names, the same over its own episodes, such as ``return/t-maze``.
    """
    metrics = _means(episodes, "")
    for task, of_task in by_task(episodes).items():
        metrics |= _means(of_task, f"/{task}")
    return metrics


def by_task(episodes: Sequence[EpisodeLike]) -> dict[str, list[EpisodeLike]]:
    """Return the episodes of each task that has a name, sorted by name."""
    names = sorted({episode.task for episode in episodes} - {""})
    return {name: [episode for episode in episodes if episode.task == name] for name in names}


def mean_success(episodes: Sequence[EpisodeLike]) -> float | None:
    """Return the mean success over the episodes that report one; None if none does."""
    return _mean([episode.success for episode in episodes if episode.success is not None])


def _means(episodes: Sequence[EpisodeLike], suffix: str) -> dict[str, float | None]:
    return {
        f"return{suffix}": _mean([episode.total for episode in episodes]),
        f"success{suffix}": mean_success(episodes),
        f"length{suffix}": _mean([episode.length for episode in episodes]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


_FIELDS = ("ended", "return", "length", "judged", "success")

EpisodeSums = dict[str, dict[str, float]]
"""By task (empty: all tasks): number of episodes, sums of return and length, and the number and sum of
the successes that were reported."""


class EpisodeTotals:
    """Running sums over episodes, from which the metrics of a round are computed.

    Args:
        totals: Sums to start from; None for zeros.
    """

    def __init__(self, totals: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self.totals: EpisodeSums = {
            task: {name: float(sums[name]) for name in _FIELDS} for task, sums in (totals or {}).items()
        }

    def add(self, episode: EpisodeLike) -> None:
        """Add one episode."""
        judged = episode.success is not None
        one = {
            "ended": 1.0,
            "return": float(episode.total),
            "length": float(episode.length),
            "judged": float(judged),
            "success": float(episode.success or 0.0),
        }
        for task in {"", episode.task}:
            self._add(task, one)

    def merge(self, other: EpisodeTotals) -> None:
        """Add the sums of other totals."""
        for task, sums in other.totals.items():
            self._add(task, sums)

    def since(self, before: EpisodeTotals) -> EpisodeTotals:
        """Return the sums of the episodes that were added after an earlier state of these totals."""
        zeros = dict.fromkeys(_FIELDS, 0.0)
        return EpisodeTotals(
            {
                task: {name: sums[name] - before.totals.get(task, zeros)[name] for name in _FIELDS}
                for task, sums in self.totals.items()
            }
        )

    def metrics(self) -> dict[str, float | None]:
        """Return what :func:`episode_metrics` returns for the same episodes."""
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
        own = self.totals.setdefault(task, dict.fromkeys(_FIELDS, 0.0))
        for name in _FIELDS:
            own[name] += sums[name]
