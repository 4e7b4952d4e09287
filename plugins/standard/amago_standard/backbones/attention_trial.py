"""Correctness check of a fast attention kernel against the formula, on the device it will run on.

Shape suffixes: N = timesteps, H = query heads, K = key/value heads, F = features per head.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.layout import SequenceLayout
from amago_standard.backbones.attention_reference import ReferenceAttention
from amago_standard.backbones.options import AttentionOptions

Packed = Callable[[Tensor, Tensor, Tensor, SequenceLayout], Tensor]

_LENGTHS = (3, 1, 130, 257)
"""Short, and around the tiles of 64 and 128 rows that kernels work in."""

_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-3}
"""Share of the largest number that rounding may explain; what is wrong is wrong by its own size."""


def disagreement(
    build: Callable[[AttentionContext], Packed], like_NHF: Tensor, context: AttentionContext
) -> str | None:
    """Compare a kernel with the formula on a few hundred random rows, forward and backward.

    Which kernels exist, and which are correct, depends on the GPU, the precision and the width of a
    head. Takes milliseconds and does not change torch's random state.

    Args:
        build: Returns the kernel for a context: the given one with a window shorter than the rows.
        like_NHF: Queries; only their device and dtype are used.
        context: Heads and window.

    Returns:
        What the kernel raised or got wrong; None if it agrees with the formula.
    """
    if context.window is not None:
        context = replace(context, window=min(context.window, 100))
    layout = SequenceLayout.build(_LENGTHS, device=like_NHF.device)
    exact = ReferenceAttention(context, AttentionOptions()).packed
    with torch.inference_mode(False), torch.enable_grad(), _full_precision(like_NHF), _separate_graph():
        inputs = _inputs(layout.timesteps, like_NHF, context)
        try:
            actual = _results(build(context), inputs, layout)
        except Exception as error:  # Compilers and drivers raise exceptions of any class.
            return str(error) or type(error).__name__
        expected = _results(exact, [x.double() for x in inputs], layout)
    names = ("output", "gradient of the queries", "gradient of the keys", "gradient of the values")
    scale = max(x.abs().max().item() for x in expected[1:])
    scales = (expected[0].abs().max().item(), scale, scale, scale)
    gaps = (
        gap_of(name, got, wanted, like_NHF.dtype, size)
        for name, got, wanted, size in zip(names, actual, expected, scales, strict=True)
    )
    return next((gap for gap in gaps if gap), None)


def gap_of(name: str, actual: Tensor, exact: Tensor, dtype: torch.dtype, scale: float) -> str | None:
    """Return how far two tensors are apart, if by more than rounding explains; NaN always is."""
    allowed = _TOLERANCE.get(dtype, 1e-9) * scale
    gap = (actual.double() - exact.double()).abs().max().item()
    if gap <= allowed:
        return None
    return f"its {name} is wrong by {gap:.1e}, where rounding explains {allowed:.1e}"


def _separate_graph() -> AbstractContextManager[object]:
    """Keep saved tensors of the check apart from those that gradient checkpointing counts."""
    return torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)


def _full_precision(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


def _inputs(rows: int, like_NHF: Tensor, context: AttentionContext) -> list[Tensor]:
    """Return random queries, keys and values that are strided as a layer's three outputs are."""
    heads = [context.heads, context.kv_heads, context.kv_heads]
    generator = torch.Generator().manual_seed(0)
    joint = torch.randn(rows, sum(heads), context.head_dim, generator=generator)
    joint = joint.to(like_NHF.device, like_NHF.dtype)
    return [x.requires_grad_() for x in torch.split(joint, heads, dim=1)]


def _results(packed: Packed, inputs: list[Tensor], layout: SequenceLayout) -> tuple[Tensor, ...]:
    q_NHF, k_NKF, v_NKF = inputs
    y_NHF = packed(q_NHF, k_NKF, v_NKF, layout)
    toward_NHF = torch.linspace(-1, 1, y_NHF.numel(), device=y_NHF.device).view(y_NHF.shape)
    # Rounded once, so that both kernels are asked for the same gradient.
    toward_NHF = toward_NHF.to(torch.bfloat16).to(y_NHF.dtype)
    return (y_NHF.detach(), *torch.autograd.grad(y_NHF, inputs, toward_NHF))
