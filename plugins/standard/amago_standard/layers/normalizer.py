"""Running normalisation of input features.

Shape suffixes: N = rows, D = features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amago_standard.layers.moments import MovingMoments


class RunningNormalizer(nn.Module):
    """Running normaliser: centre and scale features by moving averages of their mean and variance.

    A training forward pass uses the statistics that include its own rows and only proposes them; see
    :class:`MovingMoments`. Features that hardly vary are centred and not scaled.

    Args:
        dim: D.
        rate: Weight of a new batch once many have been seen.
        min_std: Features whose standard deviation is at most this are not scaled.
        clip: Results are clamped to +-clip.
    """

    def __init__(
        self, dim: int, *, rate: float = 1e-4, min_std: float = 0.01, clip: float = 1e4
    ) -> None:
        super().__init__()
        self.min_std, self.clip = min_std, clip
        self.moments = MovingMoments(dim, rate=rate)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return normalised features ``(N, D)``."""
        mean_D, variance_D = self.moments.mean_D, self.moments.variance_D
        if self.training:
            self.moments.propose(x_ND)
            mean_D, variance_D = self.moments.latest
        std_D = variance_D.sqrt()
        scale_D = torch.where(std_D > self.min_std, std_D, torch.ones_like(std_D))
        return ((x_ND - mean_D) / scale_D).clamp(-self.clip, self.clip)
