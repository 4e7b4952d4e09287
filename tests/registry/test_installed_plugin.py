"""A real distribution, as pip leaves it behind, seen by a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOKS = """
from typing import Literal
from amago_registry import Component, Field, Options, Part, hookimpl

class FadingOptions(Options):
    traces: int = Field(32, ge=1, description="Memory slots; more remember more at once.")

@hookimpl
def amago_register_backbones():
    return [Component("fading", "zoo_fading:Fading", FadingOptions, "fast and forgetful memory")]
"""


def install(site: Path, distribution: str, module: str, code: str) -> None:
    site.mkdir(exist_ok=True)
    info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[amago]\n{module} = {module}\n")
    (site / f"{module}.py").write_text(code)


def amago(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "amago_core", *words]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path / "site", "amago-memory-zoo", "zoo_hooks", HOOKS)
    install(tmp_path / "site", "amago-farm", "farm_hooks", "import no_such_barn\n")
    return tmp_path / "site"


def test_a_plugin_is_found_beside_a_broken_one(site: Path) -> None:
    listed = amago(site, "plugins")
    assert listed.returncode == 0, listed.stderr
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in listed.stdout.splitlines()}
    assert rows["memory-zoo"] == "amago-memory-zoo 1.2 1 part"
    assert rows["farm"] == (
        "amago-farm 1.2 broken: importing farm_hooks raised ModuleNotFoundError: "
        "No module named 'no_such_barn'"
    )
    assert rows["standard"].startswith("amago-standard")


def test_its_part_is_explained_without_being_imported(site: Path) -> None:
    explained = amago(site, "explain", "backbone", "fading")
    assert explained.stdout == (
        "backbone memory-zoo/fading: fast and forgetful memory\n\n"
        "  plugin  memory-zoo\n"
        "  target  zoo_fading:Fading\n\n"
        "option  type                 default  description\n"
        "traces  integer, at least 1  32       Memory slots; more remember more at once.\n\n"
        "In a spec:\n"
        "  agent:\n"
        "    backbone:\n"
        "      use: fading\n"
        "      traces: 32\n"
    )


def test_a_spec_with_a_part_of_the_broken_plugin_raises_with_the_reason(
    site: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "barn.yaml"
    spec.write_text("environment: farm/barn\n")
    checked = amago(site, "check", str(spec))
    assert (checked.returncode, checked.stdout) == (2, "")
    assert checked.stderr == (
        f"Error: the spec {spec} has 1 problem:\n"
        "  environment: the environment 'farm/barn' cannot be used, because the plugin farm is broken: "
        "importing farm_hooks raised ModuleNotFoundError: No module named 'no_such_barn'\n"
    )


def test_a_part_that_cannot_be_imported_is_named(site: Path, tmp_path: Path) -> None:
    spec = tmp_path / "memory.yaml"
    spec.write_text("environment: bandit\nagent: {backbone: fading}\n")
    checked = amago(site, "check", str(spec))
    assert checked.returncode == 2
    assert checked.stderr == (
        "Error: the backbone memory-zoo/fading cannot be used: importing zoo_fading:Fading raised "
        "ModuleNotFoundError: No module named 'zoo_fading'\n"
    )
