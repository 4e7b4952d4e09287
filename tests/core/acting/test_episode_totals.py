"""Running totals of how trajectories went."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_core.acting.episode_stats import EpisodeTotals, episode_metrics


@dataclass(frozen=True)
class Trip:
    total: float
    length: int
    success: float | None = None
    task: str = ""


TRIPS = st.lists(
    st.builds(
        Trip,
        total=st.floats(-100, 100),
        length=st.integers(1, 500),
        success=st.none() | st.floats(0, 1),
        task=st.sampled_from(["", "maze", "bandit"]),
    ),
    max_size=20,
)


def tally(trips: list[Trip]) -> EpisodeTotals:
    counted = EpisodeTotals()
    for trip in trips:
        counted.add(trip)
    return counted


def test_means_are_of_all_and_of_each_task() -> None:
    trips = [Trip(1.0, 10, 1.0, "maze"), Trip(2.0, 20, 0.0, "maze"), Trip(6.0, 30, None, "bandit")]
    assert tally(trips).metrics() == {
        "return": 3.0, "success": 0.5, "length": 20.0,
        "return/bandit": 6.0, "success/bandit": None, "length/bandit": 30.0,
        "return/maze": 1.5, "success/maze": 0.5, "length/maze": 15.0,
    }  # fmt: skip


def test_of_nothing_there_are_no_means() -> None:
    assert EpisodeTotals().metrics() == {"return": None, "success": None, "length": None}


@given(TRIPS, TRIPS)
def test_what_came_since_is_always_what_the_outcomes_themselves_say(
    earlier: list[Trip], later: list[Trip]
) -> None:
    before, after = tally(earlier), tally(earlier)
    after.merge(tally(later))
    stored = EpisodeTotals(json.loads(json.dumps(before.totals)))  # As a file holds them in between.
    found, wanted = after.since(stored).metrics(), episode_metrics(later)
    assert found == {key: pytest.approx(value, abs=1e-9) for key, value in wanted.items()}
