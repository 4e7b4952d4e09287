"""The rollout recorder: trajectories and segments in preallocated columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from amago_core.acting.recorder import RolloutRecorder, SegmentLengths
from amago_core.errors import SpecError
from amago_core.spec import load_spec

NAN = np.nan


def recorder(environments: int = 1, segments: SegmentLengths | None = None) -> RolloutRecorder:
    observed = spaces.Dict(place=spaces.Box(-9, 9, (2,), np.float64), key=spaces.Discrete(5))
    return RolloutRecorder(observed, spaces.Discrete(3), environments, segments)


def segments(length: int, jitter: float = 0.0) -> SegmentLengths:
    return SegmentLengths(length, jitter, np.random.default_rng(0))


def observation(*values: float) -> dict[str, np.ndarray]:
    place_B2 = np.array([[value, -value] for value in values])
    return {"place": place_B2, "key": np.array([int(value) % 5 for value in values])}


def record(
    recorder: RolloutRecorder, time: int, reward: list[float], success: list[float] | None = None
) -> None:
    nothing, no = np.full(len(reward), NAN), np.zeros(len(reward), bool)
    recorder.step(
        observation(*[time + 1.0] * len(reward)),
        np.ones(len(reward), bool),
        action=np.full(len(reward), time % 3),
        reward=np.array(reward),
        terminated=no,
        truncated=no,
        success=nothing if success is None else np.array(success),
    )


def test_a_trajectory_has_one_observation_more_than_actions() -> None:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    for time in range(3):
        record(columns, time, [time / 2])
    trajectory = columns.trajectory(0, seed=7)
    assert (trajectory.seed, trajectory.length, trajectory.start_time) == (7, 3, 0)
    assert trajectory.columns["obs.place"].tolist() == [[0, 0], [1, -1], [2, -2], [3, -3]]
    assert trajectory.columns["obs.key"].tolist() == [0, 1, 2, 3]
    assert trajectory.columns["action"].tolist() == [0, 1, 2]
    assert trajectory.columns["reward"].tolist() == [0, 0.5, 1]
    assert set(trajectory.columns) == {
        "obs.place", "obs.key", "action", "reward", "terminated", "truncated",
    }  # fmt: skip


def test_observations_in_double_precision_are_kept_in_single_precision() -> None:
    columns = recorder()
    columns.begin(observation(0.1), np.array([True]))
    seen = columns.trajectory(0, 0).columns
    assert seen["obs.place"].dtype == np.float32
    assert seen["obs.key"].dtype == np.int64


@pytest.mark.parametrize(
    ("space", "greatest", "dtype"),
    [
        (spaces.Discrete(256), 255, np.uint8),
        (spaces.Discrete(257), 256, np.int16),
        (spaces.Discrete(1000), 999, np.int16),
        (spaces.Discrete(2**15 + 1), 2**15, np.int32),
        (spaces.Discrete(2**31 + 1), 2**31, np.int64),
        (spaces.MultiDiscrete([2, 300]), [1, 299], np.int16),
        (spaces.MultiBinary(3), [1, 0, 1], np.int8),
        (spaces.Box(-1, 1, (2,), np.float32), [-1, 0.5], np.float32),
    ],
    ids=str,
)
def test_actions_are_kept_in_the_smallest_type_that_holds_them_all(
    space: Any, greatest: Any, dtype: Any
) -> None:
    columns, no = RolloutRecorder(spaces.Dict(key=spaces.Discrete(5)), space, 1), np.zeros(1)
    columns.begin({"key": no}, np.ones(1, bool))
    fields = {"reward": no, "terminated": no, "truncated": no, "success": no}
    columns.step({"key": no}, np.ones(1, bool), action=np.array([greatest]), **fields)
    assert columns.actions(0).dtype == dtype
    assert columns.actions(0).tolist() == [greatest]


def test_a_new_trajectory_begins_only_where_the_mask_is_true() -> None:
    columns = recorder(3)
    columns.begin(observation(0, 0, 0), np.ones(3, bool))
    record(columns, 0, [1, 2, 3])
    columns.begin(observation(8, 8, 8), np.array([False, True, False]))
    assert columns.time_B.tolist() == [1, 0, 1]
    places = [columns.trajectory(index, 0).columns["obs.place"][:, 0].tolist() for index in range(3)]
    assert places == [[0, 1], [8], [0, 1]]
    assert columns.trajectory(2, 0).columns["reward"].tolist() == [3]
    assert columns.trajectory(1, 0).length == 0


def test_columns_grow_and_keep_their_rows() -> None:
    columns = recorder(2)
    columns.begin(observation(0, 0), np.ones(2, bool))
    for time in range(600):
        record(columns, time, [time, -time])
    for index, sign in ((0, 1), (1, -1)):
        trajectory = columns.trajectory(index, 0).columns
        assert trajectory["reward"].tolist() == [sign * time for time in range(600)]
        assert trajectory["obs.place"][:, 0].tolist() == list(range(601))
        assert trajectory["action"].tolist() == [time % 3 for time in range(600)]


def test_stepping_some_environments_equals_stepping_them_alone() -> None:
    single, vectorized = recorder(), recorder(2)
    single.begin(observation(0), np.array([True]))
    vectorized.begin(observation(4, 0), np.ones(2, bool))
    for time in range(300):
        record(single, time, [time / 3])
        no, nothing = np.zeros(2, bool), np.full(2, NAN)
        fields = {"action": np.full(2, time % 3), "terminated": no, "truncated": no, "success": nothing}
        obs = observation(99, time + 1)
        vectorized.step(obs, np.array([False, True]), reward=np.array([99, time / 3]), **fields)
    for name, column in single.trajectory(0, 0).columns.items():
        assert np.array_equal(column, vectorized.trajectory(1, 0).columns[name])
    assert vectorized.time_B.tolist() == [0, 300]
    assert single.actions(0).tolist() == [time % 3 for time in range(300)]


def test_episode_stats_sum_the_rewards_of_each_attempt() -> None:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    for time, (reward, success) in enumerate([(1, NAN), (2, 1), (4, NAN), (8, 0), (16, NAN)]):
        record(columns, time, [reward], [success])
    stats = columns.episode_stats(0, seed=3)
    assert (stats.seed, stats.length, stats.total) == (3, 5, 31)
    assert stats.successes.tolist() == [1, 0]
    assert stats.attempt_returns.tolist() == [3, 12]  # Rewards after the last attempt belong to none.
    assert stats.success == 0.5


def test_success_is_none_where_the_environment_reports_none() -> None:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    record(columns, 0, [1])
    stats = columns.episode_stats(0, seed=0)
    assert stats.success is None
    assert stats.attempt_returns.tolist() == []


def test_a_new_trajectory_does_not_count_earlier_attempts() -> None:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    for time in range(3):
        record(columns, time, [1], [1])
    columns.begin(observation(0), np.array([True]))
    record(columns, 0, [5], [0])
    assert columns.episode_stats(0, seed=0).successes.tolist() == [0]
    assert columns.episode_stats(0, seed=0).total == 5


def test_environments_at_different_rows_are_recorded_at_their_own_row() -> None:
    columns = recorder(2)
    columns.begin(observation(0, 0), np.ones(2, bool))
    record(columns, 0, [1, 2])
    columns.begin(observation(7, 0), np.array([True, False]))
    record(columns, 1, [3, 4])
    assert columns.trajectory(0, 0).columns["reward"].tolist() == [3]
    assert columns.trajectory(0, 0).columns["obs.place"][:, 0].tolist() == [7, 2]
    assert columns.trajectory(1, 0).columns["reward"].tolist() == [2, 4]


def test_a_segment_continues_where_the_previous_one_was_cut() -> None:
    columns = recorder(segments=segments(2))
    columns.begin(observation(0), np.array([True]))
    for time, (reward, success) in enumerate([(1, NAN), (2, 1)]):
        record(columns, time, [reward], [success])
    assert columns.due_B().tolist() == [True]
    first = columns.trajectory(0, 7, "maze", cut=True)
    assert (first.seed, first.task, first.success) == (7, "maze", 1)
    assert (first.start_time, first.prev_action, first.prev_reward) == (0, None, 0)
    assert first.columns["truncated"].tolist() == [False, True]
    assert columns.trajectory(0, 7).columns["truncated"].tolist() == [False, False]
    columns.start_segment(0)
    assert columns.due_B().tolist() == [False]
    record(columns, 2, [4])
    second = columns.trajectory(0, 7)
    assert (second.start_time, second.length, second.success) == (2, 1, None)
    assert (second.prev_action, second.prev_reward) == (1, 2)
    assert second.columns["obs.place"][:, 0].tolist() == [2, 3]
    assert second.columns["action"].tolist() == [2]
    assert columns.actions(0).tolist() == [0, 1, 2]


def test_a_new_task_does_not_continue_earlier_segments() -> None:
    columns = recorder(segments=segments(2))
    columns.begin(observation(0), np.array([True]))
    record(columns, 0, [5], [1])
    columns.start_segment(0)
    columns.begin(observation(0), np.array([True]))
    record(columns, 0, [1])
    fresh, stats = columns.trajectory(0, 0), columns.episode_stats(0, 0)
    assert (fresh.start_time, fresh.prev_action, fresh.prev_reward) == (0, None, 0)
    assert (stats.total, stats.length, stats.success) == (1, 1, None)
    assert columns.actions(0).tolist() == [0]


@given(
    rows=st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32), st.sampled_from([NAN, 0.0, 1.0])),
        min_size=1,
        max_size=20,
    ),
    cuts=st.sets(st.integers(0, 19)),
)
def test_episode_stats_are_always_the_same_however_the_task_was_cut(
    rows: list[tuple[float, float]], cuts: set[int]
) -> None:
    whole, cut = recorder(), recorder()
    for columns in (whole, cut):
        columns.begin(observation(0), np.array([True]))
    for time, (reward, success) in enumerate(rows):
        for columns in (whole, cut):
            record(columns, time, [reward], [success])
        if time in cuts:
            cut.start_segment(0)
    one, other = whole.episode_stats(0, 3), cut.episode_stats(0, 3)
    assert (one.total, one.length) == (other.total, other.length)
    assert one.successes.tolist() == other.successes.tolist()
    assert one.attempt_returns.tolist() == other.attempt_returns.tolist()
    assert whole.actions(0).tolist() == cut.actions(0).tolist()


def test_columns_do_not_grow_where_segments_are_handed_over() -> None:
    columns = recorder(segments=segments(100))
    columns.begin(observation(0), np.array([True]))
    for time in range(1000):
        record(columns, time, [1])
        if columns.due_B()[0]:
            columns.start_segment(0)
    whole_column: Any = columns.trajectory(0, 0).columns["reward"].base
    assert whole_column.shape == (1, 256)
    assert columns.episode_stats(0, 0).total == 1000


@given(length=st.integers(1, 50), jitter=st.floats(0, 0.99))
def test_segment_lengths_always_lie_around_their_mean(length: int, jitter: float) -> None:
    drawn = segments(length, jitter).draw(100)
    assert drawn.min() >= max(1, length * (1 - jitter) - 1e-6)
    assert drawn.max() <= length * (1 + jitter) + 1e-6


def test_segment_lengths_are_uniform() -> None:
    lengths, counts = np.unique(segments(8, 0.25).draw(5000), return_counts=True)
    assert lengths.tolist() == [6, 7, 8, 9, 10]
    assert counts.min() > 900


def fingerprint(
    past: float = 1, place: float = 2, action: int = 0, reward: float = 3, end: bool = False
) -> int:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    record(columns, 0, [past])
    columns.start_segment(0)
    facts = {"terminated": np.array([end]), "truncated": np.zeros(1, bool), "success": np.zeros(1)}
    actions, rewards = np.array([action]), np.array([reward])
    columns.step(observation(place), np.ones(1, bool), action=actions, reward=rewards, **facts)
    return columns.fingerprint(0)


@pytest.mark.parametrize(
    "change", [{"past": 2}, {"place": 3}, {"action": 1}, {"reward": 4}, {"end": True}], ids=str
)
def test_different_recordings_have_different_fingerprints(change: dict[str, Any]) -> None:
    assert fingerprint() == fingerprint()
    assert fingerprint(**change) != fingerprint()


def test_a_segment_length_beyond_any_memory_is_refused_in_the_spec() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec({"environment": {"use": "t-maze"}}, [f"collector.segment_length={10**30}"])
    assert str(caught.value) == (
        f"the spec has 1 problem:\n  collector.segment_length: {10**30} is not at most {10**9} (from "
        f"the override 'collector.segment_length={10**30}')"
    )
