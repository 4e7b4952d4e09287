"""Promotion of half precision to single precision."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Return half-precision numbers as float32, and all others as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
