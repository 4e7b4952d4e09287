"""The benchmarks run, and measure what they claim to measure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks import attention, backbones, environments, replay, rollout, running

# KiB of one environment at context 9: 3 layers of 128 numbers of 4 bytes, unless noted.
COSTS_OF_STATE = {
    "mlp": 0.0,
    "mingru": 1.5,
    "transformer": 3 * (2 * 10 * 128 * 4 + 8) / 1024,  # Keys and values of 10 steps, and a counter.
    "transformer window=4 kv_heads=2": 3 * (2 * 4 * 32 * 4 + 8) / 1024,
}

BRIEFLY = ["--count", "3", "--seconds", "0"]


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attention, backbones, rollout):
        monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(replay, "REPEATS", 10)


@pytest.mark.parametrize("backbone", COSTS_OF_STATE)
def test_a_backbones_training_acting_and_state_are_measured(backbone: str) -> None:
    assert backbones.train(backbone, 9, "cpu")["timesteps_per_second"] > 0
    acted = backbones.act(backbone, 9, "cpu", environments=2)
    assert acted["steps_per_second"] > 0
    assert acted["state_kib"] == COSTS_OF_STATE[backbone]


def test_the_time_of_a_rollout_is_divided_among_environment_network_and_rest() -> None:
    measured = rollout.measure("cartpole", 3, "sync")
    assert measured["steps_per_second"] > 0
    shares = [measured[share] for share in ("environment", "network", "rest")]
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(1)


def test_tasks_are_timed_one_by_one_and_in_their_vector_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ["bandit", "dark-key-to-door", "meta-frozen-lake"]
    monkeypatch.setattr(sys, "argv", ["environments", "--tasks", *tasks, *BRIEFLY])
    environments.main()
    title, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert title == ["task", "alone", "steps/s", "vectorized", "(3)", "steps/s"]
    assert [row[0] for row in rows] == tasks
    numbers = [[cell.replace(",", "").isdigit() for cell in row[1:]] for row in rows]
    assert numbers == [[True, True], [True, True], [True, False]]


@pytest.mark.parametrize("task", ["t-maze", "bandit", "dark-room", "dark-key-to-door"])
def test_a_vector_of_tasks_steps_several_times_faster_than_one(task: str) -> None:
    alone = environments.speed_alone(environments.TASKS[task], 0.05)
    vectorized = environments.speed_vectorized(environments.TASKS[task], 1024, 0.05)
    assert alone > 20_000  # A fifth of the target speed: other programs may be running.
    assert vectorized is not None
    assert vectorized > 2 * alone


def test_the_speed_of_a_run_counts_neither_its_first_rounds_nor_its_last() -> None:
    ends = [50.0, 60.0, 70.0, 72.0, 74.0, 76.0, 99.0]  # Seconds after which each round ended.
    rounds = [
        {"round": number, "update": 10 * number, "env_steps": 400 * number, "seconds": seconds}
        for number, seconds in enumerate(ends, start=1)
    ]
    assert running.speed(rounds, 10) == running.Speed(2.0, 200.0, 5.0)
    with pytest.raises(ValueError, match=r"^30 updates in 3 rounds of 11$"):
        running.speed(rounds, 11)


@pytest.mark.skipif(torch.cuda.is_available(), reason="every kernel can run where there is a GPU")
def test_a_kernel_that_cannot_run_is_left_out_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["attention", "--lengths", "16", "--timesteps", "32"])
    monkeypatch.setattr(attention.Machine, "products_per_second", lambda _: 1e9)
    monkeypatch.setattr(attention.Machine, "bytes_per_second", lambda _: 1e9)
    attention.main()
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines() if line.strip().startswith("16 ")]
    training, acting = rows
    assert (len(training), len(acting)) == (2 + 2 * 5, 1 + 2 * 4)
    assert training[2:4] == ["-", "-"]
    assert "xformers: attention 'xformers' cannot run on this machine:" in printed


def test_loading_writing_and_opening_a_replay_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay.run(tmp_path, trajectories=48, opened=30)
    loading, loaders, writing, opening = capsys.readouterr().out.split("\n\n")
    rows = [
        row.split() for table in (loading, loaders, writing, opening) for row in table.splitlines()[1:]
    ]
    assert [row[:3] for row in rows[:4]] == [
        ["256", "48", "trajectories"],
        ["256", "48", "timesteps"],
        ["1024", "12", "trajectories"],
        ["1024", "12", "timesteps"],
    ]
    assert [row[0] for row in rows[4:7]] == ["none", "thread", "process"]
    assert [row[:-1] for row in rows[7:9]] == [["synced"], ["no", "sync"]]
    assert [row[:2] for row in rows[9:]] == [["30", "24"], ["30", "1"]]
    assert len(list((tmp_path / "many-24").glob("*.safetensors"))) == 2
    assert len(list((tmp_path / "many-1").glob("*.safetensors"))) == 30
