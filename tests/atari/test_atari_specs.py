"""Atari specs: their errors, the example and the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from suite_specs import SuiteSpecs

from amago_atari.ids import GAMES
from amago_core.errors import SpecError
from amago_core.spec import load_spec

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "atari.yaml"
README = (ROOT / "plugins" / "atari" / "README.md").read_text("utf-8")


class TestSpecs(SuiteSpecs):
    name = "atari"
    packages = ("ale_py",)
    public = ["AtariPart", "AtariTask"]
    short_run = [
        "training.steps_per_round=20",
        "training.batch=2",
        "collector.segment_length=10",
        "environment.max_frames=80",
    ]
    missing = (
        "the environment atari needs the package ale-py, which provides pong and boxing and ms_pacman "
        "and cannot be imported here: {halted}. Install it: pip install 'ale-py>=0.12.1,<0.13'"
    )


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("ponk", "Did you mean 'pong'?"),
        ("ALE/MsPacman-v5", "Did you mean 'ms_pacman'?"),
        ("MontezumaRevengeNoFrameskip-v4", "Did you mean 'montezuma_revenge'?"),
        ("Space Invaders", "Did you mean 'space_invaders'?"),
    ],
)
def test_an_unknown_game_is_refused_with_a_close_one(typed: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "atari", "games": ["breakout", typed]}})
    assert str(raised.value) == (
        f'the spec has 1 problem:\n  environment.games: ["breakout", "{typed}"]: ale-py has no game '
        f"'{typed}'. {message}"
    )


def test_a_game_unlike_any_is_refused_with_where_all_are_listed() -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "atari", "games": ["pong", "chess_2000", "pong"]}})
    assert str(raised.value) == (
        'the spec has 1 problem:\n  environment.games: ["pong", "chess_2000", "pong"]: ale-py has '
        "no game 'chess_2000'. It has 104 that one plays alone, such as pong, breakout and ms_pacman: "
        "all are listed at https://ale.farama.org/environments; 'pong' is there twice: name it once"
    )


@pytest.mark.parametrize("typed", ["combat", "joust", "maze_craze", "warlords", "ALE/MazeCraze-v5"])
def test_a_game_for_two_is_refused_with_the_reason(typed: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "atari", "games": [typed]}})
    assert str(raised.value) == (
        f"the spec has 1 problem:\n  environment.games: [\"{typed}\"]: '{typed}' needs two players, "
        "and this environment has one"
    )


def test_several_games_without_all_actions_are_refused() -> None:
    words = ["environment.games=[pong, breakout]", "environment.full_action_space=false"]
    with pytest.raises(SpecError) as raised:
        load_spec(EXAMPLE, words)
    assert str(raised.value).splitlines()[1:] == [
        "  environment.full_action_space: false: several games have no smaller set of actions in common"
        "; leave it out (from the override 'environment.full_action_space=false')"
    ]


def test_the_readme_says_how_many_games_there_are() -> None:
    assert re.findall(r"(\d+) games", README) == [str(len(GAMES))]
