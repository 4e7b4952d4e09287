"""Runs on the vector forms of standard tasks: the trajectories and weights of a run without them."""

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
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_run_on_the_vector_form_is_the_run_on_environments_one_by_one(
    name: str, tmp_path: Path
) -> None:
    environment = {"use": name, **TASKS[name]}
    runs, results = [tmp_path / "sync", tmp_path / "native"], []
    for run in runs:
        collector = {"environments": 3, "vectorization": run.name, "sample": False}
        spec = tiny(environment=environment, collector=collector)
        results.append(train(spec, run=run, reporter=Listener()))
    alone, together = map(stored, runs)
    assert len(alone) == len(together) >= 12
    for (seed, success, columns), (seed_too, success_too, columns_too) in zip(
        alone, together, strict=True
    ):
        assert (seed, success) == (seed_too, success_too)
        assert columns.keys() == columns_too.keys()
        for key, column in columns.items():
            assert column.dtype == columns_too[key].dtype
            assert np.array_equal(column, columns_too[key])
    assert learned(runs[0]) == learned(runs[1])
    assert results[0].evaluation == results[1].evaluation
