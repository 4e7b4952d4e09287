"""How far a learner and its collectors may get from each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_core.running.processes.rate_limit import RateLimiter

PACE = RateLimiter(steps_per_round=40, updates_per_round=10, collectors=2, slack=1.0)
PACES = st.builds(
    RateLimiter,
    steps_per_round=st.integers(1, 500),
    updates_per_round=st.integers(0, 500),
    collectors=st.integers(1, 16),
    slack=st.floats(0.001, 8),
)


def test_a_round_is_collected_once_the_collectors_together_took_its_steps() -> None:
    assert PACE.collected(40) == 1.0  # 20 steps of each environment of either collector.
    assert PACE.learned(3, 5) == 3.5


def test_each_side_waits_only_where_it_is_ahead_by_the_slack() -> None:
    assert PACE.may_update(1.9, 1.0)
    assert not PACE.may_update(2.0, 1.0)
    assert PACE.may_collect(1.0, 1.9)
    assert not PACE.may_collect(1.0, 2.0)


def test_with_nothing_stored_slots_pass_only_as_steps_are_taken() -> None:
    assert not PACE.may_pass(1.0, 1.09)
    assert PACE.may_pass(1.0, 1.1)
    impatient = RateLimiter(steps_per_round=40, updates_per_round=10, collectors=2, slack=0.05)
    assert impatient.may_pass(1.0, 1.05)


def test_a_round_without_updates_has_one_slot() -> None:
    none = RateLimiter(steps_per_round=40, updates_per_round=0, collectors=1, slack=1.0)
    assert (none.slots, none.learned(2, 1)) == (1, 3.0)


def test_looks_and_files_come_a_few_times_a_round() -> None:
    # A round is 20 steps of each environment of either collector.
    assert (PACE.chunk, PACE.steps_per_shard) == (5, 5)
    assert (PACE.slots_per_report, PACE.updates_per_publishing) == (1, 1)
    long = RateLimiter(steps_per_round=1000, updates_per_round=200, collectors=1, slack=1.0)
    assert (long.chunk, long.steps_per_shard) == (32, 250)
    assert (long.slots_per_report, long.updates_per_publishing) == (25, 20)


@given(PACES, st.floats(0, 1e4), st.floats(0, 1e4))
def test_learner_and_collectors_never_wait_for_each_other(
    pace: RateLimiter, learned: float, collected: float
) -> None:
    assert pace.may_update(learned, collected) or pace.may_collect(learned, collected)


@given(PACES, st.integers(0, 300), st.integers(0, 10**6), st.data())
def test_with_nothing_stored_they_never_wait_for_each_other_either(
    pace: RateLimiter, rounds: int, steps: int, data: st.DataObject
) -> None:
    learned = pace.learned(rounds, data.draw(st.integers(0, pace.slots - 1)))
    collected = pace.collected(steps)
    assert pace.may_pass(learned, collected) or pace.may_collect(learned, collected)


@given(PACES, st.lists(st.booleans(), min_size=200, max_size=400), st.integers(0, 50))
def test_they_never_get_further_apart_than_the_slack_and_what_is_under_way(
    pace: RateLimiter, turns: list[bool], silent: int
) -> None:
    """Whoever is faster. Nothing is stored before the collectors took ``silent`` chunks."""
    slots = steps = chunks = 0
    overshoot = pace.chunk / pace.steps_per_round
    for learner in turns:
        learned, collected = pace.learned(0, slots), pace.collected(steps)
        if learner:
            may = pace.may_update if chunks >= silent else pace.may_pass
            slots += may(learned, collected)
        elif pace.may_collect(learned, collected):
            steps, chunks = steps + pace.chunk, chunks + 1
        apart = pace.collected(steps) - pace.learned(0, slots)
        assert -pace.slack - 1 / pace.slots - 1e-9 <= apart <= pace.slack + overshoot + 1e-9


@pytest.mark.parametrize(("collectors", "slack"), [(1, 0.01), (64, 1.0), (3, 0.3)])
def test_a_chunk_is_at_least_a_step_and_at_most_a_quarter_of_the_slack(
    collectors: int, slack: float
) -> None:
    pace = RateLimiter(200, 200, collectors, slack)
    assert pace.chunk == max(1, min(32, int(200 * slack / collectors / 4)))
