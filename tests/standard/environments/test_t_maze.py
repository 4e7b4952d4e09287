from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import BACK, DOWN, FORWARD, UP, rollout, t_maze

from amago_standard.environments import TMaze


def watch(env: TMaze, actions: list[int], seed: int = 0) -> list[list[float]]:
    obs, _ = env.reset(seed=seed)
    return [obs.tolist()] + [env.step(action)[0].tolist() for action in actions]


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("length", [1, 2, 60])
def test_remembering_the_cue_returns_exactly_1(length: int, active: bool) -> None:
    for seed in range(4):
        env = TMaze(length=length, active=active)
        rewards, infos = rollout(env, t_maze(env), seed)
        assert sum(rewards) == 1.0
        assert len(rewards) == env.horizon == length + (3 if active else 1)
        assert infos[-1] == {"success": 1.0}


def test_the_passive_cue_is_seen_at_the_start_and_never_again() -> None:
    env = TMaze(length=3)
    seen = watch(env, [BACK, FORWARD, BACK])
    assert seen == [[0, env._goal], [0, 0], [0, 0], [0, 0]]


def test_the_active_cue_is_seen_on_the_first_visit_behind_the_start() -> None:
    env = TMaze(length=3, active=True)
    seen = watch(env, [FORWARD, BACK, BACK, BACK, FORWARD])
    assert seen == [[0, 0], [0, 0], [0, 0], [0, env._goal], [0, 0], [0, 0]]


def test_the_junction_and_the_goal_cells_show_how_high_they_are() -> None:
    seen = watch(TMaze(length=2, active=True), [FORWARD, FORWARD, UP, DOWN, DOWN])
    assert seen[1:] == [[0, 0], [1, 0], [1, 1], [1, 0], [1, -1]]


def test_walls_block() -> None:
    env = TMaze(length=2, active=True)
    assert watch(env, [UP, DOWN, FORWARD, FORWARD, FORWARD])[-1] == [1, 0]
    env = TMaze(length=1, active=True)
    assert watch(env, [FORWARD, UP, UP, BACK])[-1] == [1, 1]


def test_the_goal_is_above_in_about_half_of_the_tasks() -> None:
    env = TMaze()
    cues = [env.reset(seed=seed)[0][1] for seed in range(400)]
    assert set(cues) == {-1.0, 1.0}
    assert abs(float(np.mean(cues))) < 0.15


def test_a_random_policy_in_the_shortest_maze_returns_minus_eleven_sixteenths() -> None:
    # Forward, then the right turn: 1/16. A first action that is not forward costs 1: 3/4.
    def play(actions: tuple[int, ...]) -> float:
        plan = iter(actions)
        return sum(rollout(TMaze(length=1), lambda obs: next(plan), seed=0)[0])

    assert np.mean([play(actions) for actions in product(range(4), repeat=2)]) == 1 / 16 - 3 / 4


def test_the_first_step_is_free_only_when_active() -> None:
    first = []
    for active in (False, True):
        env = TMaze(length=4, active=active)
        env.reset(seed=0)
        first.append([env.step(BACK)[1], env.step(BACK)[1]])
    assert first == [[-0.25, -0.25], [0.0, -0.25]]


def slow_return(length: int, active: bool, goal: int, actions: list[int]) -> float:
    """The definition, cell by cell."""
    oracle = -1 if active else 0
    open_cells = {(x, 0) for x in range(oracle, length + 1)} | {(length, 1), (length, -1)}
    cell, total = (0, 0), 0.0
    for time, action in enumerate(actions):
        dx, dy = {FORWARD: (1, 0), UP: (0, 1), BACK: (-1, 0), DOWN: (0, -1)}[action]
        if (cell[0] + dx, cell[1] + dy) in open_cells:
            cell = (cell[0] + dx, cell[1] + dy)
        if time == len(actions) - 1:
            total += 1.0 if cell == (length, goal) else 0.0
        elif action != FORWARD and not (active and time == 0):
            total -= 1 / length
    return total


@given(data=st.data(), length=st.integers(1, 4), active=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_the_return_is_always_that_of_the_definition(
    data: st.DataObject, length: int, active: bool, seed: int
) -> None:
    env = TMaze(length=length, active=active)
    likely_forward = st.sampled_from([FORWARD, FORWARD, FORWARD, UP, BACK, DOWN])
    actions = data.draw(st.lists(likely_forward, min_size=env.horizon, max_size=env.horizon))
    plan = iter(actions)
    rewards, _ = rollout(env, lambda obs: next(plan), seed)
    assert sum(rewards) == pytest.approx(slow_return(length, active, env._goal, actions))


def test_the_picture_shows_agent_and_goals() -> None:
    env = TMaze(length=5, active=True, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (3 * 8, 7 * 8, 3)
    assert env.render()[8, 8].tolist() == [48, 116, 214]
