"""Episode statistics as the metrics of a round."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amago_core.acting.episode_stats import EpisodeStats, episode_metrics


class Finished(NamedTuple):
    """The least that metrics need of an episode."""

    total: float
    length: int
    success: float | None = None
    task: str = ""


def test_metrics_are_means_over_the_episodes_that_have_the_value() -> None:
    episodes = [Finished(1, 4, 1.0), Finished(2, 6), Finished(6, 5, 0.5)]
    assert episode_metrics(episodes) == {"return": 3, "success": 0.75, "length": 5}


def test_metrics_without_episodes_are_none() -> None:
    assert episode_metrics([]) == {"return": None, "success": None, "length": None}


def test_named_tasks_have_their_own_metrics_beside_the_overall_ones() -> None:
    episodes = [Finished(1, 4, task="maze"), Finished(5, 2, 0.0, "bandit"), Finished(3, 8, task="maze")]
    assert list(episode_metrics(episodes).items()) == [
        ("return", 3),
        ("success", 0),
        ("length", 14 / 3),
        ("return/bandit", 5),
        ("success/bandit", 0),
        ("length/bandit", 2),
        ("return/maze", 2),
        ("success/maze", None),
        ("length/maze", 6),
    ]


def test_any_episode_like_object_gives_the_metrics_of_episode_stats() -> None:
    stats = EpisodeStats(7, 4, 2.5, np.array([1.0, 0.0]), np.array([2.0, 0.5]), "maze")
    assert episode_metrics([stats]) == episode_metrics([Finished(2.5, 4, 0.5, "maze")])
    without_success = EpisodeStats(7, 4, 2.5, np.array([]), np.array([]), "maze")
    assert episode_metrics([without_success]) == episode_metrics([Finished(2.5, 4, None, "maze")])
