from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import dark_room, rollout

from amago_standard.environments import DarkRoom

STAY, RIGHT, LEFT, DOWN, UP = range(5)


def seed_of(goal: tuple[int, int], size: int) -> int:
    """The first seed whose goal it is."""
    env = DarkRoom(size=size)
    return next(s for s in range(1000) if env.draw(np.random.default_rng(s)) == goal)


def play(env: DarkRoom, actions: list[int], seed: int) -> list[tuple[object, ...]]:
    """Observations in cells and steps, rewards, ends and infos."""
    env.reset(seed=seed)
    steps = []
    for action in actions:
        (x, y, time), reward, terminated, _, info = env.step(action)
        place = round(float(x) * env.size), round(float(y) * env.size)
        steps.append((*place, round(float(time) * env.attempt_limit), reward, terminated, info))
    return steps


def test_every_step_on_the_goal_pays_and_every_attempt_begins_in_the_centre() -> None:
    env = DarkRoom(size=3, attempts=2, attempt_limit=3)
    assert play(env, [RIGHT, STAY, STAY, LEFT, LEFT, UP], seed=seed_of((2, 1), 3)) == [
        (2, 1, 1, 1.0, False, {}),
        (2, 1, 2, 1.0, False, {}),
        (1, 1, 0, 1.0, False, {"attempt": 0, "success": 1.0}),
        (0, 1, 1, 0.0, False, {}),
        (0, 1, 2, 0.0, False, {}),
        (1, 1, 0, 0.0, True, {"attempt": 1, "success": 0.0}),
    ]


def test_an_attempt_that_left_the_goal_again_has_succeeded() -> None:
    env = DarkRoom(size=3, attempts=1, attempt_limit=3)
    steps = play(env, [DOWN, UP, UP], seed=seed_of((1, 2), 3))
    assert [reward for *_, reward, _, _ in steps] == [1.0, 0.0, 0.0]
    assert steps[-1][-1] == {"attempt": 0, "success": 1.0}


def test_a_goal_in_the_centre_pays_for_steps_and_not_for_beginning_there() -> None:
    env = DarkRoom(size=3, attempts=1, attempt_limit=3)
    steps = play(env, [RIGHT, LEFT, STAY], seed=seed_of((1, 1), 3))
    assert [reward for *_, reward, _, _ in steps] == [0.0, 1.0, 1.0]


@given(seed=st.integers(0, 2**31), size=st.integers(2, 9), limit=st.integers(1, 25))
@settings(max_examples=50, deadline=None)
def test_knowing_the_goal_always_returns_what_is_left_after_the_way_there(
    seed: int, size: int, limit: int
) -> None:
    env = DarkRoom(size=size, attempts=3, attempt_limit=limit)
    rewards, infos = rollout(env, dark_room(env), seed)
    distance = abs(env._goal[0] - size // 2) + abs(env._goal[1] - size // 2)
    assert sum(rewards) == 3 * max(limit + 1 - max(distance, 1), 0)
    assert [info["success"] for info in infos if info] == [float(distance <= limit)] * 3


def test_the_best_mean_return_of_the_room_with_the_defaults_is_just_above_165() -> None:
    # Distances to the centre of 9 x 9 are 360 in total; the goal there counts as one move away.
    env = DarkRoom()
    best = 10 * (21 - (360 + 1) / 81)
    assert best == pytest.approx(165.43, abs=0.01)
    returns = [sum(rollout(env, dark_room(env), seed)[0]) for seed in range(300)]
    assert np.mean(returns) == pytest.approx(best, abs=3)


def test_goals_are_spread_evenly_over_all_cells() -> None:
    env, rng = DarkRoom(size=3), np.random.default_rng(0)
    goals = [env.draw(rng) for _ in range(900)]
    assert {goal: goals.count(goal) / 100 for goal in set(goals)} == pytest.approx(
        {(x, y): 1 for x in range(3) for y in range(3)}, abs=0.3
    )


def test_the_picture_shows_agent_and_goal() -> None:
    env = DarkRoom(size=3, render_mode="rgb_array")
    env.reset(seed=seed_of((0, 2), 3))
    blue, green, floor = [48, 116, 214], [64, 164, 92], [236, 240, 244]
    assert env.render()[::32, ::32].tolist() == [
        [floor, floor, floor],
        [floor, blue, floor],
        [green, floor, floor],
    ]
