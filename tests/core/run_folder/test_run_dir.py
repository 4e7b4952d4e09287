"""The folder of a run."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from ready_runs import create_run
from toys import tiny

from amago_core.compose.tasks import compose_task
from amago_core.errors import RunDirError
from amago_core.run_folder.run_dir import RunDir
from amago_core.spec import load_spec


def test_a_run_folder_describes_the_run(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "deep" / "run")
    folder.check()
    assert load_spec(folder.spec) == load_spec(tiny())
    task = compose_task(load_spec(tiny()).environment, 0)
    assert folder.read_spaces() == (task.observation_space, task.action_space)
    (since,) = json.loads(folder.versions.read_text())
    assert since["after_round"] == 0
    versions = since["versions"]
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__
    assert {"amago-core", "amago-registry", "amago-standard", "gymnasium"} <= set(versions)
    assert "unknown" not in versions.values()


def test_an_existing_folder_is_an_error_and_not_modified(tmp_path: Path) -> None:
    with pytest.raises(RunDirError) as caught:
        create_run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} exists. Add --resume to continue that run (from Python, "
        "train(..., resume=True)), "
        "or --run OTHER/FOLDER to start another one."
    )
    assert list(tmp_path.iterdir()) == []


def test_of_two_runs_that_start_at_once_one_gets_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = RunDir._write_description

    def describe_late(folder: RunDir, *arguments: Any) -> None:
        monkeypatch.setattr(RunDir, "_write_description", describe)
        create_run(tmp_path / "run")
        describe(folder, *arguments)

    monkeypatch.setattr(RunDir, "_write_description", describe_late)
    with pytest.raises(RunDirError) as caught:
        create_run(tmp_path / "run")
    assert str(caught.value).startswith(f"{tmp_path / 'run'} exists. Add --resume")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "spec.yaml", "spaces.json", "versions.json",
    }  # fmt: skip


def test_a_folder_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunDirError) as caught:
        create_run(tmp_path / "file" / "run")
    assert str(caught.value) == f"{tmp_path / 'file' / 'run'} cannot be made: Not a directory."


@pytest.mark.parametrize(("made", "missing"), [(False, "does not exist"), (True, "holds no spec.yaml")])
def test_a_folder_without_a_run_is_an_error(tmp_path: Path, made: bool, missing: str) -> None:
    path = tmp_path / "run"
    if made:
        path.mkdir()
    with pytest.raises(RunDirError) as caught:
        RunDir(path).check()
    assert str(caught.value) == f"{path} is not a run: it {missing}."


def test_changed_versions_are_recorded_when_a_run_is_resumed(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run")
    longer = load_spec(tiny(), ["training.rounds=9"])
    folder.record_versions(longer, 4)
    assert len(json.loads(folder.versions.read_text())) == 1
    assert load_spec(folder.spec).training.rounds == 9
    folder.versions.write_text('[{"after_round": 0, "versions": {"torch": "1.0"}}]')
    folder.record_versions(longer, 4)
    before, now = json.loads(folder.versions.read_text())
    assert (before["versions"], now["after_round"]) == ({"torch": "1.0"}, 4)
    assert now["versions"]["torch"] == torch.__version__
