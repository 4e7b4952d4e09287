"""Specs with this environment, what is said where one is wrong, and the documents."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from amago_atari.ids import GAMES
from amago_core import train
from amago_core.compose.summary import describe
from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_registry import UnavailableError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "atari.yaml"
README = (ROOT / "plugins" / "atari" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("ponk", "Did you mean 'pong'?"),
        ("ALE/MsPacman-v5", "Did you mean 'ms_pacman'?"),
        ("MontezumaRevengeNoFrameskip-v4", "Did you mean 'montezuma_revenge'?"),
        ("Space Invaders", "Did you mean 'space_invaders'?"),
    ],
)
def test_an_unknown_game_is_told_what_is_close(typed: str, said: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "atari", "games": ["breakout", typed]}})
    assert str(raised.value) == (
        f'the spec has 1 problem:\n  environment.games: ["breakout", "{typed}"]: ale-py has no game '
        f"'{typed}'. {said}"
    )


def test_a_game_like_none_is_told_where_all_are_listed() -> None:
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


def test_ale_py_that_cannot_be_imported_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(UnavailableError) as raised:
        describe(load_spec({"environment": {"use": "atari", "games": ["pong", "boxing"]}}))
    assert str(raised.value) == (
        "the environment atari needs the package ale-py, which brings pong and boxing and cannot be "
        "imported here: ModuleNotFoundError: import of ale_py halted; None in sys.modules. Install it: "
        "pip install 'ale-py>=0.12.1,<0.13'"
    )


def test_the_example_says_what_it_shows_and_composes() -> None:
    assert EXAMPLE.read_text("utf-8").startswith("# ")
    assert describe(load_spec(EXAMPLE))[0].use == "atari/atari"


def test_the_example_trains_on_the_real_games(tmp_path: Path) -> None:
    short = ["training.rounds=1", "training.steps_per_round=20", "training.updates_per_round=1"]
    small = ["collector.environments=2", "collector.segment_length=10", "environment.max_frames=80"]
    words = [*short, *small, "training.batch=2", "evaluation.episodes=2", "running.threads=1"]
    result = train(EXAMPLE, words, run=tmp_path / "run")
    assert result.run.joinpath("metrics.jsonl").exists()


def test_the_spec_of_the_readme_composes() -> None:
    (spec,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert describe(load_spec(yaml.safe_load(spec)))[0].use == "atari/atari"


def test_the_readme_says_how_many_games_there_are() -> None:
    assert re.findall(r"(\d+) games", README) == [str(len(GAMES))]


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / "plugins" / "atari" / link).exists()] == []


def test_describing_imports_neither_ale_py_nor_anything_heavy() -> None:
    code = (
        "import sys; import amago_atari, amago_atari.hooks, amago_atari.options\n"
        "print(sorted({'ale_py', 'gymnasium', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_the_public_names_are_there() -> None:
    import amago_atari

    assert dir(amago_atari) == ["AtariPart", "AtariTask"]
    assert all(getattr(amago_atari, name).__name__ == name for name in amago_atari.__all__)
