"""Torch's variable-length attention kernel, for CUDA without xformers; chosen by ``auto`` only.

Shape suffixes: N = timesteps, H = query heads, K = key/value heads, F = features per head.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.layout import SequenceLayout
from amago_standard.backbones.attention_trial import Packed, disagreement
from amago_standard.backbones.attention_xformers import FilledSlotsAttention


class VarlenAttention(FilledSlotsAttention):
    """Flash attention over the packed stream by ``torch.nn.attention.varlen``, in half precision.

    The function has changed between torch's versions, so its parameters are read from its signature.
    """

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        attend = _varlen_function()
        takes = signature(attend).parameters
        options = _causal(self.context.window, "window_size" in takes)
        if "enable_gqa" in takes:
            options["enable_gqa"] = self.context.heads != self.context.kv_heads
        else:
            k_NKF, v_NKF = self.expand(k_NKF), self.expand(v_NKF)
        ends, longest = layout.offsets, max(layout.lengths)
        return cast(Tensor, attend(q_NHF, k_NKF, v_NKF, ends, ends, longest, longest, **options))


def reasons_against(like_NHF: Tensor, context: AttentionContext) -> list[str]:
    """Return why the kernel cannot be used for such queries; empty if it can."""
    if context.sinks:
        return ["torch's variable-length kernel has no attention sinks"]
    if like_NHF.dtype not in (torch.bfloat16, torch.float16):
        return [f"torch's variable-length kernel takes half precision, not {like_NHF.dtype}"]
    refused = disagreement(_packed, like_NHF, context)
    return [refused] if refused else []


def _packed(context: AttentionContext) -> Packed:
    from amago_standard.backbones.options import AttentionOptions

    return VarlenAttention(context, AttentionOptions()).packed


def _varlen_function() -> Callable[..., Any]:
    return cast(Callable[..., Any], import_module("torch.nn.attention.varlen").varlen_attn)


def _causal(window: int | None, windowed: bool) -> dict[str, Any]:
    """Return the keyword arguments for a causal mask, as the installed torch names them.

    Raises:
        NotImplementedError: If a window is wanted and this torch's kernel has none.
    """
    if windowed:  # How many rows are seen before and after one's own; -1 for all.
        return {"window_size": (-1 if window is None else window - 1, 0)}
    if window is not None:
        raise NotImplementedError(f"the kernel of torch {torch.__version__} has no window")
    return {"is_causal": True}
