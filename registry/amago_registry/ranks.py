"""Sums over the ranks of a data-parallel learner; alone, everything is its own sum."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """Return how many processes train together; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(x: Tensor) -> Tensor:
    """Return the sum of ``x`` over all ranks; every rank must call it, in the same order.

    A part that keeps statistics of what it sees sums them like this, so that all ranks keep the same.
    """
    if ranks() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x
