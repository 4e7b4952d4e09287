"""xformers' memory-efficient attention; the only module that imports xformers.

Shape suffixes: N = timesteps, H = query heads, K = key/value heads, F = features per head.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.errors import UnavailableError
from amago_registry.layout import SequenceLayout
from amago_standard.backbones.attention import CachedAttention
from amago_standard.backbones.options import AttentionOptions


def reasons_against_xformers() -> list[str]:
    """Return every reason why xformers cannot run here; empty if it can."""
    reasons = []
    if not torch.cuda.is_available():
        build = "has no CUDA in it" if torch.version.cuda is None else "finds no CUDA device"
        reasons.append(f"the installed torch {torch.__version__} {build}")
    try:
        metadata.version("xformers")
    except metadata.PackageNotFoundError:
        reasons.append("xformers is not installed: pip install xformers")
    try:
        metadata.version("nvidia-cuda-runtime-cu12")
    except metadata.PackageNotFoundError:
        reasons.append(
            "xformers' operators need CUDA 12's runtime: pip install nvidia-cuda-runtime-cu12"
        )
    if not reasons:
        reasons += _import_failure()
    return reasons


def _import_failure() -> list[str]:
    try:
        import_module("xformers.ops")
    except (ImportError, OSError, RuntimeError) as error:
        return [f"importing xformers fails: {error}"]
    return []


class XformersAttention(CachedAttention):
    """Block-diagonal causal attention over the packed stream, fused, in fp32 or bf16.

    Args:
        context: Heads, window and capacity; supplied by the backbone.
        options: None yet.

    Raises:
        UnavailableError: If xformers cannot run on this machine; lists every reason.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        reasons = reasons_against_xformers()
        if reasons:
            listed = "".join(f"\n  - {reason}" for reason in reasons)
            raise UnavailableError(
                f"attention 'xformers' cannot run on this machine:{listed}\n"
                "Use 'auto' to let the machine decide, or 'sdpa', which runs everywhere."
            )
        self._biases: WeakKeyDictionary[SequenceLayout, Any] = WeakKeyDictionary()

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        from xformers.ops import memory_efficient_attention

        if layout not in self._biases:
            self._biases[layout] = block_causal_bias(layout, self.context.window)
        y_1NHF = memory_efficient_attention(
            q_NHF[None],
            self.expand(k_NKF)[None],
            self.expand(v_NKF)[None],
            attn_bias=self._biases[layout],
        )
        return cast(Tensor, y_1NHF[0])


def block_causal_bias(layout: SequenceLayout, window: int | None) -> Any:
    """Return xformers' description of which rows see which, on the layout's device."""
    from xformers.ops.fmha.attn_bias import BlockDiagonalCausalMask

    bias = BlockDiagonalCausalMask.from_seqlens(list(layout.lengths), device=layout.offsets.device)
    return bias if window is None else bias.make_local_attention(window)
