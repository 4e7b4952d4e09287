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
    """Return every reason why xformers cannot run on this machine; empty if it can."""
    reasons = []
    if not torch.cuda.is_available():
        build = "has no CUDA in it" if torch.version.cuda is None else "finds no CUDA device"
        reasons.append(f"the installed torch {torch.__version__} {build}")
    for package, why in (
        ("xformers", "it is the kernel itself"),
        ("nvidia-cuda-runtime-cu12", "xformers' operators load CUDA 12's runtime"),
    ):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            reasons.append(f"{package} is not installed ({why}): pip install {package}")
    return reasons or _refusals()


def _refusals() -> list[str]:
    try:
        import_module("xformers.ops")
    except (ImportError, OSError, RuntimeError) as error:
        return [f"importing xformers fails: {error}"]
    return []


def refusal_of(like_NHF: Tensor, context: AttentionContext) -> str | None:
    """Try forward and backward on two rows; return xformers' own words if no operator takes them.

    Which operators there are depends on the card, the precision and the width of a head.
    """
    q_NHF, k_NHF, v_NHF = (
        like_NHF.new_zeros(2, context.heads, context.head_dim).requires_grad_() for _ in range(3)
    )
    layout = SequenceLayout.build([2], device=like_NHF.device)
    try:
        with torch.enable_grad():
            y_NHF = _attend(q_NHF, k_NHF, v_NHF, block_causal_bias(layout, context.window))
            torch.autograd.grad(y_NHF.sum(), (q_NHF, k_NHF, v_NHF))
    except (NotImplementedError, RuntimeError, ValueError) as error:
        return str(error)
    return None


class XformersAttention(CachedAttention):
    """Block-diagonal causal attention over the packed stream, fused, in fp32 or bf16.

    Only training needs the kernel; acting reads a cache with torch's own operators, so that an agent
    trained with it can be loaded and used anywhere.

    Args:
        context: Heads, window and capacity; supplied by the backbone.
        options: None yet.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        self._biases: WeakKeyDictionary[SequenceLayout, Any] = WeakKeyDictionary()
        self._tried: set[torch.dtype] = set()

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself.

        Raises:
            UnavailableError: If xformers cannot run here; lists every reason.
        """
        if q_NHF.dtype not in self._tried:
            self._require(q_NHF)
            self._tried.add(q_NHF.dtype)
        if layout not in self._biases:
            self._biases[layout] = block_causal_bias(layout, self.context.window)
        return _attend(q_NHF, self.expand(k_NKF), self.expand(v_NKF), self._biases[layout])

    def _require(self, q_NHF: Tensor) -> None:
        reasons = reasons_against_xformers()
        if not reasons and not q_NHF.is_cuda:
            reasons.append("the agent is trained on the CPU: set running.device=cuda")
        if not reasons and (refused := refusal_of(q_NHF, self.context)):
            reasons.append(refused)
        if reasons:
            listed = "".join(f"\n  - {reason}" for reason in reasons)
            raise UnavailableError(
                f"attention 'xformers' cannot run on this machine:{listed}\n"
                "Use 'auto' to let the machine decide, or 'sdpa', which runs everywhere."
            )


def _attend(q_NHF: Tensor, k_NHF: Tensor, v_NHF: Tensor, bias: Any) -> Tensor:
    from xformers.ops import memory_efficient_attention

    y_1NHF = memory_efficient_attention(q_NHF[None], k_NHF[None], v_NHF[None], attn_bias=bias)
    return cast(Tensor, y_1NHF[0])


def block_causal_bias(layout: SequenceLayout, window: int | None) -> Any:
    """Return xformers' description of which rows see which, on the layout's device."""
    from xformers.ops.fmha.attn_bias import BlockDiagonalCausalMask

    bias = BlockDiagonalCausalMask.from_seqlens(list(layout.lengths), device=layout.offsets.device)
    return bias if window is None else bias.make_local_attention(window)
