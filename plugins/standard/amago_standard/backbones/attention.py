"""Attention kernels that run everywhere, and the one that chooses.

Shape suffixes: N = timesteps, B = environments, H = query heads, K = key/value heads,
F = features per head, S = sequences of one run, L = their common length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import Attention, State
from amago_standard.backbones.attention_local import LocalAttention, fused_attention
from amago_standard.backbones.cache import RingCache
from amago_standard.backbones.options import AttentionOptions

if TYPE_CHECKING:
    from amago_standard.backbones.attention_xformers import FilledSlots


class CachedAttention:
    """The acting half, common to all kernels: one query row against a ring of keys and values.

    Args:
        context: Heads, window, sinks and capacity; supplied by the backbone.
        options: None yet.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        del options
        self.context = context
        self._ring = RingCache(context)

    def cache(self, batch: int, like: Tensor) -> State:
        """Return an empty cache with the device and dtype of ``like``."""
        return self._ring.new(batch, like)

    def step(self, q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, State]:
        """Append one timestep per environment; return ``(B, H, F)`` and the cache."""
        return self._ring.attend(q_BHF, k_BKF, v_BKF, cache)

    def reset(self, cache: State, mask_B: Tensor) -> State:
        """Return the cache with the environments where ``mask_B`` is true emptied."""
        return self._ring.reset(cache, mask_B)

    def expand(self, x_NKF: Tensor) -> Tensor:
        """Repeat key/value heads until there is one per query head: ``(N, H, F)``."""
        groups = self.context.heads // self.context.kv_heads
        return x_NKF if groups == 1 else x_NKF.repeat_interleave(groups, dim=1)


class FilledSlotsAttention(CachedAttention):
    """The acting half of the kernels for CUDA: there, only the filled part of the ring is read.

    Which takes xformers; without it, and on the CPU, torch's operators act.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        self._slots: FilledSlots | None = None

    def step(self, q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, State]:
        """Append one timestep per environment; return ``(B, H, F)`` and the cache."""
        if q_BHF.is_cuda and (slots := self._filled_slots()).takes(q_BHF):
            return slots.attend(q_BHF, k_BKF, v_BKF, cache)
        return super().step(q_BHF, k_BKF, v_BKF, cache)

    def _filled_slots(self) -> FilledSlots:
        if self._slots is None:
            from amago_standard.backbones.attention_xformers import FilledSlots

            self._slots = FilledSlots(self._ring, self.context)
        return self._slots


class ReferenceAttention(CachedAttention):
    """A masked softmax over the whole stream, written from the formula. For tests: N x N memory."""

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        score_HNN = torch.einsum("nhf,mhf->hnm", q_NHF, self.expand(k_NKF))
        score_HNN = score_HNN * self.context.head_dim**-0.5
        weight_HNN = score_HNN.masked_fill(~self._seen(layout), -torch.inf).softmax(-1)
        return torch.einsum("hnm,mhf->nhf", weight_HNN, self.expand(v_NKF))

    def _seen(self, layout: SequenceLayout) -> Tensor:
        """Return which rows each row attends to, ``(N, N)``."""
        row_N = torch.arange(layout.timesteps, device=layout.sequence_N.device)
        back_NN = row_N[:, None] - row_N[None, :]
        past_NN = (back_NN >= 0) & (layout.sequence_N[:, None] == layout.sequence_N[None, :])
        if self.context.window is None:
            return past_NN
        sink_N = row_N - layout.offsets[layout.sequence_N] < self.context.sinks
        return past_NN & ((back_NN < self.context.window) | sink_N[None, :])


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


class AutoAttention(FilledSlotsAttention):
    """The fastest kernel for the device that has proved itself there.

    On CUDA xformers, else torch's variable-length kernel; each is used only after it has agreed with
    :class:`ReferenceAttention` on a small example, forward and backward. Everywhere else, and where
    neither can do what is asked (sinks, float64), torch's own fused kernel.
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
        # On the CPU neither is imported: xformers' wheel is there only for machines with a GPU.
        from amago_standard.backbones import attention_varlen as varlen
        from amago_standard.backbones import attention_xformers as xformers

        if not xformers.reasons_against(like_NHF, self.context):
            return xformers.XformersAttention(self.context, AttentionOptions())
        if not varlen.reasons_against(like_NHF, self.context):
            return varlen.VarlenAttention(self.context, AttentionOptions())
        return self._sdpa
