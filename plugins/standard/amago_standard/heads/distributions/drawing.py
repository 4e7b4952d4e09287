"""Sampling of discrete actions, and straight-through gradients.

Shape suffixes: A = actions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw(probs: Tensor) -> Tensor:
    """Return indices ``(...)`` drawn by probabilities ``(..., A)``; never one of 0.

    One uniform number per row falls on the cumulative probabilities. Unlike ``torch.multinomial`` this
    waits for no device and survives NaN, so that a broken update can be skipped.
    """
    probs = probs.detach()
    # A parallel sum may round differently at each place, and so open a gap at an impossible action.
    reached = probs.cumsum(-1).masked_fill_(probs == 0, 0.0)
    top = reached.amax(-1, keepdim=True)
    # A float below 1 times the top rounds to less than the top: some action is above the threshold.
    threshold = torch.rand_like(top) * top
    return (reached > threshold).byte().argmax(-1)


def straight_through(drawn: Tensor, probs: Tensor) -> Tensor:
    """Return ``drawn`` exactly, with the gradient of ``probs``.

    Source: Bengio et al., 2013, arXiv:1308.3432.
    """
    return drawn + (probs - probs.detach())
