"""The device of the networks, and the precisions it supports."""

from __future__ import annotations

import pytest
import torch
from toys import tiny

from amago_core.compose.networks import check_precision, device_of
from amago_core.errors import AmagoError
from amago_core.spec import load_spec


@pytest.mark.parametrize(
    ("available", "setting", "device_type"),
    [(False, "auto", "cpu"), (True, "auto", "cuda"), (True, "cpu", "cpu"), (True, "cuda", "cuda")],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_device_follows_the_spec_and_bf16_needs_cuda(
    monkeypatch: pytest.MonkeyPatch, available: bool, setting: str, device_type: str, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    spec = load_spec(tiny(running={"device": setting, "precision": precision}))
    device = device_of(spec)
    assert device.type == device_type
    if precision == "fp32" or device_type == "cuda":
        check_precision(spec, device)
        return
    with pytest.raises(AmagoError) as caught:
        check_precision(spec, device)
    why = "running.device is cpu" if setting == "cpu" else "this torch finds no CUDA device"
    assert str(caught.value) == (
        f"running.precision is bf16, which needs a CUDA device, and {why}: write "
        "running.precision=fp32."
    )


def test_a_missing_cuda_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AmagoError) as caught:
        device_of(load_spec(tiny(running={"device": "cuda"})))
    assert str(caught.value) == (
        "running.device is cuda, and this torch finds no CUDA device; use auto or cpu."
    )
