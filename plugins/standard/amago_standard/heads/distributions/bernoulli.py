"""Bernoulli distribution over binary actions.

Shape suffixes: N = timesteps, G = discounts, A = bits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from amago_standard.heads.distributions.drawing import straight_through


class Bernoulli:
    """Independent bits (``MultiBinary``).

    Args:
        logits_NGA: Log-odds of each bit being 1.
    """

    def __init__(self, logits_NGA: Tensor) -> None:
        self._logits = logits_NGA

    def sample(self) -> Tensor:
        """Draw bits ``(N, G, A)``, int8 as gymnasium keeps them."""
        return self._draw().to(torch.int8)

    def rsample(self) -> Tensor:
        """Draw bits ``(N, G, A)`` as numbers 0 and 1 with the gradient of their probabilities."""
        return straight_through(self._draw().to(self._logits.dtype), self._logits.sigmoid())

    def mode(self) -> Tensor:
        """Return the likeliest bits ``(N, G, A)``, int8."""
        return (self._logits > 0).to(torch.int8)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-probabilities ``(N, G)`` of bits ``(N, G, A)``: the mean over bits.

        The mean, so that many bits weigh no more than one against the other terms of a loss; times A
        it is the log-probability of the action.
        """
        sign_NGA = 2 * action.to(self._logits.dtype) - 1
        return logsigmoid(sign_NGA * self._logits).mean(-1)

    def entropy(self) -> Tensor:
        """Return entropies ``(N, G)`` in nats, summed over bits."""
        size = self._logits.abs()  # Both terms are positive: nothing cancels.
        return (softplus(-size) + size * torch.sigmoid(-size)).sum(-1)

    def _draw(self) -> Tensor:
        probs_NGA = self._logits.detach().sigmoid()
        return torch.rand_like(probs_NGA) < probs_NGA
