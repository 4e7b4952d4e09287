"""The spec for evaluating a trained run: its own, with overrides of environment and evaluation only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amago_core.run_folder.missing_plugins import check_plugins, missing_parts
from amago_core.run_folder.run_dir import RunDir
from amago_core.spec import RunSpec, load_spec
from amago_core.spec.diff import differences
from amago_core.spec.yaml_files import read_file
from amago_registry.errors import AmagoError

_OF_TRAINING = ("exploration", "relabeler", "dataset", "trackers")


def evaluation_spec(folder: RunDir, overrides: Sequence[str]) -> RunSpec:
    """Return a run's spec with overrides that change only how it is evaluated.

    Args:
        folder: The run.
        overrides: Changes, such as ``evaluation.episodes=500``.

    Raises:
        AmagoError: If an override would change the agent, or a plugin is missing.
    """
    source = _without_training(folder)
    stored = load_spec(source, local_environment=True, stored=True)
    spec = load_spec(source, overrides, local_environment=True, stored=True)
    free = ("environment", "evaluation", "collector", "running", "seed")
    fixed = [line for line in differences(stored, spec) if not line.startswith(free)]
    if fixed:
        listed = "".join(f"\n  {line}" for line in fixed)
        raise AmagoError(
            f"{folder.path} is trained; an evaluation cannot change{listed}\n"
            f"It can change {', '.join(free)}."
        )
    return spec


def _without_training(folder: RunDir) -> Path | dict[str, Any]:
    """Return a run's spec, without training-only parts whose plugins are not installed.

    Raises:
        MissingPluginError: If a plugin is missing that the agent or the environment needs.
    """
    stored = read_file(folder.spec)
    if not missing_parts(stored):
        return folder.spec
    needed = {
        key: value
        for key, value in stored.items()
        if key not in _OF_TRAINING or not missing_parts(value)
    }
    agent = stored.get("agent")
    if isinstance(agent, dict) and missing_parts(agent.get("objective")):
        needed["agent"] = {key: value for key, value in agent.items() if key != "objective"}
    check_plugins(folder, needed)
    return needed
