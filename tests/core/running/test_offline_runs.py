"""Offline runs, and runs that mix recordings with what they collect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bandit_recordings import record_run
from toys import Listener, tiny

import amago_core
from amago_core import train
from amago_core.run_folder.evaluate_run import evaluate_run
from amago_core.running.result import Result
from amago_core.spec import load_spec

BANDIT = {"use": "bandit", "arms": 3, "pulls": 12, "gaussian": True, "sigma": 0.1}
OFFLINE = "training.steps_per_round=0"


@pytest.fixture(autouse=True, scope="module")
def without_plots() -> Iterator[None]:
    """Leave out the plots, which take longer than everything else in these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amago_core.run_folder.plots.plot_run", lambda folder, evaluation: None)
        patch.setattr("amago_core.run_folder.plots.plot_adaptation", lambda evaluation, path: None)
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred tasks of a random policy, whose mean return is 6."""
    folder = tmp_path_factory.mktemp("runs") / "random"
    return record_run(load_spec(tiny(environment=BANDIT)), folder, count=400)


def spec(recordings: Path, **changes: Any) -> dict[str, Any]:
    shards = {"use": "shards", "folder": str(recordings)}
    return tiny(**{"environment": None, "dataset": shards, **changes})


def go(written: dict[str, Any], run: Path, *overrides: str, **settings: Any) -> Result:
    return train(written, overrides, run=run, reporter=Listener(), **settings)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_agent_learns_offline_from_recordings_alone(recordings: Path, tmp_path: Path) -> None:
    agent = {
        "context_length": 12,
        "discount": 0.9,
        "auxiliary_discounts": [0.5],
        "encoder": {"use": "mlp", "hidden_dims": [64], "out_dim": 32, "normalize": False},
        "backbone": {"use": "gru", "layers": 1, "width": 32},
        "actor": {"use": "mlp", "hidden_dims": [64]},
        "critic": {"use": "ensemble", "hidden_dims": [64]},
    }
    training = {"batch": 32, "learning_rate": 1e-3, "warmup": 20, "rounds": 1, "steps_per_round": 0}
    written = spec(recordings, environment=BANDIT, agent=agent, training=training)
    before = files(recordings)
    result = go(written, tmp_path / "run", "evaluation.episodes=100")
    assert (result.updates, result.env_steps) == (200, 0)
    assert result.evaluation is not None
    assert result.evaluation.mean_return > 7.4  # The best arm, known from the start, pays 9.
    assert files(recordings) == before


def test_a_run_without_an_environment_trains_resumes_and_acts(recordings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = go(spec(recordings), run, OFFLINE)
    assert (result.updates, result.env_steps, result.evaluation) == (8, 0, None)
    assert go(spec(recordings), run, OFFLINE, "training.rounds=6", resume=True).updates == 12
    assert not (run / "replay").exists()
    agent = amago_core.load(run)
    agent.reset(batch=2)
    assert agent.act(np.zeros((2, 1), np.float32)).shape == (2,)
    evaluation = evaluate_run(run, ["evaluation.environment={use: bandit, arms: 3, pulls: 12}"])
    assert evaluation.episodes == 3


def test_the_same_recordings_and_seed_give_the_same_weights(recordings: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "other"):
        go(spec(recordings), tmp_path / name, OFFLINE)
        state = amago_core.load(tmp_path / name).agent.state_dict()
        weights.append({key: value.numpy().tobytes() for key, value in state.items()})
    assert weights[0] == weights[1]


@pytest.mark.parametrize("loader", ["none", "thread"])
def test_batches_mix_recordings_with_collected_trajectories(
    recordings: Path, tmp_path: Path, loader: str
) -> None:
    moving = {"dataset_share": 1.0, "final_dataset_share": 0.0, "anneal_updates": 6}
    sampling = {**moving, "loader": loader}
    written = spec(recordings, environment=BANDIT, sampling=sampling)
    result = go(written, tmp_path / "run")
    assert (result.updates, result.env_steps) == (8, 160)
    assert list((tmp_path / "run" / "replay").glob("*.safetensors"))


def test_a_mixture_of_runs_is_learned_from(recordings: Path, tmp_path: Path) -> None:
    shards = {"use": "shards", "folder": str(recordings)}
    mixed = {"use": "mixture", "datasets": [shards, {**shards, "by": "timesteps"}], "weights": [1, 2]}
    assert go(spec(recordings, dataset=mixed), tmp_path / "run", OFFLINE).updates == 8


def test_a_damaged_shard_does_not_stop_a_run(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for _ in range(2):
        record_run(load_spec(tiny(environment=BANDIT)), source)
    first, *_ = sorted((source / "replay").glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-7])
    assert go(spec(source), tmp_path / "run", OFFLINE).updates == 8
    assert first.exists()
