"""Two kernels of the selective state-space scan: torch's operators, and mamba-ssm's fused one.

The only module that imports mamba_ssm.

Shape suffixes: N = timesteps of a packed batch, H = heads, P = features per head, G = groups of heads,
S = features of the state per feature of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor

from amago_registry.errors import UnavailableError, reason
from amago_registry.layout import SequenceLayout
from amago_standard.layers.decayed_attention import decayed_attention

Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""``x_NHP``, ``step_NH``, ``rate_H`` (below 0), ``write_NGS`` and ``read_NGS``."""

CHUNK = 256
"""Timesteps that the fused kernel takes at once: its authors' choice."""


def plain_scan(inputs: Inputs, layout: SequenceLayout) -> Tensor:
    """Return the outputs of the scan by torch's operators.

    ``y_n = h_n read_n`` with ``h_n = exp(step_n rate) h_(n-1) + step_n x_n write_n^T``; in every head h
    is a ``(P, S)`` matrix, zero before the first timestep of a sequence.
    """
    x_NHP, step_NH, rate_H, write_NGS, read_NGS = inputs
    return decayed_attention(read_NGS, write_NGS, step_NH[..., None] * x_NHP, step_NH * rate_H, layout)


def fused_scan(inputs: Inputs, layout: SequenceLayout) -> Tensor:
    """Return what :func:`plain_scan` returns, from mamba-ssm's Triton kernel.

    Under autocast the kernel reads half precision; its sums and states are in single precision.
    """
    kernel = import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
    x_NHP, step_NH, rate_H, write_NGS, read_NGS = inputs
    dtype = _read_as(x_NHP)
    x_1NHP, write_1NGS, read_1NGS = (x[None].to(dtype) for x in (x_NHP, write_NGS, read_NGS))
    sequence_1N = layout.sequence_N[None].int()
    y_1NHP = kernel(
        x_1NHP, step_NH[None], rate_H, write_1NGS, read_1NGS, chunk_size=CHUNK, seq_idx=sequence_1N
    )
    return cast(Tensor, y_1NHP[0]).to(x_NHP.dtype)


class StateSpaceScan:
    """The selective state-space scan, by the kernel that the options name.

    Args:
        kernel: ``torch``; ``fused``, which runs or explains why not; ``auto``, fused where it runs.
    """

    def __init__(self, kernel: Literal["auto", "fused", "torch"]) -> None:
        self.kernel = kernel
        self._reasons: dict[object, list[str]] = {}

    def __call__(self, inputs: Inputs, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, P)``; see :func:`plain_scan`.

        Raises:
            UnavailableError: If ``fused`` was asked for and cannot run here; lists every reason.
        """
        if self.kernel == "torch":
            return plain_scan(inputs, layout)
        reasons = self._against_fused(inputs)
        if not reasons:
            return fused_scan(inputs, layout)
        if self.kernel == "auto":
            return plain_scan(inputs, layout)
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        raise UnavailableError(
            f"mamba's kernel 'fused' cannot run on this machine:{listed}\n"
            "Use 'auto' to let the machine decide, or 'torch', which runs everywhere."
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # It chooses, it computes nothing.
    def _against_fused(self, inputs: Inputs) -> list[str]:
        x_NHP = inputs[0]
        key = (_read_as(x_NHP), x_NHP.device, torch.get_float32_matmul_precision())
        if key not in self._reasons:
            reasons = reasons_against_fused(x_NHP.device)
            if not reasons and (refused := refusal_of(inputs)):
                reasons = [refused]
            self._reasons[key] = reasons
        return self._reasons[key]


def reasons_against_fused(device: torch.device) -> list[str]:
    """Return every reason why the fused kernel cannot run on a device; empty if it may be tried."""
    reasons = []
    if not torch.cuda.is_available():
        build = "has no CUDA in it" if torch.version.cuda is None else "finds no CUDA device"
        reasons.append(f"the installed torch {torch.__version__} {build}")
    elif device.type != "cuda":
        reasons.append("the agent is trained on the CPU: set running.device=cuda")
    if torch.are_deterministic_algorithms_enabled():
        reasons.append("torch is set to be deterministic, and the kernel adds gradients in any order")
    try:
        metadata.version("mamba-ssm")
    except metadata.PackageNotFoundError:
        reasons.append("mamba-ssm is not installed: pip install mamba-ssm")
    return reasons or _refusals()


def _refusals() -> list[str]:
    try:
        import_module("mamba_ssm.ops.triton.ssd_combined")
    # Compiled for another torch it raises OSError or ImportError, with another Triton nearly anything.
    except Exception as error:
        return [f"importing mamba-ssm raised {reason(error)}"]
    return []


def refusal_of(like: Inputs) -> str | None:
    """Try the fused kernel on three short sequences, forward and backward, against double precision.

    Returns:
        What it raised, or where it disagrees by more than rounding; None if it may be used.
    """
    # Under gradient checkpointing, what is saved here must not count as the block's.
    own_graph = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with torch.inference_mode(False), torch.enable_grad(), own_graph:
        return _disagreement(like)


def _disagreement(like: Inputs) -> str | None:
    layout = SequenceLayout.build([CHUNK + 44, 5, 40], device=like[0].device)
    fused, exact = _sample(like, layout.timesteps), _sample(like, layout.timesteps)
    exact = cast(Inputs, tuple(x.detach().double().requires_grad_() for x in exact))
    tolerance = _tolerance(_read_as(like[0]))
    try:
        tried = list(_with_gradients(fused_scan(fused, layout), fused))
    # Triton raises exceptions of its own, for each feature that a GPU may lack.
    except Exception as error:
        return f"tried on {layout.timesteps} timesteps, it raised {reason(error)}"
    expected = list(_with_gradients(plain_scan(exact, layout), exact))
    names = ("output", *(f"gradient of {name}" for name in ("x", "step", "rate", "write", "read")))
    for name, actual, truth in zip(names, tried, expected, strict=True):
        gap = ((actual.double() - truth).abs().max() / truth.abs().max()).item()
        if not gap <= tolerance:  # Not >: NaN never agrees.
            return (
                f"tried on {layout.timesteps} timesteps, its {name} is off by {gap:.1e} of the largest "
                f"number; rounding explains {tolerance:.1e}"
            )
    return None


def _read_as(x: Tensor) -> torch.dtype:
    """Return the dtype in which the fused kernel reads."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _tolerance(dtype: torch.dtype) -> float:
    if dtype == torch.float32:
        # The kernel multiplies in TF32, which counts as rounding where torch is allowed it as well.
        return 2e-5 if torch.get_float32_matmul_precision() == "highest" else 5e-3
    return 4 * torch.finfo(dtype).eps


def _sample(like: Inputs, timesteps: int) -> Inputs:
    """Return inputs of the given sizes and dtypes, the same ones at every call."""
    generator = torch.Generator().manual_seed(0)

    def drawn(x: Tensor, *shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator)
        return values.to(x.device, x.dtype).detach()

    x, step, rate, write, read = like
    values = (
        drawn(x, timesteps, *x.shape[1:]),
        0.1 * drawn(step, timesteps, *step.shape[1:]).abs(),
        -drawn(rate, *rate.shape).abs(),
        drawn(write, timesteps, *write.shape[1:]),
        drawn(read, timesteps, *read.shape[1:]),
    )
    return cast(Inputs, tuple(value.requires_grad_() for value in values))


def _with_gradients(y_NHP: Tensor, inputs: Inputs) -> Iterator[Tensor]:
    yield y_NHP.detach()
    weight = torch.linspace(-1, 1, y_NHP.numel(), device=y_NHP.device, dtype=y_NHP.dtype)
    yield from torch.autograd.grad(y_NHP, inputs, weight.view_as(y_NHP))
