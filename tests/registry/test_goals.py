"""What would have been recorded under other goals, against a replay of one timestep after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_registry.goals import ABSENT, ACHIEVED, GOALS, present, reached_steps, shown, with_goals
from amago_registry.testing.arrays import frozen
from amago_registry.testing.relabelers import walks

Columns = Mapping[str, np.ndarray]


def recorded(achieved: np.ndarray, places: int) -> dict[str, np.ndarray]:
    """A task that was left before its goals were reached; what it showed is filled in later."""
    length, coordinates = len(achieved) - 1, achieved.shape[-1]
    return {
        "obs.obs": np.arange(length + 1, dtype=np.float32)[:, None],
        GOALS: np.full((length + 1, places, coordinates), 9, np.int16),
        ACHIEVED: achieved,
        "action": np.arange(length),
        "reward": np.zeros(length, np.float32),
        "terminated": np.zeros(length, bool),
        "truncated": np.zeros(length, bool),
    }


def replayed(trajectory: Columns, goals: np.ndarray) -> dict[str, np.ndarray]:
    """From the definition: timestep after timestep, and nothing at once."""
    _, places, coordinates = trajectory[GOALS].shape
    left = [goal for goal in goals.tolist() if goal != [ABSENT] * coordinates]
    seen, rewards = [[[ABSENT] * coordinates] * (places - len(left)) + left], []
    for achieved in trajectory[ACHIEVED][1:]:
        reached = left[0] in achieved.reshape(-1, coordinates).tolist()
        left = left[1:] if reached else left
        rewards.append(reached)
        seen.append([[ABSENT] * coordinates] * (places - len(left)) + left)
        if not left:
            break
    length, most = len(rewards), len(trajectory["reward"])
    columns = {
        name: np.array(column[: length + len(column) - most]) for name, column in trajectory.items()
    }
    columns[GOALS], columns["reward"] = np.array(seen, np.int16), np.array(rewards, np.float32)
    was_done = bool((trajectory[GOALS][-1] == ABSENT).all())
    if was_done or not left:
        ends = np.array([False] * (length - 1) + [True])
        columns["terminated"], columns["truncated"] = ends & (not left), ends & bool(left)
    return columns


@st.composite
def tasks(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A recording, its goals and others; numbers so small that goals are often reached."""
    coordinates, places = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    several: tuple[int, ...] = draw(st.sampled_from([(), (1,), (3,)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    length = draw(st.integers(1, 12))
    columns = recorded(rng.integers(ABSENT, 2, (length + 1, *several, coordinates)), places)

    def instruction() -> np.ndarray:
        goals = rng.integers(ABSENT, 2, (rng.integers(1, places + 1), coordinates))
        goals[-1, 0] = abs(goals[-1, 0])  # At least one is there.
        return goals

    first = instruction()
    return replayed(columns, first), first, instruction()


@settings(max_examples=300, deadline=None)
@given(tasks())
def test_with_goals_always_equals_a_replay(task: Any) -> None:
    trajectory, _, other = task
    before = frozen(trajectory)
    assert frozen(with_goals(trajectory, other)) == frozen(replayed(trajectory, other))
    assert frozen(trajectory) == before


@settings(max_examples=100, deadline=None)
@given(tasks())
def test_the_same_goals_never_change_anything(task: Any) -> None:
    trajectory, own, _ = task
    assert frozen(with_goals(trajectory, own)) == frozen(trajectory)
    assert frozen(with_goals(trajectory, trajectory[GOALS][0])) == frozen(trajectory)


@pytest.mark.parametrize("walk", walks(), ids=["no goal", "one", "both", "one step"])
def test_the_walks_of_the_laws_agree_with_their_goals(walk: Columns) -> None:
    assert frozen(with_goals(walk, walk[GOALS][0])) == frozen(walk)


def test_returned_goal_columns_share_no_memory_with_the_argument() -> None:
    trajectory = line(4, 5, 6)
    for column in trajectory.values():
        column.flags.writeable = False
    for goal in (0, 5):
        columns = with_goals(trajectory, np.array([[goal]]))
        written = [name for name, column in columns.items() if column.flags.writeable]
        assert written == [GOALS, "reward", "terminated", "truncated"]


def line(*cells: int) -> dict[str, np.ndarray]:
    """A walk, with room for three goals."""
    return recorded(np.array(cells)[:, None], places=3)


def test_each_goal_is_rewarded_once_and_then_absent() -> None:
    columns = with_goals(line(4, 5, 6, 7, 8, 7), np.array([[6], [8]]))
    assert columns["reward"].tolist() == [0, 1, 0, 1]
    assert columns[GOALS][..., 0].tolist() == [
        *([-1, 6, 8], [-1, 6, 8]),
        *([-1, -1, 8], [-1, -1, 8]),
        [-1, -1, -1],
    ]


def test_the_last_goal_ends_the_task() -> None:
    columns = with_goals(line(4, 5, 6, 7), np.array([[5]]))
    assert {name: len(column) for name, column in columns.items()} == {
        **dict.fromkeys(("obs.obs", GOALS, ACHIEVED), 2),
        **dict.fromkeys(("action", "reward", "terminated", "truncated"), 1),
    }
    assert (columns["terminated"][-1], columns["truncated"][-1]) == (True, False)


def test_goals_count_only_in_order() -> None:
    assert with_goals(line(4, 5, 6), np.array([[6], [5]]))["reward"].tolist() == [0, 1]


def test_the_same_goal_twice_takes_two_timesteps() -> None:
    assert with_goals(line(4, 5, 5, 5), np.array([[5], [5]]))["reward"].tolist() == [1, 1]


def test_the_first_timestep_reaches_nothing() -> None:
    assert with_goals(line(4, 5, 4), np.array([[4]]))["reward"].tolist() == [0, 1]


def test_a_terminated_task_is_truncated_if_new_goals_are_not_reached() -> None:
    done = with_goals(line(4, 5, 6), np.array([[6]]))
    other = with_goals(done, np.array([[0]]))
    assert (other["terminated"].tolist(), other["truncated"].tolist()) == ([False] * 2, [False, True])
    assert with_goals(other, np.array([[6]]))["terminated"].tolist() == [False, True]


@pytest.mark.parametrize("name", ["terminated", "truncated"])
def test_other_ends_are_kept(name: str) -> None:
    trajectory = line(4, 5, 6)
    trajectory[name][-1] = True
    other = with_goals(trajectory, np.array([[0]]))
    assert {end: other[end][-1] for end in ("terminated", "truncated") if other[end][-1]} == {
        name: True
    }


def test_a_goal_is_absent_only_in_all_coordinates() -> None:
    assert present(np.array([[-1, -1], [-1, 0], [0, -1], [2, 2]])).tolist() == [False, True, True, True]


def test_goals_fill_the_last_slots() -> None:
    assert shown(np.array([[3], [4]]), 3).tolist() == [[-1], [3], [4]]
    with pytest.raises(ValueError, match=r"^4 goals do not fit into 3 slots$"):
        with_goals(line(4, 5), np.arange(4)[:, None])


def test_an_empty_list_of_goals_raises() -> None:
    with pytest.raises(ValueError, match=r"^there is no goal: all are absent$"):
        with_goals(line(4, 5), np.full((2, 1), ABSENT))


@pytest.mark.parametrize(("dtype", "goal"), [(np.int8, 300), (np.int8, -200), (np.int16, 5.5)])
def test_goals_that_do_not_fit_the_dtype_raise(dtype: Any, goal: float) -> None:
    trajectory = line(4, 5, 44) | {GOALS: np.ones((3, 2, 1), dtype)}
    kept = with_goals(trajectory, np.array([[5.0], [44.0]]))[GOALS]
    assert (kept.dtype, kept[0].tolist()) == (dtype, [[5], [44]])
    message = f"obs.goals is {np.dtype(dtype)}, which cannot hold [[{goal}]]"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        with_goals(trajectory, np.array([[goal]]))


def test_steps_are_counted_from_the_first_transition() -> None:
    achieved = np.array([[4], [5], [6], [7]])
    assert reached_steps(np.array([[5], [7], [8]]), achieved) == [0, 2]
    assert reached_steps(np.array([[7], [7]]), achieved) == [2]
    assert reached_steps(np.array([[5]]), achieved[:1]) == []


def test_each_of_several_things_achieved_at_once_counts() -> None:
    achieved = np.array([[[-1], [-1]], [[2], [3]], [[-1], [4]]])
    assert reached_steps(np.array([[3], [4]]), achieved) == [0, 1]
    assert reached_steps(np.array([[2], [3]]), achieved) == [0]
