"""Tests common to all suites of environments: example, README, imports and public names."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from amago_core import train
from amago_core.cli.train import command
from amago_core.compose.summary import describe
from amago_core.spec import load_spec
from amago_registry import UnavailableError

ROOT = Path(__file__).parents[2]
HEAVY = {"gymnasium", "numpy", "torch"}
ONE_PROCESS = ["collector.vectorization=async", "collector.processes=1"]
"""Overrides that put all environments into one process of their own."""


class SuiteSpecs:
    """Base class of a suite's tests; a subclass states the facts below.

    Attributes:
        name: Name of the suite: of its folder, its example and its environment in a spec.
        packages: Packages that the plugin needs, and does not import to describe itself; the first is
            the one that ``missing`` names.
        public: Public names of the plugin, sorted.
        short_run: Overrides with which the example trains in seconds.
        missing: Error when the first package cannot be imported; ``{halted}`` stands for its cause.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    public: ClassVar[list[str]]
    short_run: ClassVar[list[str]]
    missing: ClassVar[str]

    @property
    def example(self) -> Path:
        return ROOT / "examples" / f"{self.name}.yaml"

    @property
    def plugin(self) -> Path:
        return ROOT / "plugins" / self.name

    @property
    def readme(self) -> str:
        return (self.plugin / "README.md").read_text("utf-8")

    def composed(self, spec: Path | dict[str, object], overrides: list[str] | None = None) -> str:
        """Return the environment of a spec that composes."""
        return describe(load_spec(spec, overrides or []))[0].use

    def test_the_example_says_what_it_shows_and_composes(self) -> None:
        assert self.example.read_text("utf-8").startswith("# ")
        assert self.composed(self.example) == f"{self.name}/{self.name}"

    def test_the_examples_command_for_another_task_composes(self) -> None:
        text = self.example.read_text("utf-8").replace("\\\n#", " ")
        (line,) = re.findall(r"  (amago train .*?)(?:  \(.*)?\n", text)
        _, _, *words = shlex.split(line)
        given = command.make_context("train", words).params
        assert given["spec"] == f"examples/{self.name}.yaml"
        assert given["overrides"]
        assert self.composed(self.example, list(given["overrides"])) == f"{self.name}/{self.name}"

    def test_the_example_trains_on_the_real_package(self, tmp_path: Path) -> None:
        words = [
            *("training.rounds=1", "training.updates_per_round=1", "collector.environments=2"),
            *("evaluation.episodes=2", "running.threads=1"),
        ]
        result = train(self.example, [*words, *self.short_run], run=tmp_path / "run")
        assert result.run.joinpath("metrics.jsonl").exists()

    def test_the_spec_of_the_readme_composes(self) -> None:
        (spec,) = re.findall(r"```yaml\n(.*?)```", self.readme, flags=re.DOTALL)
        assert self.composed(yaml.safe_load(spec)) == f"{self.name}/{self.name}"

    def test_every_link_of_the_readme_leads_somewhere(self) -> None:
        links = [link for link in re.findall(r"\]\(([^)#]+)\)", self.readme) if "://" not in link]
        assert [link for link in links if not (self.plugin / link).exists()] == []

    def test_describing_imports_nothing_heavy(self) -> None:
        module, heavy = f"amago_{self.name}", HEAVY | set(self.packages)
        code = (
            f"import sys; import {module}, {module}.hooks, {module}.options\n"
            f"print(sorted({heavy!r} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout == "[]\n", done.stdout + done.stderr

    def test_the_public_names_are_there(self) -> None:
        module = import_module(f"amago_{self.name}")
        assert dir(module) == self.public
        assert all(getattr(module, name).__name__ == name for name in module.__all__)

    def test_a_missing_package_is_named_with_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = self.packages[0]
        for loaded in [name for name in sys.modules if name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UnavailableError) as raised:
            self.composed(self.example)
        halted = f"ModuleNotFoundError: import of {package} halted; None in sys.modules"
        assert str(raised.value) == self.missing.format(halted=halted)
