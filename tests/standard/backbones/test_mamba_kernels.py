"""The fused kernel is used where it runs and agrees; asked for by name, it runs or is explained."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from amago_registry import BackboneContext, SequenceLayout, UnavailableError
from amago_standard.backbones import Mamba, mamba_kernels
from amago_standard.backbones.mamba_kernels import plain_scan, reasons_against_fused
from amago_standard.backbones.options import MambaOptions

CONTEXT = BackboneContext(in_dim=3, context_length=5, build=lambda part, context: None)
LAYOUT = SequenceLayout.build([4, 1, 6])
MODULE = "mamba_ssm.ops.triton.ssd_combined"
CPU = torch.device("cpu")


class Kernel:
    """Stands for mamba-ssm: its arguments and shapes, computed by torch; counts its calls."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda y: y) -> None:
        self.change, self.calls = change, 0

    def __call__(
        self,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        chunk_size: int,
        *,
        seq_idx: Tensor,
    ) -> Tensor:
        self.calls += 1
        assert (len(x), chunk_size, seq_idx.dtype) == (1, 256, torch.int32)
        layout = SequenceLayout.build(seq_idx[0].bincount().tolist())
        return self.change(plain_scan((x[0], dt[0], A, B[0], C[0]), layout)[None]).to(x.dtype)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Put a kernel where mamba-ssm would be, on a device that it may run on."""

    def put(kernel: Any) -> None:
        for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", MODULE):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setattr(sys.modules[MODULE], "mamba_chunk_scan_combined", kernel, raising=False)
        monkeypatch.setattr(mamba_kernels, "reasons_against_fused", lambda device: [])

    return put


def model(kernel: str, **options: Any) -> Mamba:
    torch.manual_seed(0)
    options = {"layers": 2, "width": 4, "heads": 2, "state_dim": 3, "kernel": kernel, **options}
    return Mamba(CONTEXT, MambaOptions.model_validate(options))


def stream() -> Tensor:
    return torch.randn(LAYOUT.timesteps, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kernel", ["auto", "fused"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_kernel_that_agrees_is_tried_once_and_used_in_every_layer(
    install: Callable[[Any], None], kernel: str, checkpoint: bool
) -> None:
    install(fake := Kernel())
    fused, plain = model(kernel, checkpoint=checkpoint).train(), model("torch").train()
    for backbone in (fused, plain):
        backbone(stream(), LAYOUT).square().sum().backward()
    assert fake.calls == 1 + (4 if checkpoint else 2)
    fused(stream(), LAYOUT)
    assert fake.calls == 3 + (4 if checkpoint else 2)
    for actual, expected in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad)


def test_it_is_tried_again_in_another_precision(install: Callable[[Any], None]) -> None:
    install(fake := Kernel())
    backbone = model("auto", layers=1).eval()
    backbone(stream(), LAYOUT)
    with torch.autocast("cpu", torch.bfloat16):
        assert backbone(stream(), LAYOUT).dtype == torch.float32
    assert fake.calls == 4


@pytest.mark.parametrize("factor", [1 + 1e-3, float("nan")])
def test_auto_does_not_use_a_kernel_that_disagrees(
    install: Callable[[Any], None], factor: float
) -> None:
    install(fake := Kernel(lambda y: factor * y))
    assert torch.equal(model("auto").eval()(stream(), LAYOUT), model("torch").eval()(stream(), LAYOUT))
    assert fake.calls == 1


def test_a_kernel_that_disagrees_is_refused_by_name_with_numbers(
    install: Callable[[Any], None],
) -> None:
    install(Kernel(lambda y: 1.001 * y))
    with pytest.raises(UnavailableError) as caught:
        model("fused")(stream(), LAYOUT)
    assert str(caught.value) == (
        "mamba's kernel 'fused' cannot run on this machine:\n"
        "  - tried on 345 timesteps, its output is off by 1.0e-03 of the largest number; rounding "
        "explains 2.0e-05\n"
        "Use 'auto' to let the machine decide, or 'torch', which runs everywhere."
    )


def test_a_kernel_whose_gradient_is_wrong_is_refused(install: Callable[[Any], None]) -> None:
    install(Kernel(lambda y: y + 0.5 * (y - y.detach())))
    with pytest.raises(UnavailableError, match=r"its gradient of x is off by 5\.0e-01 of the largest"):
        model("fused")(stream(), LAYOUT)


def test_tf32_counts_as_rounding_where_torch_is_allowed_it(
    install: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(fake := Kernel(lambda y: 1.001 * y))
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    fused, plain = (model(kernel).eval()(stream(), LAYOUT) for kernel in ("fused", "torch"))
    assert fake.calls == 3  # Tried once, then used in both layers.
    assert not torch.equal(fused, plain)


def test_a_kernel_that_raises_is_refused_with_its_exception(install: Callable[[Any], None]) -> None:
    def broken(*args: Any, **kwargs: Any) -> Tensor:
        raise RuntimeError("no such card\nand a trace of the compiler")

    install(broken)
    model("auto")(stream(), LAYOUT)
    with pytest.raises(UnavailableError) as caught:
        model("fused")(stream(), LAYOUT)
    assert str(caught.value).splitlines()[1] == (
        "  - tried on 345 timesteps, it raised RuntimeError: no such card"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a machine without a CUDA device")
def test_the_error_lists_every_reason_and_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    with pytest.raises(UnavailableError) as caught:
        model("fused")(stream(), LAYOUT)
    build = "has no CUDA in it" if torch.version.cuda is None else "finds no CUDA device"
    assert str(caught.value) == (
        "mamba's kernel 'fused' cannot run on this machine:\n"
        f"  - the installed torch {torch.__version__} {build}\n"
        "  - torch is set to be deterministic, and the kernel adds gradients in any order\n"
        "  - mamba-ssm is not installed: pip install mamba-ssm\n"
        "Use 'auto' to let the machine decide, or 'torch', which runs everywhere."
    )


def missing(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_an_agent_on_the_cpu_of_a_gpu_machine_is_asked_to_set_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(metadata, "version", lambda name: "2.2.4")
    assert reasons_against_fused(CPU) == ["the agent is trained on the CPU: set running.device=cuda"]


def test_an_installed_package_that_cannot_be_imported_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(metadata, "version", lambda name: "2.2.4")
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)  # Any import of it raises.
    (reason,) = reasons_against_fused(torch.device("cuda"))
    assert reason.startswith("importing mamba-ssm raised ModuleNotFoundError: ")


def test_an_agent_trained_with_the_fused_kernel_acts_anywhere() -> None:
    backbone = model("fused").eval()
    with torch.no_grad():
        y, _ = backbone.step(torch.randn(2, 3), torch.zeros(2), backbone.initial_state(2))
    assert y.shape == (2, 4)


def test_the_trial_leaves_torchs_random_numbers_alone(install: Callable[[Any], None]) -> None:
    install(Kernel())
    backbone = model("auto")
    before = torch.get_rng_state()
    backbone(stream(), LAYOUT)
    assert torch.equal(torch.get_rng_state(), before)
