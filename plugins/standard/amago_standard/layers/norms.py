"""Normalisation layers by name.

Shape suffixes: D = features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from amago_standard.layers.precision import at_least_single


class RMSNorm(nn.Module):
    """RMSNorm: divide by the root mean square (Zhang and Sennrich, 2019, arXiv:1910.07467).

    LayerNorm without the mean and the bias; not faster for it on the CPU, where torch's LayerNorm is
    one kernel and this is several. The square is taken in single precision at least, which is that of
    the result.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., D)`` to ``(..., D)``."""
        return rms_norm(at_least_single(x), self.weight.shape, self.weight, eps=1e-5)


NORMS: Mapping[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "rms": RMSNorm}
"""Constructors of norms for D features, by their names in a spec."""
