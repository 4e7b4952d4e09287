from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import frozen_lake as shortest_way
from scripted import rollout

from amago_standard.environments import MetaFrozenLake, frozen_lake

STAY, RIGHT, LEFT, DOWN, UP = range(5)
HOLE_TO_THE_RIGHT = ["SHF", "FFF", "FFG"]


@pytest.fixture
def known_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_lake, "generate_random_map", lambda *_: HOLE_TO_THE_RIGHT)


def play(env: MetaFrozenLake, actions: list[int]) -> list[tuple[Any, ...]]:
    """Observations in cells, rewards, ends and infos."""
    env.reset(seed=0)
    steps = []
    for action in actions:
        (x, y, begins, made), reward, terminated, _, info = env.step(action)
        cell = (round(float(x) * env.size), round(float(y) * env.size))
        steps.append((*cell, int(begins), round(float(made) * env.attempts), reward, terminated, info))
    return steps


@pytest.mark.usefixtures("known_map")
def test_the_goal_pays_1_and_the_next_attempt_begins_at_once() -> None:
    assert play(MetaFrozenLake(size=3, attempts=2), [DOWN, RIGHT, RIGHT, DOWN, STAY]) == [
        (0, 1, 0, 0, 0.0, False, {}),
        (1, 1, 0, 0, 0.0, False, {}),
        (2, 1, 0, 0, 0.0, False, {}),
        (0, 0, 1, 1, 1.0, False, {"attempt": 0, "success": 1.0}),
        (0, 0, 0, 1, 0.0, False, {}),
    ]


@pytest.mark.usefixtures("known_map")
def test_a_hole_ends_the_attempt_and_the_last_attempt_the_trajectory() -> None:
    assert play(MetaFrozenLake(size=3, attempts=2), [RIGHT, RIGHT]) == [
        (0, 0, 1, 1, 0.0, False, {"attempt": 0, "success": 0.0}),
        (0, 0, 1, 2, 0.0, True, {"attempt": 1, "success": 0.0}),
    ]


@pytest.mark.usefixtures("known_map")
def test_with_recover_a_hole_costs_a_tenth_and_puts_the_agent_back() -> None:
    assert play(MetaFrozenLake(size=3, recover=True), [DOWN, RIGHT, UP, LEFT]) == [
        (0, 1, 0, 0, 0.0, False, {}),
        (1, 1, 0, 0, 0.0, False, {}),
        (1, 1, 0, 0, -0.1, False, {}),
        (0, 1, 0, 0, 0.0, False, {}),
    ]


@pytest.mark.usefixtures("known_map")
def test_an_attempt_is_over_after_its_limit() -> None:
    env = MetaFrozenLake(size=3, attempts=2, attempt_limit=2)
    assert play(env, [DOWN, DOWN, LEFT, UP]) == [
        (0, 1, 0, 0, 0.0, False, {}),
        (0, 0, 1, 1, 0.0, False, {"attempt": 0, "success": 0.0}),
        (0, 0, 0, 1, 0.0, False, {}),
        (0, 0, 1, 2, 0.0, True, {"attempt": 1, "success": 0.0}),
    ]


def test_the_first_observation_begins_an_attempt() -> None:
    assert MetaFrozenLake().reset(seed=0)[0].tolist() == [0, 0, 1, 0]


def test_an_attempt_has_as_many_steps_as_the_lake_has_cells_twice_that_if_hard() -> None:
    lakes = [MetaFrozenLake(), MetaFrozenLake(hard=True), MetaFrozenLake(attempt_limit=7)]
    assert [lake.horizon for lake in lakes] == [250, 500, 70]


@given(seed=st.integers(0, 2**31), size=st.integers(2, 9), recover=st.booleans())
@settings(max_examples=20, deadline=None)
def test_there_is_always_a_way_across(seed: int, size: int, recover: bool) -> None:
    env = MetaFrozenLake(size=size, attempts=3, recover=recover)
    rewards, infos = rollout(env, shortest_way(env), seed)
    assert sum(rewards) == 3.0
    assert [info["success"] for info in infos if info] == [1.0] * 3
    assert 3 * 2 * (size - 1) <= len(rewards) <= env.horizon


def test_a_fifth_of_the_cells_are_holes() -> None:
    env = MetaFrozenLake(size=9)
    holes = []
    for seed in range(100):
        env.reset(seed=seed)
        holes.append(len(env._holes) / 81)
    assert 0.15 < np.mean(holes) < 0.2  # fewer than 1 in 5, because maps without a way are rejected


def hard_lake(swap: float = 0, noise: float = 0, crack: float = 0, **options: Any) -> MetaFrozenLake:
    return MetaFrozenLake(
        hard=True,
        swap_probability=swap,
        noise_probability=noise,
        crack_probability=crack,
        **options,
    )


@pytest.mark.usefixtures("known_map")
def test_hard_swaps_right_and_down_for_a_whole_task() -> None:
    steps = play(hard_lake(swap=1, size=3), [RIGHT, DOWN, UP, LEFT])
    assert [step[:2] for step in steps] == [(0, 1), (1, 1), (0, 0), (0, 0)]


@pytest.mark.usefixtures("known_map")
def test_hard_opens_a_hole_behind_the_agent_until_the_attempt_ends() -> None:
    steps = play(hard_lake(crack=1, size=3), [DOWN, UP, DOWN])
    assert [step[:2] for step in steps] == [(0, 1), (0, 0), (0, 1)]
    assert [step[-1] for step in steps] == [{}, {"attempt": 0, "success": 0.0}, {}]


@pytest.mark.usefixtures("known_map")
def test_no_hole_opens_under_an_agent_that_stays_or_is_put_back() -> None:
    env = hard_lake(crack=1, size=3, recover=True)
    steps = play(env, [STAY, LEFT, RIGHT, STAY])
    assert [step[4] for step in steps] == [0.0, 0.0, -0.1, 0.0]
    assert env._cracks == set()


def test_hard_shows_a_position_that_is_off_by_up_to_one_cell_on_the_map() -> None:
    env = hard_lake(noise=1, size=5)
    env.reset(seed=0)
    env._position = (2, 0)
    cells = [tuple(np.rint(env._observe(begins=False)[:2] * 5).astype(int)) for _ in range(900)]
    counts = {cell: cells.count(cell) / 100 for cell in set(cells)}
    wanted = {(x, y): 2 if y == 0 else 1 for x in (1, 2, 3) for y in (0, 1)}  # y = -1 is clipped to 0
    assert counts == pytest.approx(wanted, abs=0.4)


def test_half_of_the_hard_tasks_are_swapped() -> None:
    env = MetaFrozenLake(hard=True)
    swapped = []
    for seed in range(400):
        env.reset(seed=seed)
        swapped.append(env._moves[1] == (0, 1))
    assert np.mean(swapped) == pytest.approx(0.5, abs=0.08)


def test_a_quarter_of_the_hard_observations_is_noisy() -> None:
    env = MetaFrozenLake(hard=True)
    env.reset(seed=0)
    env._position = (2, 2)
    shown = [np.rint(env._observe(begins=False)[:2] * 5).tolist() for _ in range(4000)]
    displaced = np.mean([cell != [2, 2] for cell in shown])
    assert displaced == pytest.approx(0.25 * 8 / 9, abs=0.02)  # one noisy cell in nine is the true one


@pytest.mark.usefixtures("known_map")
def test_a_third_of_the_hard_moves_opens_a_hole() -> None:
    env = MetaFrozenLake(hard=True, size=3)
    env.reset(seed=0)
    cracked = []
    for _ in range(2000):
        env._position, env._cracks, env._moves = (1, 1), set(), list(frozen_lake._MOVES)
        env._move(DOWN)
        cracked.append(env._cracks == {(1, 1)})
    assert np.mean(cracked) == pytest.approx(1 / 3, abs=0.04)


def test_nothing_is_disturbed_unless_the_lake_is_hard() -> None:
    env = MetaFrozenLake(swap_probability=1, noise_probability=1, crack_probability=1)
    rewards, _ = rollout(env, shortest_way(env), seed=3)
    assert env._moves == list(frozen_lake._MOVES)
    assert sum(rewards) == 10.0


def test_the_picture_shows_the_map(known_map: None) -> None:
    env = MetaFrozenLake(size=3, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()[::32, ::32]
    blue, red, green, ice = [48, 116, 214], [196, 82, 74], [64, 164, 92], [236, 240, 244]
    assert picture.tolist() == [[blue, red, ice], [ice, ice, ice], [ice, ice, green]]
