"""Specs with these benchmarks, what is said where one is wrong, and the documents."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from metaworld_plays import make

from amago_core import train
from amago_core.cli.train import split_words
from amago_core.compose.summary import describe
from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_metaworld.names import TASKS
from amago_metaworld.options import Benchmark
from amago_registry import UnavailableError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "metaworld.yaml"
README = (ROOT / "plugins" / "metaworld" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {},
            "environment.task: null: say which task ML1 is to be, such as 'reach-v3' (from a default)",
        ),
        (
            {"task": "reach-v2"},
            "environment.task: 'reach-v2': Meta-World has no such task. Did you mean 'reach-v3'?",
        ),
        (
            {"task": "DoorOpen"},
            "environment.task: 'DoorOpen': Meta-World has no such task. Did you mean 'door-open-v3'?",
        ),
        (
            {"task": "juggle"},
            "environment.task: 'juggle': Meta-World has no such task. "
            f"Its tasks are {', '.join(TASKS)}",
        ),
        (
            {"benchmark": "ML10", "task": "reach-v3"},
            "environment.task: 'reach-v3': leave it out: ML10 has tasks of its own. "
            "For one task: benchmark=ML1",
        ),
        (
            {"benchmark": "MT10", "split": "test"},
            "environment.split: 'test': MT10 holds nothing out",
        ),
    ],
)
def test_what_does_not_fit_is_told_what_would(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "metaworld", **options}})
    assert str(raised.value) == f"the spec has 1 problem:\n  {said}"


def test_metaworld_that_cannot_be_imported_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(UnavailableError) as raised:
        make(task="reach-v3")
    assert str(raised.value) == (
        "the environment metaworld needs the package metaworld, which cannot be imported here: "
        "ModuleNotFoundError: import of metaworld halted; None in sys.modules. Install it: "
        "pip install 'metaworld>=3.1,<4'"
    )


def test_the_example_says_what_it_shows_and_composes() -> None:
    assert EXAMPLE.read_text("utf-8").startswith("# ")
    assert describe(load_spec(EXAMPLE))[0].use == "metaworld/metaworld"


def test_what_the_example_says_to_type_for_another_task_composes() -> None:
    said = EXAMPLE.read_text("utf-8").replace("\\\n#", " ")
    (line,) = re.findall(r"  (amago train .*)\n", said)
    _, _, _, *words = shlex.split(line)
    _, _, overrides = split_words(tuple(words))
    assert describe(load_spec(EXAMPLE, overrides))[0].use == "metaworld/metaworld"


def test_the_example_trains_on_the_real_package(tmp_path: Path) -> None:
    short = ["training.rounds=1", "training.steps_per_round=30", "training.updates_per_round=1"]
    small = ["collector.environments=2", "collector.vectorization=async", "collector.processes=1"]
    steps = ["environment.attempt_steps=10", "evaluation.environment.attempt_steps=10"]
    words = [*short, *small, *steps, "evaluation.episodes=2", "running.threads=1"]
    result = train(EXAMPLE, words, run=tmp_path / "run")
    assert result.run.joinpath("metrics.jsonl").exists()


def test_the_spec_of_the_readme_composes() -> None:
    (spec,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert describe(load_spec(yaml.safe_load(spec)))[0].use == "metaworld/metaworld"


def test_the_readme_names_every_benchmark() -> None:
    assert set(re.findall(r"`(M[LT]\d+)`", README)) == set(get_args(Benchmark))


def test_describing_imports_neither_metaworld_nor_anything_heavy() -> None:
    code = (
        "import sys; import amago_metaworld, amago_metaworld.hooks, amago_metaworld.options\n"
        "print(sorted({'metaworld', 'mujoco', 'gymnasium', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_the_public_names_are_there() -> None:
    import amago_metaworld

    assert dir(amago_metaworld) == ["MetaworldPart", "MetaworldTask"]
    assert all(getattr(amago_metaworld, name).__name__ == name for name in amago_metaworld.__all__)
