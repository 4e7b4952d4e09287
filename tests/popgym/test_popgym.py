"""The games of the package, in the form that agents learn from."""

from __future__ import annotations

from itertools import count

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import flatten
from gymnasium.utils.seeding import np_random
from hypothesis import given, settings
from hypothesis import strategies as st
from popgym import envs
from popgym_plays import make, play

from amago_popgym.games import make_game
from amago_popgym.ids import IDS
from amago_popgym.task import PopgymTask
from amago_registry.testing.arrays import global_randomness


def test_every_environment_of_the_package_has_its_id() -> None:
    assert sorted(IDS) == sorted(made.__name__ for made in envs.ALL)


@pytest.mark.parametrize(
    ("paper", "package"),
    [
        ("StatelessCartPoleEasy", "PositionOnlyCartPoleEasy"),
        ("StatelessPendulumMedium", "PositionOnlyPendulumMedium"),
        ("NoisyStatelessCartPoleHard", "NoisyPositionOnlyCartPoleHard"),
    ],
)
def test_a_game_is_found_by_its_name_in_the_paper_too(paper: str, package: str) -> None:
    assert type(make(paper).game) is getattr(envs, package)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(IDS), seed=st.integers(0, 2**63 - 1), last=st.booleans())
def test_only_the_form_ever_differs_from_the_package(name: str, seed: int, last: bool) -> None:
    task, game = make(name, time_in_observation=last), make_game(name)
    choose, _ = np_random(seed)
    width = flatten(game.observation_space, game.reset(seed=0)[0]).size
    obs, _ = task.reset(seed=seed)
    raw, _ = game.reset(seed=int(np_random(seed)[0].integers(2**32)))
    for time in range(40):
        assert obs[:width].tolist() == flatten(game.observation_space, raw).tolist()
        assert obs[width:].tolist() == ([np.float32(time / 1000)] if last else [])
        action, taken = _alike(task, game, choose)
        obs, reward, terminated, truncated, _ = task.step(action)
        raw, expected, *ends, _ = game.step(taken)
        assert (reward, terminated, truncated) == (float(expected), any(ends), False)
        if terminated:
            return


def _alike(task: PopgymTask, game: gymnasium.Env, choose: np.random.Generator) -> tuple[object, object]:
    """Return an action of the task, and the same in the words of the package."""
    if isinstance(game.action_space, gymnasium.spaces.MultiDiscrete):
        cell = tuple(choose.integers(game.action_space.nvec).tolist())
        return cell[0] * game.action_space.nvec[1] + cell[1], cell
    if isinstance(game.action_space, gymnasium.spaces.Box):
        torque = choose.uniform(-2, 2, 1).astype(np.float32)
        return torque, torque
    index = int(choose.integers(game.action_space.n))
    return index, index


def test_a_card_is_a_one_hot_and_the_time_is_in_thousands_of_steps() -> None:
    env = make("RepeatFirstEasy")
    obs, _ = env.reset(seed=0)
    later, *_ = env.step(0)
    suits = [env.game.card, env.game.deck.suits_idx[env.game.deck.idx[env.game.deck.deck_len]]]
    assert obs.tolist() == [*np.eye(4)[suits[0]], 0]
    assert later.tolist() == [*np.eye(4)[suits[1]], np.float32(0.001)]


def test_what_is_seen_lies_end_to_end() -> None:
    env = make("AutoencodeEasy", time_in_observation=False)
    obs, _ = env.reset(seed=0)
    suit = env.game.deck.suits_idx[env.game.deck["system"][-1]]
    assert obs.tolist() == [0, 1, *np.eye(4)[suit]]
    assert env.observation_space == gymnasium.spaces.Box(0, 1, (6,), np.float32)


def test_an_action_on_a_board_is_a_cell_counted_row_by_row() -> None:
    env = make("BattleshipEasy")
    env.reset(seed=0)
    env.step(8 * 3 + 5)
    assert env.action_space == gymnasium.spaces.Discrete(64)
    assert np.argwhere(env.game.guesses).tolist() == [[3, 5]]


def test_running_out_of_time_is_a_termination() -> None:
    rewards = play(make("MultiarmedBanditEasy"), lambda obs: 0)
    assert len(rewards) == 200


def test_global_generators_are_left_alone_by_a_maze() -> None:
    env = make("LabyrinthEscapeEasy")
    with global_randomness(0) as touched:
        env.reset(seed=0)
        assert not touched()


HORIZONS = {
    "Autoencode": (103, 207, 311),
    "Battleship": (64, 100, 144),
    "Concentration": (104, 208, 104),
    "CountRecall": (51, 103, 207),
    "HigherLower": (51, 103, 155),
    "LabyrinthEscape": (1023, 1023, 1023),
    "LabyrinthExplore": (1023, 1023, 1023),
    "MineSweeper": (14, 30, 54),
    "MultiarmedBandit": (200, 400, 600),
    "NoisyPositionOnlyCartPole": (200, 200, 200),
    "NoisyPositionOnlyPendulum": (200, 200, 200),
    "PositionOnlyCartPole": (200, 400, 600),
    "PositionOnlyPendulum": (200, 150, 100),
    "RepeatFirst": (51, 415, 831),
    "RepeatPrevious": (51, 103, 155),
    "VelocityOnlyCartPole": (200, 400, 600),
}


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (f"{game}{level}", steps)
        for game, lengths in HORIZONS.items()
        for level, steps in zip(("Easy", "Medium", "Hard"), lengths, strict=True)
    ],
)
def test_some_game_lasts_exactly_as_long_as_its_horizon(name: str, steps: int) -> None:
    env = make(name)
    assert env.horizon == steps
    assert len(play(env, lambda obs: _lingering(env), seed=1)) == steps


def _lingering(env: PopgymTask) -> object:
    """Return an action that does not end the game."""
    game = env.game
    if hasattr(game, "theta_threshold_radians"):
        _, speed, angle, spin = game.state
        return int(angle + 0.5 * spin + 0.05 * speed > 0)
    if hasattr(game, "hidden_grid"):
        return int(np.flatnonzero(game.hidden_grid.ravel() != 1)[0])
    return np.zeros(1, np.float32) if env.action_space.shape else 0


class Cards:
    """Plays a card game as well as it can be played: it remembers every card."""

    def __init__(self, answer) -> None:
        self.answer, self.seen = answer, []

    def __call__(self, obs: np.ndarray) -> int:
        self.seen.append(obs)
        return self.answer(self.seen)


def suit(obs: np.ndarray) -> int:
    return int(obs[-5:-1].argmax())


def in_reverse(seen: list[np.ndarray]) -> int:
    """The cards watched, the last first; the first move is the 52nd observation's."""
    return suit(seen[103 - len(seen)]) if len(seen) > 51 else 0


def counted(seen: list[np.ndarray]) -> int:
    """How often the colour that is asked for has been shown."""
    asked = seen[-1][2:4]
    return int(sum(obs[:2] @ asked for obs in seen))


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("RepeatFirstEasy", lambda seen: suit(seen[0])),
        ("RepeatPreviousEasy", lambda seen: suit(seen[-4:][0])),
        ("RepeatPreviousMedium", lambda seen: suit(seen[-32:][0])),
        ("RepeatPreviousHard", lambda seen: suit(seen[-64:][0])),
        ("AutoencodeEasy", in_reverse),
        ("CountRecallEasy", counted),
    ],
)
def test_who_remembers_every_card_earns_one(name: str, answer) -> None:
    for seed in range(5):
        assert sum(play(make(name), Cards(answer), seed)) == pytest.approx(1.0)


def test_sweeping_a_board_cell_by_cell_sinks_every_ship() -> None:
    env, cells = make("BattleshipEasy"), count()
    rewards = play(env, lambda obs: next(cells))
    assert sum(reward > 0 for reward in rewards) == 2 + 3 + 3 + 4
