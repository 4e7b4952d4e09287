"""Categorical distribution over discrete actions.

Shape suffixes: N = timesteps, G = discounts, A = actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amago_registry.actions import one_hot
from amago_standard.heads.distributions.drawing import draw, straight_through

FLOOR_SHARE = 0.05
"""Most probability that the floors of all allowed actions take together."""


def allow_all_if_none(mask: Tensor) -> Tensor:
    """Return a mask ``(..., A)`` in which rows that allow nothing allow everything."""
    return mask | ~mask.any(-1, keepdim=True)


class ClippedCategorical:
    """Categorical whose probabilities are kept off 0 and 1, then renormalised.

    Allowed actions are clipped to ``[min(floor, 0.05 / allowed), ceiling]``, others have probability 0.
    Floors add at most 0.05 in all, so that renormalising leaves each at least ``1 / 1.05`` of itself,
    however many actions there are.

    Args:
        logits_NGA: Unnormalised log-probabilities; any number of axes may come before A.
        floor: Least probability before renormalising, where few actions are allowed.
        ceiling: Greatest probability before renormalising.
        mask: True where an action is allowed; broadcasts against the logits. Where none is, all are.
    """

    def __init__(
        self, logits_NGA: Tensor, floor: float, ceiling: float, mask: Tensor | None = None
    ) -> None:
        if mask is None:
            floor = min(floor, FLOOR_SHARE / logits_NGA.shape[-1])
            clipped_NGA = logits_NGA.softmax(-1).clamp(floor, ceiling)
        else:
            clipped_NGA = _clipped(logits_NGA, floor, ceiling, allow_all_if_none(mask))
        self.probs = clipped_NGA / clipped_NGA.sum(-1, keepdim=True)

    def sample(self) -> Tensor:
        """Draw actions ``(N, G)``, int64."""
        return draw(self.probs)

    def rsample(self) -> Tensor:
        """Draw one-hots ``(N, G, A)`` with the gradient of the probabilities."""
        drawn_NGA = one_hot(draw(self.probs), self.probs.shape[-1])
        return straight_through(drawn_NGA.to(self.probs.dtype), self.probs)

    def mode(self) -> Tensor:
        """Return the likeliest actions ``(N, G)``."""
        return self.probs.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log-probabilities ``(N, G)`` of actions ``(N, G)``; -69 where it is 0."""
        chosen = self.probs.gather(-1, action.long()[..., None]).squeeze(-1)
        return chosen.clamp_min(1e-30).log()  # Probabilities may underflow; 0 times -inf is NaN.

    def entropy(self) -> Tensor:
        """Return entropies ``(N, G)`` in nats."""
        return -(self.probs * self.probs.clamp_min(1e-30).log()).sum(-1)


def _clipped(logits: Tensor, floor: float, ceiling: float, mask: Tensor) -> Tensor:
    allowed = mask.sum(-1, keepdim=True).to(logits.dtype)
    floor_each = (FLOOR_SHARE / allowed).clamp_max(floor)
    probs = logits.masked_fill(~mask, -torch.inf).softmax(-1)
    return probs.clamp_max(ceiling).clamp_min(floor_each).masked_fill(~mask, 0.0)
