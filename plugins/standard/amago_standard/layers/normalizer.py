"""Running normalisation of features whose scale nobody knows beforehand.

Shape suffixes: N = rows, D = features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amago_standard.layers.moments import corrected_rate, moved_moments


class RunningNormalizer(nn.Module):
    """Centre and scale features by exponential moving averages of their mean and variance.

    The step size starts bias-corrected, ``rate / (1 - (1 - rate)^t)``: the first batch counts fully.
    A training forward pass uses the statistics that include its own rows and only proposes them;
    :meth:`commit` adopts them. Features that hardly vary are centred and not scaled.

    Args:
        dim: D.
        rate: Weight of a new batch once many have been seen.
        min_std: Features whose standard deviation is at most this are not scaled.
        clip: Results are clamped to +-clip.
    """

    steps: Tensor
    mean_D: Tensor
    variance_D: Tensor

    def __init__(
        self, dim: int, *, rate: float = 1e-4, min_std: float = 0.01, clip: float = 1e4
    ) -> None:
        super().__init__()
        self.rate, self.min_std, self.clip = rate, min_std, clip
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean_D", torch.zeros(dim))
        self.register_buffer("variance_D", torch.ones(dim))
        self._proposed: tuple[Tensor, Tensor] | None = None

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return normalised features ``(N, D)``."""
        mean_D, variance_D = self.mean_D, self.variance_D
        if self.training:
            rate = corrected_rate(self.rate, self.steps + 1)
            mean_D, variance_D = self._proposed = moved_moments(mean_D, variance_D, x_ND, rate)
        std_D = variance_D.sqrt()
        scale_D = torch.where(std_D > self.min_std, std_D, torch.ones_like(std_D))
        return ((x_ND - mean_D) / scale_D).clamp(-self.clip, self.clip)

    def commit(self) -> None:
        """Adopt the statistics that the last training forward pass proposed."""
        if self._proposed is not None:
            self.mean_D.copy_(self._proposed[0])
            self.variance_D.copy_(self._proposed[1])
            self.steps += 1
            self._proposed = None
