"""Reference attention, written from the formula, and the cached acting step that all kernels share.

Shape suffixes: N = timesteps, B = environments, H = query heads, K = key/value heads,
F = features per head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.cache import RingCache
from amago_standard.backbones.options import AttentionOptions


class CachedAttention:
    """Cached attention for acting, common to all kernels: one query row against a ring buffer.

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


class ReferenceAttention(CachedAttention):
    """Reference attention: a masked softmax over the whole stream. For tests: N x N memory."""

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
