"""Factored categorical distribution over multi-discrete actions.

Shape suffixes: N = timesteps, G = discounts, X = factors, K = actions of the largest factor,
A = actions of all factors, end to end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from amago_standard.heads.distributions.categorical import ClippedCategorical, allow_all_if_none


class FactoredCategorical:
    """Independent clipped categoricals, one per factor (``MultiDiscrete``).

    Factors are padded to ``(N, G, X, K)``, with the padding of smaller factors masked, so that all are
    computed together. It has no ``probs``: there are too many joint actions to enumerate.

    Args:
        logits_NGA: Unnormalised log-probabilities of all factors, end to end.
        choices: How many actions each factor has.
        floor: As in :class:`ClippedCategorical`, for each factor by itself.
        ceiling: Likewise.
        mask: True where an action is allowed; broadcasts against the logits. A factor without an
            allowed action allows all of its actions.
    """

    def __init__(
        self,
        logits_NGA: Tensor,
        choices: Sequence[int],
        floor: float,
        ceiling: float,
        mask: Tensor | None = None,
    ) -> None:
        self._choices = list(choices)
        if mask is None and len(set(choices)) > 1:
            mask = torch.ones(logits_NGA.shape[-1], dtype=torch.bool, device=logits_NGA.device)
        if mask is not None:
            allowed = [allow_all_if_none(factor) for factor in torch.split(mask, self._choices, -1)]
            mask = self._side_by_side(torch.cat(allowed, -1))
        logits_NGXK = self._side_by_side(logits_NGA)
        self._factors = ClippedCategorical(logits_NGXK, floor, ceiling, mask)

    def sample(self) -> Tensor:
        """Draw actions ``(N, G, X)``, int64."""
        return self._factors.sample()

    def rsample(self) -> Tensor:
        """Draw one-hots of all factors, end to end ``(N, G, A)``, with the probabilities' gradient."""
        return self._end_to_end(self._factors.rsample())

    def mode(self) -> Tensor:
        """Return the likeliest actions ``(N, G, X)``."""
        return self._factors.mode()

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-probabilities ``(N, G)`` of actions ``(N, G, X)``, summed over factors."""
        return self._factors.log_prob(action).sum(-1)

    def entropy(self) -> Tensor:
        """Return entropies ``(N, G)`` in nats, summed over factors."""
        return self._factors.entropy().sum(-1)

    def _side_by_side(self, flat: Tensor) -> Tensor:
        """``(..., A)`` to ``(..., X, K)``, padded with zeros or False."""
        largest = max(self._choices)
        if len(set(self._choices)) == 1:
            return torch.unflatten(flat, -1, (-1, largest))
        factors = torch.split(flat, self._choices, -1)
        return torch.stack([pad(factor, (0, largest - factor.shape[-1])) for factor in factors], -2)

    def _end_to_end(self, factors: Tensor) -> Tensor:
        """``(..., X, K)`` to ``(..., A)``."""
        if len(set(self._choices)) == 1:
            return factors.flatten(-2)
        return torch.cat([factors[..., axis, :n] for axis, n in enumerate(self._choices)], -1)
