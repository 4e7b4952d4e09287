"""Beta distribution over bounded continuous actions.

Shape suffixes: N = timesteps, G = discounts, A = action features.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Beta

from amago_standard.heads.distributions.edges import clip_to_interior


class ShiftedBeta:
    """Beta distribution on (-1, 1), independent in every dimension (Chou et al., 2017).

    Its range is the action's own: no sample has to be squashed, and every action up to the edges can be
    likely. With both parameters above 1 it has one mode and no pole.

    Args:
        alpha_NGA: Pull to the upper end, at least 1.
        beta_NGA: Pull to the lower end, at least 1.
    """

    def __init__(self, alpha_NGA: Tensor, beta_NGA: Tensor) -> None:
        self.alpha, self.beta = alpha_NGA, beta_NGA

    @cached_property
    def _log_area(self) -> Tensor:
        together = torch.lgamma(self.alpha + self.beta)
        return torch.lgamma(self.alpha) + torch.lgamma(self.beta) - together

    def rsample(self) -> Tensor:
        """Draw actions ``(N, G, A)`` through which gradients reach both parameters."""
        # Validation would wait for the device, and stop a run that could skip the update.
        return 2 * Beta(self.alpha, self.beta, validate_args=False).rsample() - 1

    def sample(self) -> Tensor:
        """Draw actions ``(N, G, A)``."""
        return self.rsample().detach()

    def mode(self) -> Tensor:
        """Return the mode ``(N, G, A)``; the middle of a uniform distribution."""
        least = torch.finfo(self.alpha.dtype).eps
        up, down = self.alpha - 1 + least, self.beta - 1 + least
        return (up - down) / (up + down)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-densities ``(N, G)`` of actions ``(N, G, A)``, summed over dimensions.

        Actions are clipped to +-0.99 first; at +-1 the density may be 0.
        """
        share = (clip_to_interior(action) + 1) / 2
        hill_NGA = (self.alpha - 1) * share.log() + (self.beta - 1) * torch.log1p(-share)
        # The range is twice as wide as that of shares.
        return (hill_NGA - self._log_area - math.log(2)).sum(-1)

    def entropy(self) -> Tensor:
        """Return differential entropies ``(N, G)`` in nats, summed over dimensions."""
        up, down = self.alpha - 1, self.beta - 1
        hill_NGA = (
            up * torch.digamma(self.alpha)
            + down * torch.digamma(self.beta)
            - (up + down) * torch.digamma(self.alpha + self.beta)
        )
        return (self._log_area - hill_NGA + math.log(2)).sum(-1)
