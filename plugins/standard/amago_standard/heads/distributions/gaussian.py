"""Tanh-squashed Gaussian distribution over continuous actions.

Shape suffixes: N = timesteps, G = discounts, A = action features.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from amago_standard.heads.distributions.edges import clip_to_interior


def log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the log-density of a Gaussian at ``x``, entry by entry."""
    z = (x - mean) * torch.exp(-log_std)
    return -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)


def log_slope(action: Tensor) -> Tensor:
    """Return the log of tanh's slope where it takes the value ``action``: the change of variables."""
    return torch.log1p(-action.square())


class TanhGaussian:
    """Gaussian squashed into (-1, 1) by tanh, independent in every dimension.

    Args:
        mean_NGA: Mean before squashing.
        log_std_NGA: Log of the standard deviation before squashing.
    """

    def __init__(self, mean_NGA: Tensor, log_std_NGA: Tensor) -> None:
        self.mean, self.log_std = mean_NGA, log_std_NGA

    @cached_property
    def _std(self) -> Tensor:
        return self.log_std.exp()

    def rsample(self) -> Tensor:
        """Draw actions ``(N, G, A)`` through which gradients reach mean and deviation."""
        return torch.tanh(self.mean + self._std * torch.randn_like(self.mean))

    def sample(self) -> Tensor:
        """Draw actions ``(N, G, A)``."""
        return self.rsample().detach()

    def mode(self) -> Tensor:
        """Return the squashed mean ``(N, G, A)``."""
        return torch.tanh(self.mean)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-densities ``(N, G)`` of actions ``(N, G, A)``, summed over dimensions.

        Actions are clipped to +-0.99 first; at +-1 the density has no finite value.
        """
        action = clip_to_interior(action)
        density_NGA = log_density(torch.atanh(action), self.mean, self.log_std)
        return (density_NGA - log_slope(action)).sum(-1)

    def entropy(self) -> None:
        """Return None: a squashed Gaussian's entropy has no closed form."""
