"""Attention kernels that run everywhere.

Shape suffixes: N = timesteps, B = environments, H = query heads, K = key/value heads,
F = features per head, S = sequences of one run, L = their common length.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from amago_registry.contexts import AttentionContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import Attention, State
from amago_standard.backbones.cache import RingCache
from amago_standard.backbones.options import AttentionOptions


class CachedAttention:
    """The acting half, common to all kernels: one query row against a ring of keys and values.

    Args:
        context: Heads, window and capacity; supplied by the backbone.
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


class ReferenceAttention(CachedAttention):
    """A masked softmax over the whole stream, written from the formula. For tests: N x N memory."""

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        row_N = torch.arange(layout.timesteps, device=q_NHF.device)
        back_NN = row_N[:, None] - row_N[None, :]
        seen_NN = (back_NN >= 0) & (layout.sequence_N[:, None] == layout.sequence_N[None, :])
        if self.context.window is not None:
            seen_NN &= back_NN < self.context.window
        score_HNN = torch.einsum("nhf,mhf->hnm", q_NHF, self.expand(k_NKF))
        score_HNN = score_HNN * self.context.head_dim**-0.5
        weight_HNN = score_HNN.masked_fill(~seen_NN, -torch.inf).softmax(-1)
        return torch.einsum("hnm,mhf->nhf", weight_HNN, self.expand(v_NKF))


class SDPAttention(CachedAttention):
    """Torch's fused kernel, one call per run of equally long sequences; nothing is padded."""

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        # The last mask alone: the layers of a Transformer ask for one after the other.
        self._windows: dict[tuple[int, torch.device], Tensor] = {}

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        # Split, not sliced: the gradients of slices are added up one by one in full-size zeros.
        rows = [sequences * length for _, sequences, length in layout.runs]
        q, k, v = (torch.split(x, rows) for x in (q_NHF, self.expand(k_NKF), self.expand(v_NKF)))
        outputs = [
            self._attend(q[run], k[run], v[run], sequences, length)
            for run, (_, sequences, length) in enumerate(layout.runs)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, sequences: int, length: int) -> Tensor:
        """Return ``(S L, H, F)`` of a run of S sequences of L rows."""
        q_SHLF, k_SHLF, v_SHLF = (
            x.view(sequences, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v)
        )
        window = self._window(length, q.device)
        y_SHLF = scaled_dot_product_attention(
            q_SHLF, k_SHLF, v_SHLF, attn_mask=window, is_causal=window is None
        )
        return y_SHLF.transpose(1, 2).flatten(0, 1)

    def _window(self, length: int, device: torch.device) -> Tensor | None:
        if self.context.window is None or length <= self.context.window:
            return None
        key = (length, device)
        if key not in self._windows:
            row_L = torch.arange(length, device=device)
            back_LL = row_L[:, None] - row_L[None, :]
            self._windows = {key: (back_LL >= 0) & (back_LL < self.context.window)}
        return self._windows[key]


class AutoAttention(CachedAttention):
    """The fastest kernel for the device: xformers on CUDA where it runs, torch's own elsewhere."""

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        self._sdpa: Attention = SDPAttention(context, options)
        self._cuda: dict[torch.dtype, Attention] = {}

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself."""
        kernel = self._on_cuda(q_NHF) if q_NHF.is_cuda else self._sdpa
        return kernel.packed(q_NHF, k_NKF, v_NKF, layout)

    def _on_cuda(self, q_NHF: Tensor) -> Attention:
        if q_NHF.dtype not in self._cuda:
            from amago_standard.backbones import attention_xformers as xformers

            fits = not xformers.reasons_against_xformers()
            fits = fits and xformers.refusal_of(q_NHF, self.context) is None
            self._cuda[q_NHF.dtype] = (
                xformers.XformersAttention(self.context, AttentionOptions()) if fits else self._sdpa
            )
        return self._cuda[q_NHF.dtype]
