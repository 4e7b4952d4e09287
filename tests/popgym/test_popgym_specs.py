"""Specs with these environments, what is said where one is wrong, and the documents."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from popgym import envs
from popgym_plays import make

from amago_core import train
from amago_core.compose.summary import describe
from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_popgym.ids import GAMES, KNOWN
from amago_registry import UnavailableError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "popgym.yaml"
README = (ROOT / "plugins" / "popgym" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("typed", "said"),
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
def test_an_unknown_id_is_told_what_is_close(typed: str, said: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "popgym", "id": typed}})
    assert str(raised.value) == (
        f"the spec has 1 problem:\n  environment.id: '{typed}': POPGym has no such environment. {said}"
    )


def test_popgym_that_cannot_be_imported_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "popgym", None)
    monkeypatch.delitem(sys.modules, "popgym.envs")
    with pytest.raises(UnavailableError) as raised:
        describe(load_spec(EXAMPLE))
    assert str(raised.value) == (
        "the POPGym environment RepeatPreviousEasy needs the package popgym, which cannot be imported "
        "here: ModuleNotFoundError: import of popgym halted; None in sys.modules. Install it: "
        "pip install 'popgym>=1.0.7,<1.1'"
    )


def test_a_maze_without_mazelib_says_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(envs, "LabyrinthEscapeEasy")
    with pytest.raises(UnavailableError) as raised:
        make("LabyrinthEscapeEasy")
    assert str(raised.value) == (
        "the POPGym environment LabyrinthEscapeEasy needs the package mazelib, which cannot be "
        "imported here. Install it: pip install 'mazelib>=0.9.14'"
    )


def test_the_example_says_what_it_shows_and_composes() -> None:
    assert EXAMPLE.read_text("utf-8").startswith("# ")
    assert describe(load_spec(EXAMPLE))[0].use == "popgym/popgym"


def test_the_example_trains_on_the_real_package(tmp_path: Path) -> None:
    short = ["training.rounds=1", "training.steps_per_round=51", "training.updates_per_round=1"]
    small = ["collector.environments=2", "collector.vectorization=async", "collector.processes=1"]
    words = [*short, *small, "evaluation.episodes=2", "running.threads=1"]
    result = train(EXAMPLE, words, run=tmp_path / "run")
    assert result.run.joinpath("metrics.jsonl").exists()


def test_the_spec_of_the_readme_composes() -> None:
    (spec,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert describe(load_spec(yaml.safe_load(spec)))[0].use == "popgym/popgym"


def test_the_tables_of_the_readme_name_environments_that_exist() -> None:
    named = re.findall(r"^\| (\w+(?:Easy|Medium|Hard)) \|", README, flags=re.MULTILINE)
    assert set(named) <= set(KNOWN)
    assert len(named) == len(set(named)) == 13


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / "plugins" / "popgym" / link).exists()] == []


def test_describing_imports_neither_popgym_nor_anything_heavy() -> None:
    code = (
        "import sys; import amago_popgym, amago_popgym.hooks, amago_popgym.options\n"
        "print(sorted({'popgym', 'gymnasium', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_the_public_names_are_there() -> None:
    import amago_popgym

    assert dir(amago_popgym) == ["PopgymPart", "PopgymTask"]
    assert all(getattr(amago_popgym, name).__name__ == name for name in amago_popgym.__all__)
    assert len(GAMES) == 16
