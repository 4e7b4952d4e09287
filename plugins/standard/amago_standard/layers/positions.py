"""Positions in time as vectors (sinusoids; Vaswani et al., 2017, arXiv:1706.03762).

Shape suffixes: N = timesteps, D = features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal_positions(time_N: Tensor, dim: int) -> Tensor:
    """Return ``(N, D)``: sines, then cosines, of wavelengths 2 pi to 2 pi 10^4 steps.

    Args:
        time_N: Steps since the task began.
        dim: D, even.
    """
    half = dim // 2
    exponents = torch.arange(half, device=time_N.device, dtype=torch.float32) / half
    angles = time_N.float()[:, None] * torch.exp(-math.log(1e4) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
