"""Causal sliding-window attention in time and memory linear in the length, on torch's fused kernel.

Shape suffixes: S = sequences of equal length, L = their length, H = query heads, K = key/value heads,
F = features per head, C = blocks of a sequence, R = rows of a block, P = rows that a block sees.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_SMALLEST_BLOCK = 32
"""Rows below which a call of the kernel costs more than the scores it saves."""


def fused_attention(q_SLHF: Tensor, k_SPKF: Tensor, v_SPKF: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``(S, L, H, F)`` by torch's fused kernel, query head h reading head ``h * K // H``.

    Args:
        q_SLHF: Queries.
        k_SPKF: Keys.
        v_SPKF: Values.
        mask: Which of P keys each of L queries sees ``(L, P)``; None for its past in ``L = P`` rows.
    """
    shared = q_SLHF.shape[2] != k_SPKF.shape[2]
    if shared and q_SLHF.is_cuda:  # There, grouped heads of float32 or with a mask are not fused.
        groups = q_SLHF.shape[2] // k_SPKF.shape[2]
        k_SPKF, v_SPKF = (x.repeat_interleave(groups, dim=2) for x in (k_SPKF, v_SPKF))
        shared = False
    q_SHLF, k_SKPF, v_SKPF = (x.transpose(1, 2) for x in (q_SLHF, k_SPKF, v_SPKF))
    y_SHLF = scaled_dot_product_attention(
        q_SHLF, k_SKPF, v_SKPF, attn_mask=mask, is_causal=mask is None, enable_gqa=shared
    )
    return y_SHLF.transpose(1, 2)


class LocalAttention:
    """Sliding-window attention: a row sees the last ``window`` rows and the first ``sinks``.

    Queries are taken in blocks of R rows. All blocks but the first see the same pattern: the sinks,
    the rows before the block that its window reaches, and the block itself::

        keys      s s . . . . b b b b o o        s sinks, b before, o own
        query 1   x x . . . . . x x x x .        (R = 2, window = 4, sinks = 2)
        query 2   x x . . . . . . x x x x

    so that one small mask serves every block of every sequence. The first rows, whose window still
    overlaps the sinks, see one another under a mask of their own. With R near half the window a query
    is compared with half as many rows again as it sees, and each key is copied three times.

    Sources: windows as in Longformer (Beltagy et al., 2020, arXiv:2004.05150), sinks as in StreamingLLM
    (Xiao et al., 2024, arXiv:2309.17453).

    Args:
        window: Most rows that a row sees, itself included, sinks apart.
        sinks: First rows of a sequence that every later row sees.
    """

    def __init__(self, window: int, sinks: int) -> None:
        self.window, self.sinks = window, sinks
        self.rows = max(_SMALLEST_BLOCK, window // 2)
        self.before = self.rows * max(1, -(-(window - 1) // self.rows))
        self.head = self.before + self.rows * -(-sinks // self.rows)
        self._masks: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, q_SLHF: Tensor, k_SLKF: Tensor, v_SLKF: Tensor) -> Tensor:
        """Return ``(S, L, H, F)``."""
        length = q_SLHF.shape[1]
        if length <= self.window:
            return fused_attention(q_SLHF, k_SLKF, v_SLKF, None)
        head = min(length, self.head)
        blocks, tail = divmod(length - head, self.rows)
        sizes = [head, blocks * self.rows, tail]
        q_head, q_body, q_tail = torch.split(q_SLHF, sizes, dim=1)
        outputs = [self._first(q_head, k_SLKF[:, :head], v_SLKF[:, :head])]
        if blocks:
            outputs.append(self._later(q_body, k_SLKF, v_SLKF, head, blocks))
        if tail:
            outputs.append(self._later(q_tail, k_SLKF, v_SLKF, length - tail, 1))
        return torch.cat(outputs, dim=1)

    def _first(self, q_SLHF: Tensor, k_SLKF: Tensor, v_SLKF: Tensor) -> Tensor:
        length = q_SLHF.shape[1]
        mask = self._masks_on(q_SLHF.device)[0][:length, :length] if length > self.window else None
        return fused_attention(q_SLHF, k_SLKF, v_SLKF, mask)

    def _later(self, q_SLHF: Tensor, k_SLKF: Tensor, v_SLKF: Tensor, start: int, blocks: int) -> Tensor:
        """Return the outputs of ``blocks`` equal blocks of queries, the first of them row ``start``."""
        sequences, length = q_SLHF.shape[:2]
        rows = length // blocks
        k_CPKF, v_CPKF = (self._seen(x, start, blocks, rows) for x in (k_SLKF, v_SLKF))
        q_CRHF = q_SLHF.reshape(sequences * blocks, rows, *q_SLHF.shape[2:])
        mask_RP = self._masks_on(q_SLHF.device)[1][:rows, : k_CPKF.shape[1]]
        return fused_attention(q_CRHF, k_CPKF, v_CPKF, mask_RP).reshape(q_SLHF.shape)

    def _seen(self, x_SLKF: Tensor, start: int, blocks: int, rows: int) -> Tensor:
        """Return the rows that each block sees ``(S C, P, K, F)``: sinks, those before, its own."""
        sinks = x_SLKF[:, None, : self.sinks].expand(-1, blocks, -1, -1, -1)
        before = [
            _blocks(x_SLKF, first, blocks, self.rows)
            for first in range(start - self.before, start, self.rows)
        ]
        own = _blocks(x_SLKF, start, blocks, rows)
        return torch.cat([*([sinks] if self.sinks else []), *before, own], dim=2).flatten(0, 1)

    def _masks_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return what the first rows see of one another, and what a later block sees."""
        if device not in self._masks:
            with torch.inference_mode(False):  # Else training could not save them for its gradients.
                self._masks[device] = self._build_masks(device)
        return self._masks[device]

    def _build_masks(self, device: torch.device) -> tuple[Tensor, Tensor]:
        row = torch.arange(self.head, device=device)
        head = self._within(row[:, None] - row) | ((row < self.sinks) & (row <= row[:, None]))
        own = torch.arange(self.before, self.before + self.rows, device=device)
        near = self._within(own[:, None] - torch.arange(self.before + self.rows, device=device))
        sinks = near.new_ones(self.rows, self.sinks)
        return head, torch.cat([sinks, near], dim=1)

    def _within(self, back: Tensor) -> Tensor:
        return (back >= 0) & (back < self.window)


def _blocks(x_SLKF: Tensor, start: int, blocks: int, rows: int) -> Tensor:
    """Return ``blocks`` times ``rows`` rows from ``start``, as ``(S, C, R, K, F)``."""
    sequences, _, *width = x_SLKF.shape
    return x_SLKF[:, start : start + blocks * rows].view(sequences, blocks, rows, *width)
