"""All-reduce over the ranks of a data-parallel learner; a no-op in a single process."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """Return the world size of data-parallel training; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(x: Tensor) -> Tensor:
    """Return the sum of ``x`` over all ranks; every rank must call it, in the same order.

    A part with running statistics sums them with this function, so that all ranks have the same ones.
    """
    if ranks() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x
