"""The programs that measure backbones and kernels run, and count what they say they count."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks import attention, backbones

# KiB of one environment at context 9: 3 layers of 128 numbers of 4 bytes, unless said.
COSTS_OF_STATE = {
    "mlp": 0.0,
    "mingru": 1.5,
    "transformer": 3 * (2 * 10 * 128 * 4 + 8) / 1024,  # Keys and values of 10 steps, and a counter.
    "transformer window=4 kv_heads=2": 3 * (2 * 4 * 32 * 4 + 8) / 1024,
}


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attention, backbones):
        monkeypatch.setattr(module, "SECONDS", 0.0)


@pytest.mark.parametrize("backbone", COSTS_OF_STATE)
def test_a_backbones_training_acting_and_state_are_measured(backbone: str) -> None:
    assert backbones.train(backbone, 9, "cpu")["timesteps_per_second"] > 0
    acted = backbones.act(backbone, 9, "cpu", environments=2)
    assert acted["steps_per_second"] > 0
    assert acted["state_kib"] == COSTS_OF_STATE[backbone]


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
