"""What environments did, in columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from amago_core.recording import Recorder

NAN = np.nan


def recorder(environments: int = 1) -> Recorder:
    observed = spaces.Dict(place=spaces.Box(-9, 9, (2,), np.float64), key=spaces.Discrete(5))
    return Recorder(observed, spaces.Discrete(3), environments)


def observation(*values: float) -> dict[str, np.ndarray]:
    place_B2 = np.array([[value, -value] for value in values])
    return {"place": place_B2, "key": np.array([int(value) % 5 for value in values])}


def record(
    recorder: Recorder, time: int, reward: list[float], success: list[float] | None = None
) -> None:
    nothing, no = np.full(len(reward), NAN), np.zeros(len(reward), bool)
    recorder.step(
        np.arange(len(reward)),
        observation(*[time + 1.0] * len(reward)),
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
    assert columns.observation["place"].dtype == np.float32
    assert columns.observation["key"].dtype == np.int64


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
    columns, no = Recorder(spaces.Dict(key=spaces.Discrete(5)), space, 1), np.zeros(1)
    columns.begin({"key": no}, np.ones(1, bool))
    fields = {"reward": no, "terminated": no, "truncated": no, "success": no}
    columns.step(np.arange(1), {"key": no}, action=np.array([greatest]), **fields)
    assert columns.actions(0).dtype == dtype
    assert columns.actions(0).tolist() == [greatest]


def test_beginning_anew_touches_only_the_environments_that_ended() -> None:
    columns = recorder(3)
    columns.begin(observation(0, 0, 0), np.ones(3, bool))
    record(columns, 0, [1, 2, 3])
    columns.begin(observation(8, 8, 8), np.array([False, True, False]))
    assert columns.time_B.tolist() == [1, 0, 1]
    assert columns.observation["place"][:, 0].tolist() == [1, 8, 1]
    assert columns.trajectory(2, 0).columns["reward"].tolist() == [3]
    assert columns.trajectory(1, 0).length == 0


def test_columns_grow_and_keep_what_they_hold() -> None:
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
    together, apart = recorder(), recorder(2)
    together.begin(observation(0), np.array([True]))
    apart.begin(observation(4, 0), np.ones(2, bool))
    for time in range(300):
        record(together, time, [time / 3])
        no, nothing = np.zeros(2, bool), np.full(2, NAN)
        fields = {"action": np.full(2, time % 3), "terminated": no, "truncated": no, "success": nothing}
        obs = observation(99, time + 1)
        apart.step(np.array([1]), obs, reward=np.array([99, time / 3]), **fields)
    for name, column in together.trajectory(0, 0).columns.items():
        assert np.array_equal(column, apart.trajectory(1, 0).columns[name])
    assert apart.time_B.tolist() == [0, 300]
    assert together.actions(0).tolist() == [time % 3 for time in range(300)]


def test_an_outcome_adds_up_each_attempt() -> None:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    for time, (reward, success) in enumerate([(1, NAN), (2, 1), (4, NAN), (8, 0), (16, NAN)]):
        record(columns, time, [reward], [success])
    outcome = columns.outcome(0, seed=3)
    assert (outcome.seed, outcome.length, outcome.total) == (3, 5, 31)
    assert outcome.successes.tolist() == [1, 0]
    assert outcome.attempt_returns.tolist() == [3, 12]  # What follows the last attempt is no attempt.
    assert outcome.success == 0.5


def test_without_word_of_success_there_is_none() -> None:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    record(columns, 0, [1])
    outcome = columns.outcome(0, seed=0)
    assert outcome.success is None
    assert outcome.attempt_returns.tolist() == []


def test_attempts_of_the_trajectory_before_are_forgotten() -> None:
    columns = recorder()
    columns.begin(observation(0), np.array([True]))
    for time in range(3):
        record(columns, time, [1], [1])
    columns.begin(observation(0), np.array([True]))
    record(columns, 0, [5], [0])
    assert columns.outcome(0, seed=0).successes.tolist() == [0]
    assert columns.outcome(0, seed=0).total == 5
