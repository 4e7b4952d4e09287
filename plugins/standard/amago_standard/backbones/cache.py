"""The key/value cache of acting.

Shape suffixes: B = environments, H = query heads, K = key/value heads, F = features per head,
T = slots, the capacity.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.protocols import State


class RingCache:
    """Keys and values of the last timesteps of each environment, in preallocated rings.

    Each environment has its own length. A timestep is written over the oldest one once the ring is
    full; attention does not depend on the order of the slots, so nothing is ever moved. A reset sets
    one length to zero.

    Args:
        context: Heads and capacity.
    """

    def __init__(self, context: AttentionContext) -> None:
        self.heads, self.kv_heads = context.heads, context.kv_heads
        self.head_dim = context.head_dim
        self.slots = min(context.capacity, context.window or context.capacity)

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
        return cache

    def attend(self, q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, State]:
        """Append one timestep per environment and attend to all that are remembered: ``(B, H, F)``."""
        key, value, seen = (cast(Tensor, cache[name]) for name in ("key", "value", "seen"))
        rows = torch.arange(seen.shape[0], device=seen.device)
        slot_B = seen.remainder(self.slots)
        key[rows, :, slot_B] = k_BKF
        value[rows, :, slot_B] = v_BKF
        seen += 1
        filled, ragged = self._extent(seen)
        y_BHF = self._softmax(q_BHF, key[:, :, :filled], value[:, :, :filled], seen if ragged else None)
        return y_BHF, cache

    def _extent(self, seen_B: Tensor) -> tuple[int, bool]:
        """Return how many slots anybody has filled, and whether somebody has filled fewer."""
        if seen_B.is_cuda:  # Reading the lengths would make a GPU wait; there the whole ring is masked.
            return self.slots, True
        fewest, most = (int(seen) for seen in seen_B.aminmax())
        filled = min(self.slots, most)
        return filled, fewest < filled

    def _softmax(
        self, q_BHF: Tensor, key_BKTF: Tensor, value_BKTF: Tensor, seen_B: Tensor | None
    ) -> Tensor:
        batch, _, filled, _ = key_BKTF.shape
        groups = self.heads // self.kv_heads
        q_BKGF = q_BHF.view(batch, self.kv_heads, groups, self.head_dim) * self.head_dim**-0.5
        score_BKGT = q_BKGF @ key_BKTF.transpose(-1, -2)
        if seen_B is not None:
            empty_BT = torch.arange(filled, device=seen_B.device) >= seen_B[:, None]
            score_BKGT = score_BKGT.masked_fill(empty_BT[:, None, None], -torch.inf)
        y_BKGF: Tensor = score_BKGT.softmax(-1) @ value_BKTF
        return y_BKGF.reshape(batch, self.heads, self.head_dim)
