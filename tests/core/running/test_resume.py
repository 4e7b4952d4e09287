"""Notes and errors when a run is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys import Listener, tiny

from amago_core import train
from amago_core.run_folder.checkpoints import STATE, CheckpointError, _seal


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the plots, which take longer than everything else in these runs."""
    monkeypatch.setattr("amago_core.run_folder.plots.plot_run", lambda folder, evaluation: None)


def go(run: Path, *overrides: str, resume: bool = False) -> tuple[Any, list[str]]:
    listener = Listener()
    return train(tiny(), overrides, run=run, resume=resume, reporter=listener), listener.notes


def no_evaluation(*_: Any) -> None:
    raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (["training.rounds=2"], "training.rounds=2 is reached; raise it to continue"),
        (
            ["training.stop.seconds=1.0e-6"],
            "training.stop.seconds=1e-06 is reached; raise it, or set it to null, to continue",
        ),
        (
            ["training.stop.return=-9"],
            "training.stop.return=-9 is reached; raise it, or set it to null, to continue",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_resuming_a_complete_run_notes_it_and_does_not_evaluate_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: list[str], reason: str
) -> None:
    first, _ = go(tmp_path / "run", *limits)
    monkeypatch.setattr("amago_core.acting.evaluator.Evaluator.__call__", no_evaluation)
    again, notes = go(tmp_path / "run", *limits, resume=True)
    done = first.updates // 2
    assert notes == [
        f"resuming after round {done}, update {first.updates}",
        f"this run is already complete: {reason}",
    ]
    assert (again.evaluation, again.stopped, again.updates) == (
        first.evaluation, first.stopped, first.updates,
    )  # fmt: skip


def test_a_complete_run_without_its_last_evaluation_is_evaluated_again(tmp_path: Path) -> None:
    first, _ = go(tmp_path / "run")
    file = tmp_path / "run" / "evaluation.json"
    of_other_tasks = json.loads(file.read_text()) | {"mean_return": 99.0}
    for spoiled in ("", "{}", json.dumps(of_other_tasks)):
        file.write_text(spoiled)
        assert go(tmp_path / "run", resume=True)[0].evaluation == first.evaluation
    file.unlink()
    assert go(tmp_path / "run", resume=True)[0].evaluation == first.evaluation


def test_a_learning_rate_schedule_resumes_where_it_was(tmp_path: Path) -> None:
    falling = "training.schedule=cosine", "training.warmup=3", "training.learning_rate=0.01"
    go(tmp_path / "whole", *falling)
    go(tmp_path / "resumed", *falling, "training.stop.seconds=1.0e-6")
    _, notes = go(tmp_path / "resumed", *falling, resume=True)
    assert notes == ["resuming after round 1, update 2"]
    learned = [
        (tmp_path / name / "checkpoints" / "round-00000004" / "model.safetensors").read_bytes()
        for name in ("whole", "resumed")
    ]
    assert learned[0] == learned[1]


def test_more_rounds_under_a_schedule_are_noted_to_stretch_it(tmp_path: Path) -> None:
    falling = "training.schedule=linear", "training.warmup=0"
    go(tmp_path / "run", "training.rounds=2", *falling)
    _, notes = go(tmp_path / "run", *falling, resume=True)
    assert notes == [
        "training.rounds was 2 and is 4: the linear schedule spans all of them, so the learning rate "
        "jumps where the run is resumed",
        "resuming after round 2, update 4",
    ]


def test_a_changed_evaluation_is_noted_as_not_comparable(tmp_path: Path) -> None:
    go(tmp_path / "run", "training.rounds=2")
    _, notes = go(tmp_path / "run", "evaluation.episodes=4", "evaluation.every=1", resume=True)
    assert notes[0] == (
        "evaluation differs from before: checkpoints/best keeps the best checkpoint of the earlier "
        "evaluations until a mean return is higher"
    )
    _, notes = go(tmp_path / "run", "evaluation.episodes=4", "evaluation.every=2", resume=True)
    assert not any("evaluation" in note for note in notes)


@pytest.mark.parametrize(
    ("fact", "value", "why"),
    [
        ("slot", 2, "ValueError: it stored 16 trajectories, slot 2 of 2"),
        ("slot", -10, "ValueError: it stored 16 trajectories, slot -10 of 2"),
        ("slot", "x", "ValueError: it stored 16 trajectories, slot 'x' of 2"),
        ("stored", 10**30, "ValueError: it stored 10000000000000000000 trajectories, slot 0 of 2"),
        ("stored", None, "ValueError: it stored None trajectories, slot 0 of 2"),
        ("seconds", "x", "ValueError: could not convert string to float: 'x'"),
        (
            "mean_return",
            [],
            "TypeError: float() argument must be a string or a real number, not 'list'",
        ),
    ],
)
def test_a_checkpoint_with_invalid_counters_is_refused(
    tmp_path: Path, fact: str, value: Any, why: str
) -> None:
    run = tmp_path / "run"
    go(run)
    (newest,) = (run / "checkpoints").glob("round-00000004")
    state = json.loads((newest / STATE).read_text())["state"]
    state["facts"][fact] = value
    (newest / STATE).write_bytes(_seal(state))
    with pytest.raises(CheckpointError) as caught:
        go(run, resume=True)
    assert str(caught.value) == f"the checkpoint {newest} does not hold what this run needs: {why}"


def test_an_older_checkpoint_with_invalid_counters_does_not_stop_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(run)
    older = run / "checkpoints" / "round-00000002" / STATE
    state = json.loads(older.read_text())["state"]
    del state["facts"]["stored"]
    older.write_bytes(_seal(state))
    result, _ = go(run, "training.rounds=5", "checkpoints.every=1", resume=True)
    assert result.updates == 10
