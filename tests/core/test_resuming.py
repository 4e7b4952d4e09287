"""What a user is told on going on with a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys import Listener, tiny

from amago_core import train


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take longer than everything else in these runs."""
    monkeypatch.setattr("amago_core.plots.plot_run", lambda folder, evaluation: None)


def go(run: Path, *overrides: str, resume: bool = False) -> tuple[Any, list[str]]:
    listener = Listener()
    return train(tiny(), overrides, run=run, resume=resume, reporter=listener), listener.notes


def no_evaluation(*_: Any) -> None:
    raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (["training.rounds=2"], "training.rounds=2 is reached; a larger one goes on"),
        (
            ["training.stop.seconds=1.0e-6"],
            "training.stop.seconds=1e-06 is reached; null or a larger one goes on",
        ),
        (
            ["training.stop.return=-9"],
            "training.stop.return=-9 is reached; null or a larger one goes on",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_run_that_is_complete_says_so_and_is_not_evaluated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: list[str], reason: str
) -> None:
    first, _ = go(tmp_path / "run", *limits)
    monkeypatch.setattr("amago_core.evaluation.Evaluator.__call__", no_evaluation)
    again, notes = go(tmp_path / "run", *limits, resume=True)
    done = first.updates // 2
    assert notes == [
        f"going on after round {done}, update {first.updates}",
        f"already complete: {reason}",
    ]
    assert (again.evaluation, again.stopped, again.updates) == (
        first.evaluation, first.stopped, first.updates,
    )  # fmt: skip


def test_a_complete_run_whose_last_evaluation_is_lost_is_evaluated_again(tmp_path: Path) -> None:
    first, _ = go(tmp_path / "run")
    file = tmp_path / "run" / "evaluation.json"
    of_other_tasks = json.loads(file.read_text()) | {"mean_return": 99.0}
    for spoiled in ("", "{}", json.dumps(of_other_tasks)):
        file.write_text(spoiled)
        assert go(tmp_path / "run", resume=True)[0].evaluation == first.evaluation
    file.unlink()
    assert go(tmp_path / "run", resume=True)[0].evaluation == first.evaluation


def test_a_schedule_goes_on_where_it_was(tmp_path: Path) -> None:
    falling = "training.schedule=cosine", "training.warmup=3", "training.learning_rate=0.01"
    go(tmp_path / "whole", *falling)
    go(tmp_path / "parts", *falling, "training.stop.seconds=1.0e-6")
    _, notes = go(tmp_path / "parts", *falling, resume=True)
    assert notes == ["going on after round 1, update 2"]
    learned = [
        (tmp_path / name / "checkpoints" / "round-00000004" / "model.safetensors").read_bytes()
        for name in ("whole", "parts")
    ]
    assert learned[0] == learned[1]


def test_more_rounds_under_a_schedule_are_said_to_stretch_it(tmp_path: Path) -> None:
    falling = "training.schedule=linear", "training.warmup=0"
    go(tmp_path / "run", "training.rounds=2", *falling)
    _, notes = go(tmp_path / "run", *falling, resume=True)
    assert notes == [
        "training.rounds was 2 and is 4: the linear schedule spans all of them, so the learning rate "
        "jumps where the run goes on",
        "going on after round 2, update 4",
    ]
