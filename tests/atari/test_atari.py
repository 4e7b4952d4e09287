"""The games of the package, in the form that agents learn from."""

from __future__ import annotations

from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import roms
from atari_plays import emulator, make, shrunk
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.utils.seeding import np_random
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from amago_atari.ids import FOR_TWO, GAMES
from amago_atari.screens import Picture
from amago_atari.task import AtariTask

NOOP, FIRE = 0, 1
FAMILIAR = ("pong", "breakout", "ms_pacman", "skiing", "carnival", "mr_do")
"""Games with screens of unlike heights, and with few and many actions."""


def play(env: AtariTask, actions: list[int], seed: int | None = 0) -> list[tuple[Any, ...]]:
    """Return pictures, rewards and ends, until the trajectory is over or there is no action left."""
    obs, _ = env.reset(seed=seed)
    steps: list[tuple[Any, ...]] = [(obs, 0.0, False, False)]
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        steps.append((obs, reward, terminated, truncated))
        if terminated or truncated:
            break
    return steps


def test_every_game_that_one_plays_alone_has_its_name() -> None:
    specs = [spec for name, spec in gymnasium.registry.items() if name.startswith("ALE/")]
    assert sorted(GAMES) == sorted(spec.kwargs["game"] for spec in specs)


def test_the_games_that_are_left_out_are_those_for_two() -> None:
    assert sorted({*roms.get_all_rom_ids()} - {*GAMES}) == sorted(FOR_TWO)


@settings(max_examples=100, deadline=None)
@given(
    screen=array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(
        lambda shape: arrays(np.uint8, (*shape, 3))
    ),
    size=st.integers(1, 30),
)
def test_a_pixel_is_always_the_mean_of_the_area_that_it_covers(screen: np.ndarray, size: int) -> None:
    picture = Picture(screen.shape[0], screen.shape[1], size)(screen)
    assert picture.dtype == np.uint8
    assert picture.tolist() == shrunk(screen, size).tolist()


def test_half_the_size_is_the_mean_of_four() -> None:
    screen = np.array([[0, 2, 9, 9], [4, 6, 9, 9], [1, 1, 0, 0], [1, 2, 0, 1]], np.uint8)
    # 12 / 4, 36 / 4, 5 / 4, 1 / 4: to the nearest.
    assert Picture(4, 4, 2)(screen[..., None])[..., 0].tolist() == [[3, 9], [1, 0]]


# A smaller example of what went wrong takes minutes: games begin slowly.
@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(
    game=st.sampled_from(FAMILIAR),
    seed=st.integers(0, 2**63 - 1),
    frame_skip=st.integers(1, 5),
    gray=st.booleans(),
    sticky=st.sampled_from([0.0, 0.25]),
)
def test_only_the_form_ever_differs_from_the_emulator(
    game: str, seed: int, frame_skip: int, gray: bool, sticky: float
) -> None:
    env = make(
        game, frame_skip=frame_skip, grayscale=gray, sticky=sticky, full_action_space=True, size=20
    )
    ale = emulator(game, int(np_random(seed)[0].integers(1, 2**31)), sticky)
    obs, _ = env.reset(seed=seed)
    screens = [_screen(ale, gray)]
    for action in np.random.default_rng(0).integers(18, size=6):
        brighter = np.max(screens[-2:], axis=0)
        assert np.array_equal(obs, Picture(*brighter.shape[:2], 20)(brighter))
        obs, reward, terminated, truncated, _ = env.step(action)
        points = []
        for _ in range(frame_skip):
            points.append(ale.act(ale_py.Action(int(action))))
            screens.append(_screen(ale, gray))
        assert (reward, terminated, truncated) == (sum(points), ale.game_over(), False)


def _screen(ale: ale_py.ALEInterface, gray: bool) -> np.ndarray:
    return ale.getScreenGrayscale()[..., None] if gray else ale.getScreenRGB()


def test_a_whole_screen_is_shrunk_to_the_byte() -> None:
    screen = emulator("mr_do", 1, 0.0).getScreenRGB()
    assert screen.shape == (250, 160, 3)
    assert Picture(250, 160, 84)(screen).tolist() == shrunk(screen, 84).tolist()


def test_a_picture_is_84_by_84_with_its_channel_last() -> None:
    assert make("pong").observation_space == gymnasium.spaces.Box(0, 255, (84, 84, 1), np.uint8)
    coloured = make("pong", grayscale=False, size=40).observation_space
    assert coloured == gymnasium.spaces.Box(0, 255, (40, 40, 3), np.uint8)


def test_one_game_offers_what_it_reads_and_several_offer_all_18_actions() -> None:
    assert make("breakout").action_space == gymnasium.spaces.Discrete(4)
    assert make("breakout", full_action_space=True).action_space == gymnasium.spaces.Discrete(18)
    assert make("breakout", "freeway").action_space == gymnasium.spaces.Discrete(18)


def test_an_action_that_a_game_does_not_read_does_nothing() -> None:
    env = make("skiing", full_action_space=True, sticky=0.0)
    fired, waited = play(env, [FIRE] * 30), play(env, [NOOP] * 30)
    assert data_equivalence(fired, waited, exact=True)


def test_of_several_games_each_reset_draws_one_and_names_it() -> None:
    games = ("pong", "breakout", "freeway")
    env, alone = make(*games, size=20), {game: make(game, size=20) for game in games}
    names = []
    for seed in range(8):
        obs, info = env.reset(seed=seed)
        names.append(info["task"])
        assert np.array_equal(obs, alone[info["task"]].reset(seed=seed)[0])
    assert set(names) == set(games)


def test_several_games_played_one_after_the_other_are_as_each_alone() -> None:
    env = make("pong", "mr_do", size=20)
    alone = {game: make(game, size=20, full_action_space=True) for game in env.games}
    for seed in range(6):
        game = env.reset(seed=seed)[1]["task"]
        actions = [FIRE, 2, 3, 4, 5] * 4
        assert data_equivalence(play(env, actions, seed), play(alone[game], actions, seed), exact=True)


def test_sticky_actions_come_by_the_seed_and_without_them_games_do_not_differ() -> None:
    actions = [2, 3, NOOP] * 20
    sticky, exact = make("pong", size=40), make("pong", size=40, sticky=0.0)
    assert data_equivalence(play(sticky, actions, 1), play(sticky, actions, 1), exact=True)
    assert not data_equivalence(play(sticky, actions, 1), play(sticky, actions, 2), exact=True)
    assert data_equivalence(play(exact, actions, 1), play(exact, actions, 2), exact=True)


def test_who_does_nothing_loses_pong_by_21_points_and_the_game_is_over() -> None:
    steps = play(make("pong", size=8), [NOOP] * 2000)
    rewards = [reward for _, reward, *_ in steps]
    assert (sum(rewards), sorted(set(rewards))) == (-21.0, [-1.0, 0.0])
    assert steps[-1][2:] == (True, False)


def test_a_life_that_is_lost_ends_the_trajectory_where_that_is_asked_for() -> None:
    actions = [FIRE, *[NOOP] * 9] * 200
    once, game = make("breakout", size=8, life_loss_terminates=True), make("breakout", size=8)
    first, again, whole = play(once, actions), play(once, actions, None), play(game, actions)
    assert first[-1][2:] == again[-1][2:] == whole[-1][2:] == (True, False)
    assert data_equivalence(first[:-1], whole[: len(first) - 1], exact=True)
    game.reset(seed=0)
    lives = []
    for action in actions[: len(first) - 1]:
        game.step(action)
        lives.append(game._emulator.lives)
    assert lives == [5] * (len(first) - 2) + [4]


def test_every_reset_begins_a_new_game() -> None:
    env = make("breakout", size=20, life_loss_terminates=True, sticky=0.0)
    play(env, [FIRE, *[NOOP] * 9] * 50)
    assert np.array_equal(env.reset()[0], make("breakout", size=20).reset()[0])


def test_clipped_rewards_are_the_sign_of_the_points() -> None:
    actions = [2, 3, 3, 3] * 20
    points = [reward for _, reward, *_ in play(make("ms_pacman", size=8), actions)]
    signs = [reward for _, reward, *_ in play(make("ms_pacman", size=8, clip_rewards=True), actions)]
    assert set(points) >= {0.0, 10.0}
    assert signs == [min(point, 1.0) for point in points]


@pytest.mark.parametrize(("max_frames", "steps"), [(8, 2), (9, 3)])
def test_after_so_many_frames_the_recording_is_cut_at_a_whole_step(max_frames: int, steps: int) -> None:
    env = make("pong", size=8, max_frames=max_frames)
    assert env.horizon == steps
    ends = [over for *_, over in play(env, [NOOP] * 5)]
    assert ends == [False] * steps + [True]


def test_a_game_lasts_half_an_hour_at_most() -> None:
    assert make("pong").horizon * 4 / 60 == 30 * 60


def test_it_draws_the_screen_in_colour_where_that_is_asked_for() -> None:
    env = AtariTask(("pong",), render_mode="rgb_array")
    env.reset(seed=0)
    assert np.array_equal(env.render(), emulator("pong", 1, 0.25).getScreenRGB())
    assert make("pong").render() is None


def test_another_render_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="render_mode") as raised:
        AtariTask(("pong",), render_mode="human")
    assert str(raised.value) == "render_mode is 'human'; choose None or 'rgb_array'"


@pytest.mark.parametrize(("frame_skip", "steps_per_second"), [(1, 60), (4, 15), (8, 7.5)])
def test_a_film_of_it_is_as_fast_as_the_console(frame_skip: int, steps_per_second: float) -> None:
    env = make("pong", frame_skip=frame_skip)
    assert env.metadata == {"render_modes": ["rgb_array"], "render_fps": steps_per_second}
