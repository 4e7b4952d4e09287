from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import dark_key_to_door, rollout

from amago_standard.environments import DarkKeyToDoor
from amago_standard.environments.dark_key_to_door import DarkKeyToDoors
from amago_standard.environments.grids import MOVES

STAY, RIGHT, LEFT, DOWN, UP = range(5)
NOTHING: dict[str, Any] = {}
Cell = tuple[int, int]


def room(key: Cell, door: Cell, start: Cell, **settings: Any) -> DarkKeyToDoor:
    """A room whose every task is this one."""
    env = DarkKeyToDoor(**{"size": 4, **settings})
    env.draw = lambda rng: (key, door, start, MOVES)  # type: ignore[method-assign]
    return env


def play(env: DarkKeyToDoor, actions: list[int]) -> list[tuple[Any, ...]]:
    """Observations in cells and steps, rewards, ends and infos."""
    env.reset(seed=0)
    steps = []
    for action in actions:
        (x, y, has_key, time), reward, terminated, _, info = env.step(action)
        place = round(float(x) * env.size), round(float(y) * env.size), int(has_key)
        steps.append((*place, round(float(time) * env.attempt_limit), reward, terminated, info))
    return steps


def test_the_key_pays_once_the_door_ends_the_attempt_and_the_way_back_is_a_step() -> None:
    env = room(key=(1, 0), door=(2, 0), start=(0, 0), horizon=9)
    walk = [RIGHT, STAY, LEFT, RIGHT, RIGHT, DOWN, RIGHT, RIGHT, UP]
    assert play(env, walk) == [
        (1, 0, 1, 1, 1.0, False, NOTHING),
        (1, 0, 1, 2, 0.0, False, NOTHING),
        (0, 0, 1, 3, 0.0, False, NOTHING),
        (1, 0, 1, 4, 0.0, False, NOTHING),
        (2, 0, 1, 5, 1.0, False, {"attempt": 0, "success": 1.0}),
        (0, 0, 0, 0, 0.0, False, NOTHING),
        (1, 0, 1, 1, 1.0, False, NOTHING),
        (2, 0, 1, 2, 1.0, False, {"attempt": 1, "success": 1.0}),
        (0, 0, 0, 0, 0.0, True, NOTHING),
    ]


def test_a_key_without_the_door_is_no_success() -> None:
    env = room(key=(1, 0), door=(3, 3), start=(0, 0), horizon=5, attempt_limit=2)
    assert play(env, [RIGHT, STAY]) == [
        (1, 0, 1, 1, 1.0, False, NOTHING),
        (1, 0, 1, 2, 0.0, False, {"attempt": 0, "success": 0.0}),
    ]


def test_the_door_needs_the_key_and_an_attempt_ends_at_its_limit() -> None:
    env = room(key=(3, 3), door=(1, 0), start=(0, 0), horizon=5, attempt_limit=2)
    assert play(env, [RIGHT, STAY, STAY, DOWN, STAY]) == [
        (1, 0, 0, 1, 0.0, False, NOTHING),
        (1, 0, 0, 2, 0.0, False, {"attempt": 0, "success": 0.0}),
        (0, 0, 0, 0, 0.0, False, NOTHING),
        (0, 1, 0, 1, 0.0, False, NOTHING),
        (0, 1, 0, 2, 0.0, True, {"attempt": 1, "success": 0.0}),
    ]


def test_the_last_step_of_an_attempt_may_still_open_the_door() -> None:
    env = room(key=(1, 0), door=(2, 0), start=(0, 0), attempt_limit=2)
    assert play(env, [RIGHT, RIGHT])[-1] == (2, 0, 1, 2, 1.0, False, {"attempt": 0, "success": 1.0})


def test_an_attempt_cut_off_by_the_trajectory_reports_no_success() -> None:
    env = room(key=(1, 0), door=(2, 0), start=(0, 0), horizon=1)
    assert play(env, [RIGHT]) == [(1, 0, 1, 1, 1.0, True, NOTHING)]


def test_a_key_at_the_start_is_found_by_the_first_step_that_ends_there() -> None:
    steps = play(room(key=(0, 0), door=(2, 0), start=(0, 0)), [RIGHT, LEFT])
    assert [step[2:5] for step in steps] == [(0, 1, 0.0), (1, 2, 1.0)]


def test_key_and_door_in_one_cell_take_two_steps() -> None:
    assert play(room(key=(1, 0), door=(1, 0), start=(0, 0)), [RIGHT, STAY]) == [
        (1, 0, 1, 1, 1.0, False, NOTHING),
        (1, 0, 1, 2, 1.0, False, {"attempt": 0, "success": 1.0}),
    ]


def moves_between(one: Cell, other: Cell) -> int:
    """At least one: what is reached counts after a move."""
    return max(abs(one[0] - other[0]) + abs(one[1] - other[1]), 1)


@given(seed=st.integers(0, 2**31), size=st.integers(2, 9), shuffle=st.booleans(), light=st.booleans())
@settings(max_examples=50, deadline=None)
def test_knowing_key_and_door_always_opens_it_by_the_shortest_way_again_and_again(
    seed: int, size: int, shuffle: bool, light: bool
) -> None:
    env = DarkKeyToDoor(size=size, horizon=200, shuffle_actions=shuffle, light=light)
    rewards, infos = rollout(env, dark_key_to_door(env), seed)
    to_key = moves_between(env._start, env._key)
    one_way = to_key + moves_between(env._key, env._door)
    whole, rest = divmod(200, one_way + 1)  # One step more for the way back.
    assert sum(rewards) == 2 * whole + (rest >= to_key) + (rest >= one_way)
    outcomes = [info["success"] for info in infos if info]
    assert outcomes == [1.0] * (whole + (rest >= one_way))


def test_light_shows_key_and_door() -> None:
    env = room(key=(1, 2), door=(3, 0), start=(0, 0), light=True)
    env.reset(seed=0)
    assert env.step(RIGHT)[0].tolist() == pytest.approx([0.25, 0, 0, 1 / 50, 0.25, 0.5, 0.75, 0])
    assert env.observation_space.shape == (8,)


def test_without_light_observations_do_not_depend_on_the_task() -> None:
    here, there = room((1, 1), (2, 2), (0, 0)), room((3, 3), (3, 0), (0, 0))
    for env in (here, there):
        env.reset(seed=0)
    for action in (RIGHT, RIGHT, RIGHT, LEFT, LEFT):
        assert np.array_equal(here.step(action)[0], there.step(action)[0])


def test_shuffled_actions_are_the_same_moves_in_another_order_for_a_whole_task() -> None:
    env, orders = DarkKeyToDoor(shuffle_actions=True), set()
    for seed in range(50):
        env.reset(seed=seed)
        assert sorted(env._moves) == sorted(MOVES)
        orders.add(env._moves)
    assert len(orders) > 30
    plain = DarkKeyToDoor()
    plain.reset(seed=0)
    assert plain._moves == MOVES


def test_shuffling_leaves_key_door_and_start_of_a_seed_where_they_are() -> None:
    plain, shuffled = DarkKeyToDoor(), DarkKeyToDoor(shuffle_actions=True)
    for seed in range(20):
        places = [env.draw(np.random.default_rng(seed))[:3] for env in (plain, shuffled)]
        assert places[0] == places[1]


def test_key_door_and_start_are_spread_evenly_and_independently() -> None:
    env, rng = DarkKeyToDoor(size=2), np.random.default_rng(0)
    drawn = [env.draw(rng)[:3] for _ in range(6400)]
    assert len(set(drawn)) == 64
    assert max(drawn.count(places) for places in set(drawn)) < 150


@pytest.mark.parametrize(("size", "horizon", "published"), [(9, 500, 2.6), (5, 250, 4.3)])
def test_random_actions_return_what_was_published(size: int, horizon: int, published: float) -> None:
    tasks, rng = 5_000, np.random.default_rng(0)
    vector = DarkKeyToDoors(DarkKeyToDoor(size=size, horizon=horizon), tasks)
    vector.reset(seed=10_000)
    total = sum(vector.step(rng.integers(5, size=tasks))[1].sum() for _ in range(horizon))
    # The mean of so many tasks is off by 0.04.
    assert total / tasks == pytest.approx(published, abs=0.15)


def test_the_picture_shows_agent_door_and_the_key_until_it_is_taken() -> None:
    env = room(key=(1, 0), door=(2, 0), start=(0, 0), size=3, render_mode="rgb_array")
    env.reset(seed=0)
    blue, red, green, floor = [48, 116, 214], [196, 82, 74], [64, 164, 92], [236, 240, 244]
    assert env.render()[::32, ::32][0].tolist() == [blue, red, green]
    env.step(RIGHT)
    env.step(DOWN)
    assert env.render()[::32, ::32][:2].tolist() == [[floor, floor, green], [floor, blue, floor]]
