"""Memory traded for time: activations that are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *args: Any, when: bool) -> Tensor:
    """Return ``function(*args)``; where ``when`` is true its activations are not kept for training.

    Gradient checkpointing (Chen et al., 2016, arXiv:1604.06174): the backward pass runs the function
    a second time, with the same random numbers, about a third more time per update.
    """
    if when and torch.is_grad_enabled():
        return cast(Tensor, checkpoint(function, *args, use_reentrant=False))
    return function(*args)
