"""A run whose plugins are not installed here: the error names them and what to install."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ready_runs import ready

import amago_core
from amago_core.run_folder.evaluation_spec import evaluation_spec
from amago_core.run_folder.missing_plugins import MissingPluginError, check_plugins, missing_parts
from amago_core.run_folder.run_dir import RunDir
from amago_registry import Catalog, Plugin

ZOO = {"agent": {"backbone": {"use": "memory-zoo/traces", "layers": 2}}}


def run_of(tmp_path: Path, **versions: Any) -> RunDir:
    """Return a run folder with nothing in it but the versions it was trained with."""
    (tmp_path / "versions.json").write_text(json.dumps([{"after_round": 0, "versions": versions}]))
    return RunDir(tmp_path)


def refusal(run: RunDir, spec: Any = ZOO, plugins: tuple[Plugin, ...] = ()) -> str:
    with pytest.raises(MissingPluginError) as caught:
        check_plugins(run, spec, Catalog(plugins))
    return str(caught.value)


def test_the_version_to_install_is_the_one_the_run_was_trained_with(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    text = (run / "spec.yaml").read_text()
    (run / "spec.yaml").write_text(text.replace("standard/gru", "recall/gru"))
    history = json.loads((run / "versions.json").read_text())
    history.append({"after_round": 2, "versions": {"torch": "2.13.0", "amago-recall": "1.4.2"}})
    (run / "versions.json").write_text(json.dumps(history))
    with pytest.raises(MissingPluginError) as caught:
        amago_core.load(run)
    assert str(caught.value) == (
        f"{run} was trained with parts that are not installed here:\n"
        "  agent.backbone: recall/gru\n"
        "The plugin recall was amago-recall 1.4.2: pip install 'amago-recall==1.4.2'"
    )


def test_every_missing_part_is_listed_and_every_plugin_once(tmp_path: Path) -> None:
    spec = {
        "environment": [{"use": "arcade/pong"}, {"use": "arcade/pac"}],
        "agent": {"backbone": {"use": "hybrid", "blocks": [{"use": "memory-zoo/traces"}]}},
        "evaluation": {"environment": None},
    }
    run = run_of(tmp_path, **{"amago-arcade": "3", "memory-zoo": "0.1.0"})
    assert refusal(run, spec) == (
        f"{tmp_path} was trained with parts that are not installed here:\n"
        "  environment.0: arcade/pong\n"
        "  environment.1: arcade/pac\n"
        "  agent.backbone.blocks.0: memory-zoo/traces\n"
        "The plugin arcade was amago-arcade 3: pip install 'amago-arcade==3'\n"
        "The plugin memory-zoo was memory-zoo 0.1.0: pip install 'memory-zoo==0.1.0'"
    )


def test_an_installed_version_without_the_part_is_named_as_well(tmp_path: Path) -> None:
    older = Plugin("memory-zoo", "amago-memory-zoo", "0.1.0")
    run = run_of(tmp_path, **{"amago-memory-zoo": "0.2.0"})
    assert refusal(run, plugins=(older,)).splitlines()[-1] == (
        "The plugin memory-zoo was amago-memory-zoo 0.2.0: pip install 'amago-memory-zoo==0.2.0' "
        "Installed is amago-memory-zoo 0.1.0."
    )


def test_a_broken_plugin_is_reported_with_its_reason(tmp_path: Path) -> None:
    broken = Plugin("memory-zoo", "amago-memory-zoo", "0.2.0", broken="importing it raised OSError: x")
    run = run_of(tmp_path, **{"amago-memory-zoo": "0.2.0"})
    assert refusal(run, plugins=(broken,)).splitlines()[-1] == (
        "The plugin memory-zoo is installed but broken: importing it raised OSError: x"
    )


@pytest.mark.parametrize(
    "text",
    [
        '[{"versions": {"amago-memory-zoo": "1; rm -rf /"}}]',
        '[{"versions": {"amago-memory-zoo": 7}}]',
        '[{"versions": ["amago-memory-zoo"]}]',
        "[]",
        "{}",
        "[" * 100_000,
        "\x00",
        "",
    ],
    ids=["command", "number", "list", "empty", "object", "deep", "zero", "nothing"],
)
def test_text_of_invalid_versions_is_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "versions.json").write_text(text)
    assert refusal(RunDir(tmp_path)) == (
        f"{tmp_path} was trained with parts that are not installed here:\n"
        "  agent.backbone: memory-zoo/traces\n"
        "The run does not say which version of the plugin memory-zoo it was trained with."
    )


def test_installed_parts_and_invalid_names_are_not_reported_missing() -> None:
    spec = {"backbone": {"use": "standard/gru"}, "use": "gru", "x": {"use": 3}, "y": {"use": "$(a)/b"}}
    assert missing_parts(spec) == {}


def test_an_evaluation_does_not_need_the_parts_that_only_train(tmp_path: Path) -> None:
    run = ready(tmp_path / "run")
    text = (run / "spec.yaml").read_text()
    for part in ("amago", "epsilon-greedy", "jsonl"):
        text = text.replace(f"standard/{part}", f"gone/{part}")
    (run / "spec.yaml").write_text(text)
    spec = evaluation_spec(RunDir(run), ["evaluation.episodes=7"])
    assert (spec.evaluation.episodes, spec.agent.context_length) == (7, 8)
    (run / "spec.yaml").write_text(text.replace("standard/bandit", "gone/bandit"))
    with pytest.raises(MissingPluginError) as caught:
        amago_core.evaluate(run)
    assert str(caught.value).splitlines()[1:-1] == ["  environment: gone/bandit"]
