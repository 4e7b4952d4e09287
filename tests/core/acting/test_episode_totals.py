"""Running sums of episode statistics."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_core.acting.episode_stats import EpisodeTotals, episode_metrics


@dataclass(frozen=True)
class Finished:
    total: float
    length: int
    success: float | None = None
    task: str = ""


EPISODES = st.lists(
    st.builds(
        Finished,
        total=st.floats(-100, 100),
        length=st.integers(1, 500),
        success=st.none() | st.floats(0, 1),
        task=st.sampled_from(["", "maze", "bandit"]),
    ),
    max_size=20,
)


def totals(episodes: list[Finished]) -> EpisodeTotals:
    counted = EpisodeTotals()
    for episode in episodes:
        counted.add(episode)
    return counted


def test_metrics_are_means_over_all_episodes_and_over_each_task() -> None:
    episodes = [
        Finished(1.0, 10, 1.0, "maze"),
        Finished(2.0, 20, 0.0, "maze"),
        Finished(6.0, 30, None, "bandit"),
    ]
    assert totals(episodes).metrics() == {
        "return": 3.0, "success": 0.5, "length": 20.0,
        "return/bandit": 6.0, "success/bandit": None, "length/bandit": 30.0,
        "return/maze": 1.5, "success/maze": 0.5, "length/maze": 15.0,
    }  # fmt: skip


def test_totals_of_no_episode_have_no_means() -> None:
    assert EpisodeTotals().metrics() == {"return": None, "success": None, "length": None}


@given(EPISODES, EPISODES)
def test_the_difference_of_totals_always_has_the_metrics_of_the_later_episodes(
    earlier: list[Finished], later: list[Finished]
) -> None:
    before, after = totals(earlier), totals(earlier)
    after.merge(totals(later))
    stored = EpisodeTotals(json.loads(json.dumps(before.totals)))  # As a file stores them.
    found, wanted = after.since(stored).metrics(), episode_metrics(later)
    assert found == {key: pytest.approx(value, abs=1e-9) for key, value in wanted.items()}
