"""The games of the package, in the form that agents learn from."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import minigrid
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid_plays import FORWARD, RIGHT, make

from amago_minigrid.games import make_game
from amago_minigrid.ids import IDS
from amago_minigrid.missions import mission, most_words, tokens, words
from amago_minigrid.task import AGENT, COLORS, OBJECTS, RED, STATES


def test_every_game_that_the_package_can_play_has_its_id() -> None:
    registered = [name for name in gymnasium.registry if name.startswith(("MiniGrid-", "BabyAI-"))]
    pictured = [name for name in registered if "-WFC-" not in name]
    assert sorted(IDS) == sorted(pictured)


def test_what_the_games_that_are_missing_are_made_from_is_still_missing() -> None:
    assert not list((Path(minigrid.__file__).parent / "envs" / "wfc").rglob("*.png"))


def test_every_symbol_of_the_package_has_its_number() -> None:
    assert max(OBJECT_TO_IDX.values()) == OBJECTS - 1
    assert max(COLOR_TO_IDX.values()) == COLORS - 1
    assert max(STATE_TO_IDX.values()) < STATES
    assert (OBJECT_TO_IDX["agent"], COLOR_TO_IDX["red"]) == (AGENT, RED)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(IDS), seed=st.integers(0, 2**63 - 1))
def test_only_the_form_ever_differs_from_the_package(name: str, seed: int) -> None:
    task, game = make(name), make_game(name)
    choose = np.random.default_rng(seed)
    room = most_words(game)
    obs, _ = task.reset(seed=seed)
    raw, _ = game.reset(seed=seed)
    for _ in range(25):
        assert obs["image"].tolist() == raw["image"].tolist()
        assert obs["direction"] == raw["direction"]
        assert obs["mission"].tolist() == tokens(raw["mission"], room).tolist()
        action = int(choose.integers(task.action_space.n))
        obs, reward, over, truncated, info = task.step(action)
        raw, expected, *ends, _ = game.step(action)
        assert (reward, over, truncated) == (float(expected), any(ends), False)
        assert info == ({"success": float(expected > 0)} if over else {})
        if over:
            return


def test_a_short_walk_succeeds_and_pays_for_the_time_it_saved() -> None:
    env = make("MiniGrid-Empty-5x5-v0")
    obs, _ = env.reset(seed=0)
    assert obs["direction"] == 0
    *_, last = [env.step(action) for action in (FORWARD, FORWARD, RIGHT, FORWARD, FORWARD)]
    _, reward, over, truncated, info = last
    assert (reward, over, truncated, info) == (1 - 0.9 * 5 / 100, True, False, {"success": 1.0})


def test_running_out_of_time_is_a_termination_and_no_success() -> None:
    env = make("MiniGrid-Empty-5x5-v0", time_limit=3)
    assert env.horizon == 3
    env.reset(seed=0)
    assert [env.step(RIGHT)[2:] for _ in range(3)] == [
        (False, False, {}),
        (False, False, {}),
        (True, False, {"success": 0.0}),
    ]


@pytest.mark.parametrize(
    ("name", "steps"),
    [("MiniGrid-DoorKey-5x5-v0", 250), ("MiniGrid-MemoryS7-v0", 245), ("BabyAI-GoToLocal-v0", None)],
)
def test_the_horizon_is_the_games_own_where_it_does_not_depend_on_the_mission(
    name: str, steps: int | None
) -> None:
    env = make(name)
    env.reset(seed=0)
    assert env.horizon == steps


def test_a_time_limit_replaces_the_limit_that_depends_on_the_mission() -> None:
    env = make("BabyAI-GoToLocal-v0", time_limit=7)
    env.reset(seed=0)
    overs = [env.step(RIGHT)[2] for _ in range(7)]
    assert overs == [False] * 6 + [True]


def test_a_larger_view_shows_more_cells() -> None:
    env = make("MiniGrid-FourRooms-v0", view_size=9)
    obs, _ = env.reset(seed=0)
    assert obs["image"].shape == env.observation_space["image"].shape == (9, 9, 3)


def test_the_whole_grid_shows_the_agent_and_where_it_looks() -> None:
    env = make("MiniGrid-Empty-5x5-v0", view="whole")
    obs, _ = env.reset(seed=0)
    assert obs["image"].shape == (5, 5, 3)
    assert obs["image"][1, 1].tolist() == [AGENT, RED, 0]
    assert obs["image"][3, 3].tolist() == [OBJECT_TO_IDX["goal"], COLOR_TO_IDX["green"], 0]
    env.step(FORWARD)
    obs, *_ = env.step(RIGHT)
    assert obs["image"][2, 1].tolist() == [AGENT, RED, 1]


def test_the_whole_grid_is_x_by_y_where_the_sides_differ() -> None:
    env = make("MiniGrid-LavaGapS5-v0", view="whole")
    wide = make("MiniGrid-DistShift1-v0", view="whole")
    assert env.observation_space["image"].shape == (5, 5, 3)
    assert wide.observation_space["image"].shape == (9, 7, 3)
    assert wide.reset(seed=0)[0]["image"].shape == (9, 7, 3)


def test_a_mission_that_is_not_shown_takes_no_place() -> None:
    env = make("MiniGrid-Empty-5x5-v0", mission=False)
    assert sorted(env.observation_space) == sorted(env.reset(seed=0)[0]) == ["direction", "image"]


def test_nothing_is_printed_while_missions_are_drawn_again(capsys: pytest.CaptureFixture[str]) -> None:
    env = make("BabyAI-BossLevel-v0")
    for seed in range(20):
        env.reset(seed=seed)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", IDS)
def test_the_missions_of_every_game_have_tokens_and_room(name: str) -> None:
    env = make(name)
    for seed in range(4):
        obs, _ = env.reset(seed=seed)
        assert mission(obs["mission"]) == " ".join(words(env.game.mission))
