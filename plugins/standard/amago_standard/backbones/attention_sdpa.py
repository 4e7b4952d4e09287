"""Attention by torch's ``scaled_dot_product_attention``, sequence by sequence, on any device.

Shape suffixes: N = timesteps, H = query heads, K = key/value heads, F = features per head,
S = sequences of one run, L = their common length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.layout import SequenceLayout
from amago_standard.backbones.attention_local import LocalAttention, fused_attention
from amago_standard.backbones.attention_reference import CachedAttention
from amago_standard.backbones.options import AttentionOptions


class SDPAttention(CachedAttention):
    """Torch's fused kernel, one call per run of equally long sequences; nothing is padded.

    Full attention takes time in the square of the length and memory in the length; a window takes both
    in the length: see :class:`~amago_standard.backbones.attention_local.LocalAttention`.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        self._local = None if context.window is None else LocalAttention(context.window, context.sinks)

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        # Split, not sliced: the gradients of slices are added up one by one in full-size zeros.
        rows = [sequences * length for _, sequences, length in layout.runs]
        q, k, v = (torch.split(x, rows) for x in (q_NHF, k_NKF, v_NKF))
        outputs = [
            self._attend(q[run], k[run], v[run], sequences, length)
            for run, (_, sequences, length) in enumerate(layout.runs)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, sequences: int, length: int) -> Tensor:
        """Return ``(S L, H, F)`` of a run of S sequences of L rows."""
        q_SLHF, k_SLKF, v_SLKF = (x.view(sequences, length, *x.shape[1:]) for x in (q, k, v))
        if self._local is None:
            y_SLHF = fused_attention(q_SLHF, k_SLKF, v_SLKF, None)
        else:
            y_SLHF = self._local(q_SLHF, k_SLKF, v_SLKF)
        return y_SLHF.flatten(0, 1)
