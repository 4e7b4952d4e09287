from __future__ import annotations

import time
from collections import deque
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
from amago_standard.environments import GoalsError, MazeRunner, maze_runner
from amago_standard.environments.maze_runner import MazeRunnerPart
from amago_standard.environments.options import MazeRunnerOptions

WEST, NORTH, EAST, SOUTH, STAY = range(5)
ABSENT = [-1, -1]
UPPER_ROWS = ["#######", "#.#.#.#"]
WHOLE = [*UPPER_ROWS, "#.....#", "#.#.#.#", "#.#.#.#", "#.#.#.#", "#######"]
START = [5, 3]


@pytest.fixture
def known_maze(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = "".join([*UPPER_ROWS, *["#######"] * 5])
    free = [cell == "." for cell in cells]
    monkeypatch.setattr(maze_runner, "maze", lambda size, rng: bytearray(free))


def begin(goals: list[list[int]], **options: Any) -> MazeRunner:
    env = MazeRunner(size=7, **options)
    env.reset(seed=0, options={"goals": goals})
    return env


def shortest_ways(env: MazeRunner) -> int:
    """Optimal: sees the whole maze, and takes a shortest way to each goal in turn."""
    goal = env._left[0][0] * env.size + env._left[0][1]
    distance, frontier = {goal: 0}, deque([goal])
    while frontier:
        cell = frontier.popleft()
        for step in env._ways:
            if env._free[cell + step] and cell + step not in distance:
                distance[cell + step] = distance[cell] + 1
                frontier.append(cell + step)
    after = [distance.get(env._cell + step, 10**9) for step in env._steps]
    return int(np.argmin(after))


@pytest.mark.usefixtures("known_maze")
def test_goals_pay_1_in_their_order_and_the_last_ends_the_task() -> None:
    # The agent crosses (4, 3) before it is asked for; then it comes back.
    env = begin([[3, 3], [4, 3]])
    steps = [env.step(action) for action in (NORTH, NORTH, STAY, SOUTH)]
    assert [obs["goals"].tolist() for obs, *_ in steps] == [
        [ABSENT, [3, 3], [4, 3]],
        [ABSENT, ABSENT, [4, 3]],
        [ABSENT, ABSENT, [4, 3]],
        [ABSENT, ABSENT, ABSENT],
    ]
    assert [step[1:4] for step in steps] == [
        (0.0, False, False),
        (1.0, False, False),
        (0.0, False, False),
        (1.0, True, False),
    ]
    assert [info["achieved"].tolist() for *_, info in steps] == [[4, 3], [3, 3], [3, 3], [4, 3]]
    assert [info.get("success") for *_, info in steps] == [None, None, None, 1.0]


@pytest.mark.usefixtures("known_maze")
def test_one_step_reaches_one_goal_and_the_same_cell_can_be_asked_for_twice() -> None:
    env = begin([[4, 3], [4, 3]])
    steps = [env.step(action) for action in (NORTH, STAY)]
    assert [step[1:3] for step in steps] == [(1.0, False), (1.0, True)]


@pytest.mark.usefixtures("known_maze")
def test_the_time_limit_ends_the_task_without_success() -> None:
    env = begin([[1, 1]], time_limit=3)
    steps = [env.step(STAY) for _ in range(3)]
    assert [step[1:4] for step in steps] == [(0.0, False, False)] * 2 + [(0.0, True, False)]
    assert [step[4].get("success") for step in steps] == [None, None, 0.0]


@pytest.mark.usefixtures("known_maze")
def test_it_shows_the_cell_the_free_cells_around_and_the_time() -> None:
    env = MazeRunner(size=7, time_limit=10)
    first, info = env.reset(seed=0, options={"goals": [[1, 1]]})
    assert info["achieved"].tolist() == START
    shown = [first, *(env.step(action)[0] for action in (NORTH, NORTH, NORTH, WEST, STAY))]
    numbers = np.array([obs["obs"] for obs in shown]) * [7, 7, 7, 7, 7, 7, 10]
    assert np.rint(numbers).tolist() == [
        [5, 3, 0, 4, 0, 0, 0],
        [4, 3, 0, 3, 0, 1, 1],
        [3, 3, 0, 2, 0, 2, 2],
        [2, 3, 2, 1, 2, 3, 3],
        [2, 2, 1, 0, 3, 0, 4],
        [2, 2, 1, 0, 3, 0, 5],
    ]
    assert numbers == pytest.approx(np.rint(numbers), abs=1e-5)


@pytest.mark.usefixtures("known_maze")
def test_walls_block() -> None:
    env = begin([[1, 1]])
    cells = [env.step(action)[4]["achieved"].tolist() for action in (WEST, EAST, SOUTH, NORTH)]
    assert cells == [START, START, START, [4, 3]]


@pytest.mark.usefixtures("known_maze")
def test_the_bottom_rows_are_open_and_a_corridor_leads_up_from_the_start() -> None:
    env = begin([[1, 1]])
    rows = np.array(env._free).reshape(7, 7)
    assert ["".join("#."[cell] for cell in row) for row in rows] == WHOLE


@pytest.mark.parametrize("shuffle_actions", [False, True])
def test_the_shortest_ways_reach_all_goals_in_time(shuffle_actions: bool) -> None:
    env = MazeRunner(shuffle_actions=shuffle_actions)
    for seed in range(200):
        rewards, infos = rollout(env, lambda obs: shortest_ways(env), seed)
        goals = env.reset(seed=seed)[0]["goals"]
        assert sum(rewards) == present(goals).sum()
        assert infos[-1]["success"] == 1.0
        assert len(rewards) < env.horizon


def random_outcomes(env: MazeRunner, tasks: int) -> tuple[float, float]:
    """Return mean return and success of a policy that chooses uniformly."""
    rng = np.random.default_rng(0)
    played = [rollout(env, lambda obs: int(rng.integers(5)), seed) for seed in range(tasks)]
    returns = [sum(rewards) for rewards, _ in played]
    return float(np.mean(returns)), float(np.mean([infos[-1]["success"] for _, infos in played]))


def test_a_random_policy_reaches_0_42_goals_of_a_small_maze() -> None:
    reached, _ = random_outcomes(MazeRunner(size=9, time_limit=100), 800)
    assert reached == pytest.approx(0.42, abs=0.05)


@pytest.mark.parametrize(
    ("options", "success", "off"),
    [
        ({"size": 9, "goals": 3, "min_goals": 3, "time_limit": 100}, 0.01, 0.02),
        ({"size": 7, "goals": 2, "min_goals": 2, "time_limit": 250}, 0.65, 0.08),
    ],
)
def test_a_random_policy_succeeds_about_as_often_as_published(
    options: dict[str, int], success: float, off: float
) -> None:
    _, succeeded = random_outcomes(MazeRunner(**options), 600)
    assert succeeded == pytest.approx(success, abs=off)


def test_goals_are_free_cells_all_different_and_not_the_start() -> None:
    env = MazeRunner(size=7, goals=16, min_goals=16)
    for seed in range(100):
        goals = env.reset(seed=seed)[0]["goals"].tolist()
        assert len({*map(tuple, goals), tuple(START)}) == 17
        assert all(env._free[row * 7 + column] for row, column in goals)


def test_there_are_one_to_three_goals_equally_often() -> None:
    env = MazeRunner()
    counts = [int(present(env.reset(seed=seed)[0]["goals"]).sum()) for seed in range(600)]
    assert [counts.count(count) for count in (1, 2, 3)] == pytest.approx([200] * 3, abs=45)


def test_actions_keep_their_meaning_unless_they_are_shuffled() -> None:
    plain, shuffled = MazeRunner(), MazeRunner(shuffle_actions=True)
    meanings = set()
    for seed in range(30):
        plain.reset(seed=seed)
        shuffled.reset(seed=seed)
        assert plain._steps == [-1, -11, 1, 11, 0]
        assert sorted(shuffled._steps) == [-11, -1, 0, 1, 11]
        assert plain._free == shuffled._free
        assert plain._observe()["obs"].tolist() == shuffled._observe()["obs"].tolist()
        meanings.add(tuple(shuffled._steps))
    assert len(meanings) > 20


@given(seed=st.integers(0, 2**31), shuffle=st.booleans(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_other_goals_never_change_what_is_hidden_or_what_comes_next(
    seed: int, shuffle: bool, data: st.DataObject
) -> None:
    def hidden(env: MazeRunner) -> tuple[Any, ...]:
        return bytes(env._free), env._steps, env._cell, env._time

    cell = st.tuples(st.integers(0, 10), st.integers(0, 10))
    goals = data.draw(st.lists(cell, min_size=1, max_size=3))
    own, other = MazeRunner(shuffle_actions=shuffle), MazeRunner(shuffle_actions=shuffle)
    own.reset(seed=seed)
    obs, _ = other.reset(seed=seed, options={"goals": np.array(goals)})
    assert hidden(other) == hidden(own)
    assert obs["goals"].tolist() == [ABSENT] * (3 - len(goals)) + [list(goal) for goal in goals]
    assert other.reset()[0]["goals"].tolist() == own.reset()[0]["goals"].tolist()
    assert hidden(other) == hidden(own)


def test_recorded_under_other_goals_is_what_replaying_records() -> None:
    part = MazeRunnerPart(EnvironmentContext(), MazeRunnerOptions(size=9, time_limit=60))
    env, rng = part.make(), np.random.default_rng(0)
    shares = []
    for seed in range(200):
        columns = record(env, seed, lambda: int(rng.integers(5)))
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


def test_a_recording_that_lasts_until_the_time_limit_is_over_under_any_goals() -> None:
    part = MazeRunnerPart(EnvironmentContext(), MazeRunnerOptions(size=7, time_limit=2))
    env = part.make()
    reached = record(env, 0, plan([NORTH, NORTH]), [[3, 3]])
    missed = part.with_goals(reached, np.array([[1, 1]]))
    assert [reached["reward"].tolist(), missed["reward"].tolist()] == [[0, 1], [0, 0]]
    assert [missed["terminated"].tolist(), missed["truncated"].tolist()] == [[0, 1], [0, 0]]


def test_options_have_the_defaults_of_the_class() -> None:
    made = MazeRunnerPart(EnvironmentContext(), MazeRunnerOptions()).make()
    arguments = MazeRunnerOptions().model_dump()
    plain = MazeRunner()
    assert [getattr(plain, name, plain.horizon) for name in arguments] == [*arguments.values()]
    assert (made.observation_space, made.size) == (plain.observation_space, 11)


@pytest.mark.parametrize(
    ("goals", "message"),
    [
        ([[1, 1]] * 4, "4 goals are asked for; ask for 1 to 3."),
        ([ABSENT], "0 goals are asked for; ask for 1 to 3."),
        ([1, 1], "the goals are int64 (2,); ask for integers (goals, 2)."),
        ([[1]], "the goals are int64 (1, 1); ask for integers (goals, 2)."),
        ([[1.5, 1]], "the goals are float64 (1, 2); ask for integers (goals, 2)."),
        ([[1, 1], [3, 7]], "there is no goal [3, 7]: coordinates are 0 to 6."),
        ([[-1, 3]], "there is no goal [-1, 3]: coordinates are 0 to 6."),
    ],
)
def test_goals_that_cannot_be_are_refused(goals: Any, message: str) -> None:
    with pytest.raises(GoalsError) as caught:
        begin(goals)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 10}, [(("size",), "is even, and mazes have odd sizes: take 9 or 11")]),
        ({"size": 5}, [(("size",), "Input should be greater than or equal to 7")]),
        (
            {"goals": 2, "min_goals": 3},
            [(("min_goals",), "is more than goals, which is 2: let it be at most that")],
        ),
    ],
)
def test_options_that_make_no_maze_are_refused(options: dict[str, int], message: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        MazeRunnerOptions(**options)
    assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == message


@pytest.mark.usefixtures("known_maze")
def test_the_picture_shows_the_next_goal_in_green_and_later_ones_in_red() -> None:
    env = begin([[1, 1], [1, 3], [1, 1]], render_mode="rgb_array")
    picture = env_render_passive_checker(env)
    assert picture.shape == (7 * 16, 7 * 16, 3)
    wall, blue, green, red = [55, 62, 72], [48, 116, 214], [64, 164, 92], [196, 82, 74]
    cells = picture[::16, ::16].tolist()
    assert [cells[0][0], cells[5][3], cells[1][1], cells[1][3]] == [wall, blue, green, red]


def test_observations_are_not_shared_between_steps() -> None:
    env = begin([[1, 1]])
    obs, *_ = env.step(STAY)
    obs["goals"][:] = 5
    assert env.step(STAY)[0]["goals"].tolist() == [ABSENT, ABSENT, [1, 1]]


def test_ten_thousand_steps_take_no_second() -> None:
    env, actions = MazeRunner(), np.random.default_rng(0).integers(5, size=10_000)
    began = time.process_time()
    over = True
    for action in actions:
        if over:
            env.reset()
        _, _, over, _, _ = env.step(action)
    assert time.process_time() - began < 1


def test_sight_is_recomputed_in_a_new_maze() -> None:
    used, fresh = MazeRunner(size=9), MazeRunner(size=9)
    rollout(used, lambda obs: NORTH, 0)
    seen = [env.reset(seed=1)[0]["obs"].tolist() for env in (used, fresh)]
    for action in [WEST, NORTH, NORTH, NORTH, WEST, NORTH, EAST] * 3:
        seen += [env.step(action)[0]["obs"].tolist() for env in (used, fresh)]
    assert seen[::2] == seen[1::2]
