"""Runs on the vector forms of standard tasks equal runs on separate environments, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import Listener, tiny

from amago_core import train
from amago_core.replay import Replay
from amago_core.run_folder.checkpoints import CheckpointStore

TASKS: dict[str, dict[str, Any]] = {
    "t-maze": {"length": 5, "active": True},
    "bandit": {"arms": 3, "pulls": 9, "gaussian": True},
    "dark-room": {"size": 3, "attempts": 3, "attempt_limit": 4},
    "dark-key-to-door": {"size": 2, "horizon": 12, "attempt_limit": 4},
}


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amago_core.run_folder.plots.plot_run", lambda folder, evaluation: None)


def stored(run: Path) -> list[tuple[int, float | None, dict[str, np.ndarray]]]:
    replay = Replay(run / "replay", 1000)
    trajectories = [replay.trajectory(index) for index in replay.visible()]
    return [(one.seed, one.success, dict(one.columns)) for one in trajectories]


def learned(run: Path) -> bytes:
    newest = CheckpointStore(run / "checkpoints", keep=1).latest()
    assert newest is not None
    return (newest.path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", TASKS)
def test_a_run_on_the_vector_form_equals_one_on_separate_environments(
    name: str, tmp_path: Path
) -> None:
    environment = {"use": name, **TASKS[name]}
    runs, results = [tmp_path / "sync", tmp_path / "native"], []
    for run in runs:
        collector = {"environments": 3, "vectorization": run.name, "sample": False}
        spec = tiny(environment=environment, collector=collector)
        results.append(train(spec, run=run, reporter=Listener()))
    separate, vector = map(stored, runs)
    assert len(separate) == len(vector) >= 12
    for (seed, success, columns), (vector_seed, vector_success, vector_columns) in zip(
        separate, vector, strict=True
    ):
        assert (seed, success) == (vector_seed, vector_success)
        assert columns.keys() == vector_columns.keys()
        for key, column in columns.items():
            assert column.dtype == vector_columns[key].dtype
            assert np.array_equal(column, vector_columns[key])
    assert learned(runs[0]) == learned(runs[1])
    assert results[0].evaluation == results[1].evaluation
