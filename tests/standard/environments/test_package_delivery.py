from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from goal_play import other_goals, plan, record
from gymnasium.utils.passive_env_checker import env_render_passive_checker
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scripted import rollout

from amago_registry.contexts import EnvironmentContext
from amago_registry.goals import present
from amago_standard.environments import GoalsError, PackageDelivery
from amago_standard.environments.options import PackageDeliveryOptions
from amago_standard.environments.package_delivery import PackageDeliveryPart

FORWARD, LEFT, RIGHT, DROP_1, DROP_2, DROP_3, DROP_4, WAIT = range(8)


def begin(*destinations: int, **options: Any) -> PackageDelivery:
    """A road of ten cells: the fork at 2 wants a left turn, and the third drop action drops."""
    env = PackageDelivery(length=10, **options)
    env.reset(seed=0, options={"goals": [[cell] for cell in destinations]})
    env._turns, env._drop, env._packages = {2: LEFT}, DROP_3, 6
    return env


def play(env: PackageDelivery, actions: list[int]) -> list[tuple[int, int, int, float]]:
    """Position, packages left, what was achieved, reward, after each action."""
    steps = [env.step(action) for action in actions]
    most = env.destinations * env.packages
    return [
        (
            round(float(obs["obs"][0]) * env.length),
            round(float(obs["obs"][1]) * most),
            int(info["achieved"][0]),
            reward,
        )
        for obs, reward, _, _, info in steps
    ]


def optimal(env: PackageDelivery) -> int:
    """The optimal policy: take the right turns, drop at the next destination, else move forward."""
    if env._left[0] == (env._cell,):
        return env._drop
    return env._turns.get(env._cell, FORWARD)


def test_the_right_drop_delivers_in_order_and_the_last_delivery_ends_the_task() -> None:
    env = begin(1, 3)
    steps = [env.step(action) for action in (FORWARD, DROP_3, FORWARD, LEFT, DROP_3)]
    assert [obs["goals"][:, 0].tolist() for obs, *_ in steps] == [
        [-1, -1, 1, 3],
        [-1, -1, -1, 3],
        [-1, -1, -1, 3],
        [-1, -1, -1, 3],
        [-1, -1, -1, -1],
    ]
    assert [step[1:4] for step in steps] == [
        (0.0, False, False),
        (1.0, False, False),
        (0.0, False, False),
        (0.0, False, False),
        (1.0, True, False),
    ]
    assert [info["achieved"].tolist() for *_, info in steps] == [[-1], [1], [-1], [-1], [3]]
    assert [info.get("success") for *_, info in steps] == [None] * 4 + [1.0]


def test_a_package_dropped_elsewhere_achieves_that_cell_and_pays_nothing() -> None:
    assert play(begin(3), [FORWARD, DROP_3, DROP_3]) == [
        (1, 6, -1, 0.0),
        (1, 5, 1, 0.0),
        (1, 4, 1, 0.0),
    ]


@pytest.mark.parametrize("wrong", [DROP_1, DROP_2, DROP_4])
def test_a_wrong_drop_leads_back_and_keeps_the_package(wrong: int) -> None:
    assert play(begin(3), [FORWARD, wrong]) == [(1, 6, -1, 0.0), (0, 6, -1, 0.0)]


def test_a_drop_at_the_first_cell_keeps_the_package() -> None:
    assert play(begin(3), [DROP_3]) == [(0, 6, -1, 0.0)]


def test_a_drop_without_a_package_leads_back_and_achieves_nothing() -> None:
    env = begin(1)
    env._packages = 0
    assert play(env, [FORWARD, DROP_3]) == [(1, 0, -1, 0.0), (0, 0, -1, 0.0)]


def test_at_a_fork_only_the_right_turn_leads_on_and_the_wrong_one_back() -> None:
    to_the_fork = [FORWARD, FORWARD]
    assert play(begin(3), [*to_the_fork, LEFT])[2:] == [(3, 6, -1, 0.0)]
    assert play(begin(3), [*to_the_fork, RIGHT])[2:] == [(0, 6, -1, 0.0)]
    for action in (FORWARD, WAIT, DROP_1, DROP_2, DROP_3, DROP_4):
        assert play(begin(3), [*to_the_fork, action])[2:] == [(2, 6, -1, 0.0)]


def test_turning_elsewhere_and_waiting_do_nothing() -> None:
    assert play(begin(3), [FORWARD, LEFT, RIGHT, WAIT]) == [(1, 6, -1, 0.0)] * 4


def test_the_road_is_a_ring() -> None:
    steps = play(begin(9), [FORWARD, FORWARD, LEFT, *[FORWARD] * 8])
    assert [position for position, *_ in steps] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    env = begin(5)
    env._turns, env._cell = {9: RIGHT}, 9
    assert play(env, [RIGHT]) == [(0, 6, -1, 0.0)]


def test_it_shows_position_packages_and_forks() -> None:
    env = begin(3)
    shown = [env.step(action)[0]["obs"].tolist() for action in (FORWARD, DROP_3, FORWARD)]
    expected = [[0.1, 6 / 12, 0], [0.1, 5 / 12, 0], [0.2, 5 / 12, 1]]
    assert np.array(shown) == pytest.approx(np.array(expected))


def test_the_time_limit_ends_the_task_without_success() -> None:
    env = begin(1, 3, time_limit=3)
    steps = [env.step(action) for action in (FORWARD, DROP_3, FORWARD)]
    assert [step[1:4] for step in steps] == [(0, False, False), (1, False, False), (0, True, False)]
    assert [step[4].get("success") for step in steps] == [None, None, 0.0]


def test_a_task_has_180_steps() -> None:
    rewards, infos = rollout(PackageDelivery(), lambda obs: WAIT, seed=0)
    assert (len(rewards), infos[-1]["success"]) == (180, 0.0)


def test_knowing_the_road_delivers_everything_without_a_detour() -> None:
    env = PackageDelivery()
    for seed in range(200):
        rewards, infos = rollout(env, lambda obs: optimal(env), seed)
        goals = env.reset(seed=seed)[0]["goals"]
        count = int(present(goals).sum())
        assert sum(rewards) == count
        assert len(rewards) == goals[-1, 0] + count  # to the last destination, and one step per drop
        assert infos[-1]["success"] == 1.0


def test_a_random_policy_delivers_next_to_nothing() -> None:
    env, rng = PackageDelivery(), np.random.default_rng(0)
    played = [rollout(env, lambda obs: int(rng.integers(8)), seed) for seed in range(200)]
    assert np.mean([sum(rewards) for rewards, _ in played]) == pytest.approx(0.2, abs=0.1)
    assert np.mean([infos[-1]["success"] for _, infos in played]) == pytest.approx(0, abs=0.01)


@given(seed=st.integers(0, 2**31), length=st.integers(10, 40))
@settings(max_examples=60, deadline=None)
def test_destinations_always_ascend_and_avoid_forks_and_the_first_cell(seed: int, length: int) -> None:
    env = PackageDelivery(length=length)
    obs, info = env.reset(seed=seed)
    goals = [int(goal) for (goal,) in obs["goals"] if goal >= 0]
    assert 2 <= len(goals) <= 4
    assert goals == sorted({*goals} - {0} - env._turns.keys())
    assert length // 10 <= len(env._turns) <= length // 5
    assert 0 not in env._turns
    assert max(*goals, *env._turns, 0) < length
    assert env._packages == 3 * len(goals)
    assert info["achieved"].tolist() == [-1]


def test_what_is_hidden_is_drawn_evenly() -> None:
    env = PackageDelivery()
    drops, turns, forks, goals = [], [], [], []
    for seed in range(800):
        obs, _ = env.reset(seed=seed)
        drops.append(env._drop)
        turns += env._turns.values()
        forks.append(len(env._turns))
        goals.append(int(present(obs["goals"]).sum()))
    assert [drops.count(drop) for drop in range(8)] == pytest.approx([0] * 3 + [200] * 4 + [0], abs=45)
    assert np.mean(np.array(turns) == LEFT) == pytest.approx(0.5, abs=0.04)
    assert [forks.count(count) for count in (3, 4, 5, 6)] == pytest.approx([200] * 4, abs=45)
    assert [goals.count(count) for count in (2, 3, 4)] == pytest.approx([267] * 3, abs=55)


@given(
    seed=st.integers(0, 2**31),
    goals=st.lists(st.integers(1, 29), min_size=1, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_other_goals_never_change_what_is_hidden_or_what_comes_next(
    seed: int, goals: list[int]
) -> None:
    def hidden(env: PackageDelivery) -> tuple[Any, ...]:
        return env._turns, env._drop, env._packages, env._cell, env._time

    own, other = PackageDelivery(), PackageDelivery()
    own.reset(seed=seed)
    obs, _ = other.reset(seed=seed, options={"goals": np.array(goals)[:, None]})
    assert hidden(other) == hidden(own)
    assert obs["goals"][:, 0].tolist() == [-1] * (4 - len(goals)) + goals
    assert other.reset()[0]["goals"].tolist() == own.reset()[0]["goals"].tolist()
    assert hidden(other) == hidden(own)


def test_recorded_under_other_goals_is_what_replaying_records() -> None:
    part = PackageDeliveryPart(EnvironmentContext(), PackageDeliveryOptions(length=12, time_limit=60))
    env, rng = part.make(), np.random.default_rng(0)

    def careless() -> int:
        """Delivers to places that are no destinations too, and makes mistakes."""
        if rng.random() < 0.1:
            return int(rng.integers(8))
        drops = rng.random() < 0.2 and env._cell and env._cell not in env._turns
        return env._drop if drops and env._packages else optimal(env)

    shares = []
    for seed in range(200):
        columns = record(env, seed, careless)
        goals = other_goals(env, columns, rng)
        found = part.with_goals(columns, goals)
        replayed = record(env, seed, plan(columns["action"]), goals)
        replayed["truncated"][-1] = not replayed["terminated"][-1]  # the recording is over
        for name, column in replayed.items():
            np.testing.assert_array_equal(found[name], column, err_msg=f"{name} of {seed}")
            assert found[name].dtype == column.dtype
        shares.append(replayed["reward"].sum() / present(goals).sum())
    reached = np.array(shares)
    cases = [np.sum(reached == 0), np.sum((reached > 0) & (reached < 1)), np.sum(reached == 1)]
    assert min(cases) > 10


def test_options_have_the_defaults_of_the_class() -> None:
    arguments = PackageDeliveryOptions().model_dump()
    plain = PackageDelivery()
    assert [getattr(plain, name, plain.horizon) for name in arguments] == [*arguments.values()]


def test_a_goal_beyond_the_road_is_refused() -> None:
    with pytest.raises(GoalsError) as caught:
        begin(3, 10)
    assert str(caught.value) == "there is no goal [10]: coordinates are 0 to 9."


def test_fewer_destinations_than_the_fewest_are_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        PackageDeliveryOptions(destinations=1)
    assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == [
        (("min_destinations",), "is more than destinations, which is 1: let it be at most that")
    ]


def test_the_picture_shows_right_turns_above_and_below_the_road() -> None:
    env = begin(1, 3, render_mode="rgb_array")
    env._turns = {2: LEFT, 4: RIGHT}
    picture = env_render_passive_checker(env)
    assert picture.shape == (3 * 16, 10 * 16, 3)
    wall, ice, blue, green, red = (
        [55, 62, 72],
        [236, 240, 244],
        [48, 116, 214],
        [64, 164, 92],
        [196, 82, 74],
    )
    cells = picture[::16, ::16].tolist()
    assert cells[0] == [wall, wall, ice, *[wall] * 7]
    assert cells[1][:5] == [blue, green, ice, red, ice]
    assert cells[2] == [wall] * 4 + [ice] + [wall] * 5


def test_ten_thousand_steps_take_no_second() -> None:
    env, actions = PackageDelivery(), np.random.default_rng(0).integers(8, size=10_000)
    began = time.process_time()
    over = True
    for action in actions:
        if over:
            env.reset()
        _, _, over, _, _ = env.step(action)
    assert time.process_time() - began < 1
