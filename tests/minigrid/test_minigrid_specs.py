"""MiniGrid specs: their errors, the example and the README."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from suite_specs import ONE_PROCESS, SuiteSpecs

from amago_core.compose.summary import describe
from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_minigrid.ids import IDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "plugins" / "minigrid" / "README.md").read_text("utf-8")


class TestSpecs(SuiteSpecs):
    name = "minigrid"
    packages = ("minigrid", "pygame")
    public = ["GridEncoder", "MinigridPart", "MinigridTask", "MissionError", "mission"]
    short_run = ["training.steps_per_round=64", *ONE_PROCESS]
    missing = (
        "the game BabyAI-GoToLocal-v0 needs the package minigrid, which cannot be imported here: "
        "{halted}. Install it: pip install 'minigrid>=3.2,<3.3'"
    )


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("MiniGrid-DoorKey-5x5-v1", "Did you mean 'MiniGrid-DoorKey-5x5-v0'?"),
        ("doorkey-5x5", "Did you mean 'MiniGrid-DoorKey-5x5-v0'?"),
        ("GoToLocal", "Did you mean 'BabyAI-GoToLocal-v0'?"),
        ("MiniGrid-MemoryS17-v0", "Did you mean 'MiniGrid-MemoryS7-v0'?"),
        (
            "Tetris",
            'To list all 172, type: python -c "from amago_minigrid.ids import IDS; print(*IDS)"',
        ),
    ],
)
def test_an_unknown_id_is_refused_with_a_close_one(typed: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "minigrid", "id": typed}})
    assert str(raised.value) == (
        f"the spec has 1 problem:\n  environment.id: '{typed}': neither MiniGrid nor BabyAI has such a "
        f"game. {message}"
    )


def test_a_game_that_the_package_cannot_make_is_refused_with_the_reason() -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "minigrid", "id": "MiniGrid-WFC-MazeSimple-v0"}})
    assert str(raised.value) == (
        "the spec has 1 problem:\n  environment.id: 'MiniGrid-WFC-MazeSimple-v0': MiniGrid registers "
        "it, and leaves out the pictures that it is made from"
    )


def test_a_view_with_no_middle_is_refused() -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "minigrid", "id": IDS[0], "view_size": 6}})
    assert str(raised.value) == (
        "the spec has 1 problem:\n  environment.view_size: 6: must be odd: the agent stands in the "
        "middle of a side"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"view": "whole", "view_size": 9},
            "view_size: 9: leave it out: view=whole shows every cell. For those before the agent: "
            "view=agent",
        ),
        (
            {"mission": False, "mission_words": 5},
            "mission_words: 5: leave it out, or null: mission=false shows no words. To show them: "
            "mission=true",
        ),
    ],
)
def test_an_option_without_effect_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "minigrid", "id": IDS[0], **options}})
    assert str(raised.value) == f"the spec has 1 problem:\n  environment.{message}"


def test_default_values_of_unused_options_are_accepted() -> None:
    idle = {"view": "whole", "view_size": 7, "mission": False, "mission_words": None}
    for options in (idle, {"view": "whole", "mission": False}):
        assert describe(load_spec({"environment": {"use": "minigrid", "id": IDS[0], **options}}))


def test_the_readme_names_games_that_exist() -> None:
    named = re.findall(r"(?:MiniGrid|BabyAI)-[A-Za-z0-9-]+-v\d", README)
    assert len(named) >= 5
    assert set(named) <= set(IDS)
    assert f"The {len(IDS)} games" in README


def test_nothing_is_printed_when_the_package_is_imported() -> None:
    code = "from amago_minigrid.games import make_game; make_game('MiniGrid-Empty-5x5-v0')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
