"""Distributions over actions, one per timestep and discount.

Shape suffixes: N = timesteps, G = discounts, A = actions (discrete) or action features.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor


class ClippedCategorical:
    """Categorical whose probabilities are kept off 0 and 1, then renormalised.

    Args:
        logits_NGA: Unnormalised log-probabilities.
        floor: Least probability before renormalising.
        ceiling: Greatest probability before renormalising.
    """

    def __init__(self, logits_NGA: Tensor, floor: float, ceiling: float) -> None:
        clipped_NGA = logits_NGA.softmax(-1).clamp(floor, ceiling)
        self.probs = clipped_NGA / clipped_NGA.sum(-1, keepdim=True)

    def sample(self) -> Tensor:
        """Draw actions ``(N, G)``."""
        rows, discounts, _ = self.probs.shape
        return torch.multinomial(self.probs.flatten(0, 1), 1).view(rows, discounts)

    def mode(self) -> Tensor:
        """Return the likeliest actions ``(N, G)``."""
        return self.probs.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-probabilities ``(N, G)`` of actions ``(N, G)``."""
        chosen = self.probs.gather(-1, action[..., None]).squeeze(-1)
        return chosen.clamp_min(1e-30).log()  # An action may have died out; 0 times -inf is NaN.

    def entropy(self) -> Tensor:
        """Return entropies ``(N, G)`` in nats."""
        return -(self.probs * self.probs.clamp_min(1e-30).log()).sum(-1)


class TanhGaussian:
    """Gaussian squashed into (-1, 1) by tanh, independent in every dimension.

    Args:
        mean_NGA: Mean before squashing.
        log_std_NGA: Log of the standard deviation before squashing.
    """

    LIMIT = 0.99
    """Actions are clipped to +-LIMIT in :meth:`log_prob`; at +-1 the density has no finite value."""

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
        """Return log-densities ``(N, G)`` of actions ``(N, G, A)``, summed over dimensions."""
        action = action.clamp(-self.LIMIT, self.LIMIT)
        z_NGA = (torch.atanh(action) - self.mean) / self._std
        gaussian_NGA = -0.5 * z_NGA.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        return (gaussian_NGA - torch.log1p(-action.square())).sum(-1)

    def entropy(self) -> None:
        """Return None: a squashed Gaussian's entropy has no closed form."""
