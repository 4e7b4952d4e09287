"""Key/value cache for acting.

Shape suffixes: B = environments, H = query heads, K = key/value heads, G = query heads of one key/value
head, F = features per head, T = slots.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.protocols import State

_WORTH_A_CALL = 2**15
"""Key features whose reading takes as long as one more call of the kernel."""


class RingCache:
    """Ring buffers with the keys and values of the last timesteps of each environment.

    Each environment has its own length. Once the ring is full, a timestep overwrites the oldest one.
    The first ``sinks`` timesteps since the reset have slots before the ring and are never overwritten::

        slots      s0 s1 | r0 r1 r2 r3        (2 sinks, a ring of 4)
        timesteps   0  1 |  6  7  4  5        (8 seen: 2 and 3 are forgotten)

    The filled slots are the first ``min(seen, T)``, and attention does not depend on their order, so
    nothing is ever moved. A reset sets one length to zero, and that environment's values: a weight of
    zero times inf or NaN would not be zero.

    Args:
        context: Heads, capacity, window and sinks.
    """

    def __init__(self, context: AttentionContext) -> None:
        self.heads, self.kv_heads = context.heads, context.kv_heads
        self.head_dim = context.head_dim
        self.sinks = context.sinks
        self.ring = min(context.capacity, context.window or context.capacity)
        self.slots = self.sinks + self.ring

    def new(self, batch: int, like: Tensor) -> State:
        """Return an empty cache: keys and values ``(B, K, T, F)``, timesteps seen ``(B,)``."""
        shape = (batch, self.kv_heads, self.slots, self.head_dim)
        return {
            "key": like.new_zeros(shape),
            "value": like.new_zeros(shape),
            "seen": torch.zeros(batch, dtype=torch.int64, device=like.device),
        }

    def reset(self, cache: State, mask_B: Tensor) -> State:
        """Empty the rings where ``mask_B`` is true."""
        cast(Tensor, cache["seen"]).masked_fill_(mask_B, 0)
        cast(Tensor, cache["value"]).index_fill_(0, mask_B.nonzero()[:, 0], 0)
        return cache

    def append(self, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, Tensor, Tensor]:
        """Write one timestep per environment; return keys, values and timesteps seen."""
        key_BKTF, value_BKTF, seen_B = (cast(Tensor, cache[name]) for name in ("key", "value", "seen"))
        rows_B = torch.arange(seen_B.shape[0], device=seen_B.device)
        slot_B = self._slot(seen_B)
        key_BKTF[rows_B, :, slot_B] = k_BKF.to(key_BKTF.dtype)  # Autocast may have rounded them.
        value_BKTF[rows_B, :, slot_B] = v_BKF.to(value_BKTF.dtype)
        seen_B += 1
        return key_BKTF, value_BKTF, seen_B

    def _slot(self, seen_B: Tensor) -> Tensor:
        if not self.sinks:
            return seen_B.remainder(self.ring)
        in_ring_B = (seen_B - self.sinks).remainder(self.ring) + self.sinks
        return torch.where(seen_B < self.sinks, seen_B, in_ring_B)

    def attend(self, q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, State]:
        """Append one timestep per environment and attend to all in the cache: ``(B, H, F)``."""
        key_BKTF, value_BKTF, seen_B = self.append(k_BKF, v_BKF, cache)
        q_BKGF = q_BHF.view(len(q_BHF), self.kv_heads, -1, self.head_dim) * self.head_dim**-0.5
        y_BKGF = self._attend(q_BKGF, key_BKTF, value_BKTF, seen_B)
        return y_BKGF.reshape(q_BHF.shape), cache

    def _attend(self, q_BKGF: Tensor, key_BKTF: Tensor, value_BKTF: Tensor, seen_B: Tensor) -> Tensor:
        if seen_B.is_cuda:  # Reading the lengths would make a GPU wait; there the whole ring is masked.
            return _softmax(q_BKGF, key_BKTF, value_BKTF, seen_B)
        lengths = seen_B.clamp(max=self.slots).tolist()
        longest = max(lengths)
        empty = longest * len(lengths) - sum(lengths)
        if empty * self.kv_heads * self.head_dim > len(lengths) * _WORTH_A_CALL:
            return torch.stack(
                [
                    _softmax(q_KGF, key_KTF[:, :length], value_KTF[:, :length])
                    for q_KGF, key_KTF, value_KTF, length in zip(
                        q_BKGF, key_BKTF, value_BKTF, lengths, strict=True
                    )
                ]
            )
        key_BKTF, value_BKTF = key_BKTF[:, :, :longest], value_BKTF[:, :, :longest]
        return _softmax(q_BKGF, key_BKTF, value_BKTF, seen_B if empty else None)


def _softmax(
    q_BKGF: Tensor, key_BKTF: Tensor, value_BKTF: Tensor, seen_B: Tensor | None = None
) -> Tensor:
    """Return ``(..., K, G, F)``; of each environment the first ``seen_B`` slots count, or all."""
    score_BKGT = q_BKGF @ key_BKTF.transpose(-1, -2)
    if seen_B is not None:
        empty_BT = torch.arange(score_BKGT.shape[-1], device=seen_B.device) >= seen_B[:, None]
        score_BKGT.masked_fill_(empty_BT[:, None, None], -torch.inf)
    y_BKGF: Tensor = score_BKGT.softmax(-1) @ value_BKTF
    return y_BKGF
