"""The rate limiter: how far the learner and the collectors may be apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_core.running.processes.rate_limit import RateLimiter

LIMITER = RateLimiter(steps_per_round=40, updates_per_round=10, collectors=2, max_lag=1.0)
LIMITERS = st.builds(
    RateLimiter,
    steps_per_round=st.integers(1, 500),
    updates_per_round=st.integers(0, 500),
    collectors=st.integers(1, 16),
    max_lag=st.floats(0.001, 8),
)


def test_a_round_is_collected_once_the_collectors_steps_sum_to_it() -> None:
    assert LIMITER.rounds_collected(40) == 1.0  # 20 steps of each environment of either collector.
    assert LIMITER.rounds_learned(3, 5) == 3.5


def test_each_side_waits_only_when_it_is_ahead_by_max_lag() -> None:
    assert LIMITER.may_update(1.9, 1.0)
    assert not LIMITER.may_update(2.0, 1.0)
    assert LIMITER.may_collect(1.0, 1.9)
    assert not LIMITER.may_collect(1.0, 2.0)


def test_with_nothing_stored_update_slots_are_skipped_only_as_steps_are_taken() -> None:
    assert not LIMITER.may_skip(1.0, 1.09)
    assert LIMITER.may_skip(1.0, 1.1)
    strict = RateLimiter(steps_per_round=40, updates_per_round=10, collectors=2, max_lag=0.05)
    assert strict.may_skip(1.0, 1.05)


def test_a_round_without_updates_has_one_update_slot() -> None:
    none = RateLimiter(steps_per_round=40, updates_per_round=0, collectors=1, max_lag=1.0)
    assert (none.update_slots, none.rounds_learned(2, 1)) == (1, 3.0)


def test_progress_checks_shards_and_weights_come_a_few_times_a_round() -> None:
    # A round is 20 steps of each environment of either collector.
    assert (LIMITER.chunk, LIMITER.steps_per_shard) == (5, 5)
    assert (LIMITER.slots_per_report, LIMITER.updates_per_publishing) == (1, 1)
    long = RateLimiter(steps_per_round=1000, updates_per_round=200, collectors=1, max_lag=1.0)
    assert (long.chunk, long.steps_per_shard) == (32, 250)
    assert (long.slots_per_report, long.updates_per_publishing) == (25, 20)


@given(LIMITERS, st.floats(0, 1e4), st.floats(0, 1e4))
def test_learner_and_collectors_never_wait_for_each_other(
    limiter: RateLimiter, learned: float, collected: float
) -> None:
    assert limiter.may_update(learned, collected) or limiter.may_collect(learned, collected)


@given(LIMITERS, st.integers(0, 300), st.integers(0, 10**6), st.data())
def test_with_nothing_stored_they_never_wait_for_each_other_either(
    limiter: RateLimiter, rounds: int, steps: int, data: st.DataObject
) -> None:
    learned = limiter.rounds_learned(rounds, data.draw(st.integers(0, limiter.update_slots - 1)))
    collected = limiter.rounds_collected(steps)
    assert limiter.may_skip(learned, collected) or limiter.may_collect(learned, collected)


@given(LIMITERS, st.lists(st.booleans(), min_size=200, max_size=400), st.integers(0, 50))
def test_the_lag_never_exceeds_max_lag_by_more_than_a_chunk_or_slot(
    limiter: RateLimiter, learner_turns: list[bool], silent: int
) -> None:
    """Whichever side is faster; nothing is stored before the collectors took ``silent`` chunks."""
    slots = steps = chunks = 0
    overshoot = limiter.chunk / limiter.steps_per_round
    for learner in learner_turns:
        learned, collected = limiter.rounds_learned(0, slots), limiter.rounds_collected(steps)
        if learner:
            may = limiter.may_update if chunks >= silent else limiter.may_skip
            slots += may(learned, collected)
        elif limiter.may_collect(learned, collected):
            steps, chunks = steps + limiter.chunk, chunks + 1
        apart = limiter.rounds_collected(steps) - limiter.rounds_learned(0, slots)
        assert (
            -limiter.max_lag - 1 / limiter.update_slots - 1e-9
            <= apart
            <= limiter.max_lag + overshoot + 1e-9
        )


@pytest.mark.parametrize(("collectors", "max_lag"), [(1, 0.01), (64, 1.0), (3, 0.3)])
def test_a_chunk_is_at_least_a_step_and_at_most_a_quarter_of_max_lag(
    collectors: int, max_lag: float
) -> None:
    limiter = RateLimiter(200, 200, collectors, max_lag)
    assert limiter.chunk == max(1, min(32, int(200 * max_lag / collectors / 4)))
