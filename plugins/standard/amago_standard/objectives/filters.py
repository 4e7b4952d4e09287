"""Advantage filters: the imitation weight of a stored action, from its advantage over the policy.

Sources: binary and exponential, CRR (Wang et al., 2020, arXiv:2006.15134) and AWAC (Nair et al., 2020,
arXiv:2006.09359); the ramp, AMAGO's released code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

if TYPE_CHECKING:
    from amago_standard.objectives.options import FilterOptions

MIN_WEIGHT = 1e-7

Filter = Callable[[Tensor], Tensor]
"""Advantages to weights of the same shape."""


def binary(advantage: Tensor) -> Tensor:
    """Binary filter: 1 where the action was better than the policy, else 0."""
    return (advantage > 0).to(advantage.dtype)


def exponential(advantage: Tensor, beta: float, cap: float) -> Tensor:
    """Exponential filter: ``exp(beta A)``, at least 1e-7 and at most ``cap``."""
    return torch.exp(beta * advantage).clamp(MIN_WEIGHT, cap)


def leaky_ramp(
    advantage: Tensor, beta: float, hinge: float, slope: float, start: float, cap: float
) -> Tensor:
    """Leaky ramp: slope ``1 / beta`` above the hinge, ``slope / beta`` below, ``start`` at 0.

    At least 1e-7 and at most ``cap``.
    """
    weight = leaky_relu((advantage - hinge) / beta, slope) + start + slope * hinge / beta
    return weight.clamp(MIN_WEIGHT, cap)


def make_filter(options: FilterOptions) -> Filter | None:
    """Return the filter for options; None if every action is imitated alike."""
    match options.kind:
        case "binary":
            return binary
        case "exponential":
            beta, cap = options.beta or 1.0, options.cap or 100.0
            return lambda advantage: exponential(advantage, beta, cap)
        case "leaky-ramp":
            return lambda advantage: leaky_ramp(
                advantage,
                options.beta or 2.0,
                options.hinge,
                options.slope,
                options.start,
                options.cap or 10.0,
            )
    return None
