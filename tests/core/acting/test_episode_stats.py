"""How trajectories went, as the metrics of a round."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amago_core.acting.episode_stats import EpisodeStats, episode_metrics


class Fact(NamedTuple):
    """What a replay knows of a trajectory that another process stored."""

    total: float
    length: int
    success: float | None = None
    task: str = ""


def test_metrics_are_means_over_the_trajectories_that_know_the_number() -> None:
    facts = [Fact(1, 4, 1.0), Fact(2, 6), Fact(6, 5, 0.5)]
    assert episode_metrics(facts) == {"return": 3, "success": 0.75, "length": 5}


def test_where_nothing_ended_nothing_is_known() -> None:
    assert episode_metrics([]) == {"return": None, "success": None, "length": None}


def test_tasks_with_names_have_metrics_of_their_own_beside_those_of_all() -> None:
    facts = [Fact(1, 4, task="maze"), Fact(5, 2, 0.0, "bandit"), Fact(3, 8, task="maze")]
    assert list(episode_metrics(facts).items()) == [
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


def test_what_the_collector_saw_and_what_the_replay_knows_give_the_same_metrics() -> None:
    seen = EpisodeStats(7, 4, 2.5, np.array([1.0, 0.0]), np.array([2.0, 0.5]), "maze")
    assert episode_metrics([seen]) == episode_metrics([Fact(2.5, 4, 0.5, "maze")])
    silent = EpisodeStats(7, 4, 2.5, np.array([]), np.array([]), "maze")
    assert episode_metrics([silent]) == episode_metrics([Fact(2.5, 4, None, "maze")])
