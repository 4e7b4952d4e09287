"""Chunked scan of linear recurrences over the packed stream.

Shape suffixes: N = timesteps of a packed batch, E = features, S = sequences, C = chunks,
T = timesteps per chunk.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from amago_registry.layout import SequenceLayout


@torch.compiler.disable  # type: ignore[untyped-decorator]  # Its loops would be unrolled.
def linear_scan(decay_NE: Tensor, input_NE: Tensor, layout: SequenceLayout) -> Tensor:
    """Linear scan: ``h_n = decay_n * h_(n-1) + input_n`` along every sequence, from zero: ``(N, ...)``.

    The stream is cut into about sqrt(N) chunks, wherever its sequences begin, and all chunks advance
    together; then each adds what the one before it passes on. That takes 2 sqrt(N) steps one after the
    other and about three times the arithmetic of a loop over time. Nothing is divided and no logarithm
    taken, so decays may be zero and of any sign. Kept for the backward pass: decays and result.

    Args:
        decay_NE: Factors of magnitude at most 1, real or complex; broadcast against ``input_NE``, so
            that ``(E,)`` is one for each feature.
        input_NE: Summands ``(N, ...)``, in the dtype of the result.
        layout: Where sequences begin; the decay counts as zero there.
    """
    return scan_from(layout.offsets[:-1].long(), decay_NE, input_NE)


def scan_from(starts_S: Tensor, decay_NE: Tensor, input_NE: Tensor) -> Tensor:
    """Return what :func:`linear_scan` returns, where sequences begin at the rows ``starts_S``."""
    decay_NE = decay_NE.to(input_NE.dtype).expand_as(input_NE)
    return cast(Tensor, _LinearScan.apply(decay_NE, input_NE, starts_S))  # type: ignore[no-untyped-call]


class _LinearScan(torch.autograd.Function):
    """The recurrence; its gradient is the same recurrence, backwards in time."""

    @staticmethod
    def forward(ctx: Any, decay_NE: Tensor, input_NE: Tensor, starts_S: Tensor) -> Tensor:
        h_NE = _scan(_without(decay_NE, starts_S), input_NE)
        ctx.save_for_backward(decay_NE, h_NE, starts_S)
        return h_NE

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None]:
        decay_NE, h_NE, starts_S = ctx.saved_tensors
        # Row n - 1 receives what row n does through the decay of row n, unless a sequence begins.
        passed_NE = _without(decay_NE.conj(), starts_S).roll(-1, 0)
        into_NE = _scan(passed_NE.flip(0), gradients[0].flip(0)).flip(0)
        if not ctx.needs_input_grad[0]:
            return None, into_NE, None
        return into_NE * _without(h_NE.roll(1, 0), starts_S).conj(), into_NE, None


def _without(x_NE: Tensor, starts_S: Tensor) -> Tensor:
    """Return a copy with zeros where sequences begin."""
    return x_NE.index_fill(0, starts_S, 0)


def _scan(decay_NE: Tensor, input_NE: Tensor) -> Tensor:
    """Return the recurrence over all N rows as one sequence."""
    chunk = max(1, math.isqrt(len(input_NE)))
    h_CTE, product_CTE = _chunked(input_NE, chunk), _chunked(decay_NE, chunk)
    h, product = h_CTE.unbind(1), product_CTE.unbind(1)
    for t in range(1, chunk):
        h[t].addcmul_(product[t], h[t - 1])
        product[t].mul_(product[t - 1])
    last, through = h[-1].unbind(0), product[-1].unbind(0)
    for c in range(1, len(last)):
        last[c].addcmul_(through[c], last[c - 1])
    h_CTE[1:, :-1].addcmul_(product_CTE[1:, :-1], h[-1][:-1, None])
    return h_CTE.flatten(0, 1)[: len(input_NE)]


def _chunked(x_NE: Tensor, chunk: int) -> Tensor:
    """Return a copy ``(C, T, E)``, with zeros after the end of the stream."""
    x_CTE = x_NE.new_zeros(-(-len(x_NE) // chunk), chunk, *x_NE.shape[1:])
    x_CTE.flatten(0, 1)[: len(x_NE)] = x_NE
    return x_CTE
