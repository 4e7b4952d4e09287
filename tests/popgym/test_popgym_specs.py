"""POPGym specs: their errors, the example and the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from popgym import envs
from popgym_plays import make
from suite_specs import ONE_PROCESS, SuiteSpecs

from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_popgym.ids import GAMES, KNOWN
from amago_registry import UnavailableError

ROOT = Path(__file__).parents[2]
README = (ROOT / "plugins" / "popgym" / "README.md").read_text("utf-8")


class TestSpecs(SuiteSpecs):
    name = "popgym"
    packages = ("popgym",)
    public = ["PopgymPart", "PopgymTask"]
    short_run = ["training.steps_per_round=51", *ONE_PROCESS]
    missing = (
        "the POPGym environment RepeatPreviousEasy needs the package popgym, which cannot be imported "
        "here: {halted}. Install it: pip install 'popgym>=1.0.7,<1.1'"
    )


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("RepeatPreviusEasy", "Did you mean 'RepeatPreviousEasy'?"),
        ("popgym-CountRecallHard-v0", "Did you mean 'CountRecallHard'?"),
        ("velocity-only-cartpole-medium", "Did you mean 'VelocityOnlyCartPoleMedium'?"),
        ("StatelessCartPolEasy", "Did you mean 'StatelessCartPoleEasy'?"),
        (
            "Tetris",
            "Its games are Autoencode, Battleship, Concentration, CountRecall, HigherLower, "
            "LabyrinthEscape, LabyrinthExplore, MineSweeper, MultiarmedBandit, "
            "NoisyPositionOnlyCartPole, NoisyPositionOnlyPendulum, PositionOnlyCartPole, "
            "PositionOnlyPendulum, RepeatFirst, RepeatPrevious, VelocityOnlyCartPole; write Easy, "
            "Medium or Hard behind the name of one",
        ),
    ],
)
def test_an_unknown_id_is_refused_with_a_close_one(typed: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "popgym", "id": typed}})
    assert str(raised.value) == (
        f"the spec has 1 problem:\n  environment.id: '{typed}': POPGym has no such environment. "
        f"{message}"
    )


def test_a_maze_without_mazelib_says_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(envs, "LabyrinthEscapeEasy")
    with pytest.raises(UnavailableError) as raised:
        make("LabyrinthEscapeEasy")
    assert str(raised.value) == (
        "the POPGym environment LabyrinthEscapeEasy needs the package mazelib, which cannot be "
        "imported here. Install it: pip install 'mazelib>=0.9.14'"
    )


def test_the_tables_of_the_readme_name_environments_that_exist() -> None:
    named = re.findall(r"^\| (\w+(?:Easy|Medium|Hard)) \|", README, flags=re.MULTILINE)
    assert set(named) <= set(KNOWN)
    assert len(named) == len(set(named)) == 13
    assert len(GAMES) == 16
