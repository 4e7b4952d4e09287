"""Documents are run, so that they cannot drift."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from amago_core import train
from amago_core.cli.train import command
from amago_core.compose.summary import describe
from amago_core.spec import load_spec

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "registry/README.md",
    "plugins/standard/README.md",
    "plugins/minari/README.md",
    "examples/README.md",
    "examples/memory-zoo/README.md",
)
SUITES = ("atari", "metaworld", "minigrid", "popgym")
"""Their specs need what is not installed here; `make test-suites` composes them."""
SPECS = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if path.stem not in SUITES]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def train_lines() -> list[str]:
    lines = [
        line.split("#")[0].strip()
        for document in DOCUMENTS
        for block in blocks(document, "bash")
        for line in block.splitlines()
    ]
    return sorted({line for line in lines if line.startswith("amago train ")})


@pytest.fixture(scope="module")
def beside_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the examples, and with the run that some of them learn from."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "examples").symlink_to(ROOT / "examples")
    short = ["rounds=1", "steps_per_round=40", "updates_per_round=0"]
    train(
        ROOT / "examples" / "bandit.yaml",
        [*(f"training.{setting}" for setting in short), "evaluation.episodes=1"],
        run=folder / "runs" / "bandit",
    )
    return folder


@pytest.mark.parametrize("line", train_lines())
def test_every_command_that_trains_names_a_spec_that_composes(
    line: str, beside_a_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside_a_run)
    _, _, *words = shlex.split(line)
    given = command.make_context("train", words).params
    assert describe(load_spec(given["spec"], given["overrides"]))[-1].part == "agent.objective"


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_every_example_says_what_it_shows_and_composes(
    spec: Path, beside_a_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside_a_run)
    assert spec.read_text(encoding="utf-8").startswith("# ")
    assert describe(load_spec(spec))[0].part == "environment"


def test_the_spec_of_the_readme_composes() -> None:
    (spec,) = blocks("README.md", "yaml")
    assert describe(load_spec(yaml.safe_load(spec)))[2].use == "standard/transformer"


def test_the_spec_of_the_standard_parts_composes() -> None:
    (spec,) = blocks("plugins/standard/README.md", "yaml")
    assert describe(load_spec(yaml.safe_load(spec)))[2].use == "standard/gru"


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("README.md", "python")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["action"].shape == (1,)


def test_the_table_of_contributing_names_every_package_and_modules_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_/]+)/` \|[^|]*\|([^|]*)\|$", text, flags=re.MULTILINE)
    engine = {folder: begin for folder, begin in rows if (ROOT / "amago_core" / folder).is_dir()}
    packages = [file.parent for file in (ROOT / "amago_core").rglob("__init__.py")]
    assert {str(path.relative_to(ROOT / "amago_core")) for path in packages} - {"."} == set(engine)
    named = [(folder, name) for folder in engine for name in re.findall(r"`(\w+\.py)`", engine[folder])]
    assert len(named) >= len(engine) - 1
    assert all((ROOT / "amago_core" / folder / name).is_file() for folder, name in named)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / document).parent / link).exists()]
    assert not missing


def test_the_name_of_a_test_is_shorter_than_80_characters() -> None:
    files = [file for folder in ("tests", "examples") for file in (ROOT / folder).rglob("test_*.py")]
    names = [name for file in files for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))]
    assert len(names) > 1000
    assert [name for name in names if len(name) >= 80] == []
