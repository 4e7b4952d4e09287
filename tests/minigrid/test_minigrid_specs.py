"""Specs with these games, what is said where one is wrong, and the documents."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from amago_core import train
from amago_core.cli.train import split_words
from amago_core.compose.summary import describe
from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_minigrid.ids import IDS
from amago_registry import UnavailableError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "minigrid.yaml"
README = (ROOT / "plugins" / "minigrid" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("typed", "said"),
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
def test_an_unknown_id_is_told_what_is_close(typed: str, said: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "minigrid", "id": typed}})
    assert str(raised.value) == (
        f"the spec has 1 problem:\n  environment.id: '{typed}': neither MiniGrid nor BabyAI has such a "
        f"game. {said}"
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
    ("options", "said"),
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
def test_an_option_that_another_makes_idle_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "minigrid", "id": IDS[0], **options}})
    assert str(raised.value) == f"the spec has 1 problem:\n  environment.{said}"


def test_a_default_beside_an_option_that_makes_it_idle_is_none_of_its_business() -> None:
    idle = {"view": "whole", "view_size": 7, "mission": False, "mission_words": None}
    for options in (idle, {"view": "whole", "mission": False}):
        assert describe(load_spec({"environment": {"use": "minigrid", "id": IDS[0], **options}}))


def test_minigrid_that_cannot_be_imported_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(UnavailableError) as raised:
        describe(load_spec(EXAMPLE))
    assert str(raised.value) == (
        "the game BabyAI-GoToLocal-v0 needs the package minigrid, which cannot be imported here: "
        "ModuleNotFoundError: import of minigrid halted; None in sys.modules. Install it: "
        "pip install 'minigrid>=3.2,<3.3'"
    )


def test_the_example_says_what_it_shows_and_composes() -> None:
    assert EXAMPLE.read_text("utf-8").startswith("# ")
    assert describe(load_spec(EXAMPLE))[0].use == "minigrid/minigrid"


def test_what_the_example_says_to_type_for_another_task_composes() -> None:
    said = EXAMPLE.read_text("utf-8").replace("\\\n#", " ")
    (line,) = re.findall(r"  (amago train .*)\n", said)
    _, _, _, *words = shlex.split(line)
    _, _, overrides = split_words(tuple(words))
    assert describe(load_spec(EXAMPLE, overrides))[0].use == "minigrid/minigrid"


def test_the_example_trains_on_the_real_package(tmp_path: Path) -> None:
    short = ["training.rounds=1", "training.steps_per_round=64", "training.updates_per_round=1"]
    small = ["collector.environments=2", "collector.vectorization=async", "collector.processes=1"]
    words = [*short, *small, "evaluation.episodes=2", "running.threads=1"]
    result = train(EXAMPLE, words, run=tmp_path / "run")
    assert result.run.joinpath("metrics.jsonl").exists()


def test_the_spec_of_the_readme_composes() -> None:
    (spec,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert describe(load_spec(yaml.safe_load(spec)))[0].use == "minigrid/minigrid"


def test_the_readme_names_games_that_exist() -> None:
    named = re.findall(r"(?:MiniGrid|BabyAI)-[A-Za-z0-9-]+-v\d", README)
    assert len(named) >= 5
    assert set(named) <= set(IDS)
    assert f"The {len(IDS)} games" in README


def test_describing_imports_neither_minigrid_nor_anything_heavy() -> None:
    code = (
        "import sys; import amago_minigrid, amago_minigrid.hooks, amago_minigrid.options\n"
        "print(sorted({'minigrid', 'gymnasium', 'torch', 'numpy', 'pygame'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_nothing_is_printed_when_the_package_is_imported() -> None:
    code = "from amago_minigrid.games import make_game; make_game('MiniGrid-Empty-5x5-v0')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_public_names_are_there() -> None:
    import amago_minigrid

    public = ["GridEncoder", "MinigridPart", "MinigridTask", "MissionError", "mission"]
    assert dir(amago_minigrid) == public
    assert all(getattr(amago_minigrid, name).__name__ == name for name in amago_minigrid.__all__)
