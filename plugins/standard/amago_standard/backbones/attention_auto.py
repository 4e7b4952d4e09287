"""Automatic choice of the attention kernel by device, dtype and installed packages.

Shape suffixes: N = timesteps, H = query heads, K = key/value heads, F = features per head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import Attention
from amago_standard.backbones import attention_varlen as varlen
from amago_standard.backbones import attention_xformers as xformers
from amago_standard.backbones.attention_sdpa import SDPAttention
from amago_standard.backbones.attention_xformers import FilledSlotsAttention
from amago_standard.backbones.options import AttentionOptions


class AutoAttention(FilledSlotsAttention):
    """The fastest attention kernel that passes a correctness check on the device.

    On CUDA xformers, else torch's variable-length kernel; each is used only after it has agreed with
    :class:`ReferenceAttention` on a small example, forward and backward. On other devices, and where
    neither supports the request (sinks, float64), torch's own fused kernel.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        self._sdpa: Attention = SDPAttention(context, options)
        self._chosen: dict[torch.dtype, Attention] = {}

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        kernel = self._on_cuda(q_NHF) if q_NHF.is_cuda else self._sdpa
        return kernel.packed(q_NHF, k_NKF, v_NKF, layout)

    def _on_cuda(self, like_NHF: Tensor) -> Attention:
        if like_NHF.dtype not in self._chosen:
            self._chosen[like_NHF.dtype] = self._choose(like_NHF)
        return self._chosen[like_NHF.dtype]

    def _choose(self, like_NHF: Tensor) -> Attention:
        # Neither package is imported before this: on the CPU they may be absent.
        if not xformers.reasons_against(like_NHF, self.context):
            return xformers.XformersAttention(self.context, AttentionOptions())
        if not varlen.reasons_against(like_NHF, self.context):
            return varlen.VarlenAttention(self.context, AttentionOptions())
        return self._sdpa
