"""Action distributions by action space, built from a network's outputs.

Shape suffixes: N = timesteps, G = discounts, P = parameters of one distribution, K = components of a
mixture, A = actions (discrete) or action features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import softplus

from amago_registry.actions import action_width, choices
from amago_registry.contexts import ActorContext
from amago_registry.protocols import Distribution
from amago_standard.heads.distributions import (
    Bernoulli,
    ClippedCategorical,
    FactoredCategorical,
    GaussianMixture,
    ShiftedBeta,
    TanhGaussian,
)
from amago_standard.heads.options import PolicyOptions
from amago_standard.layers.precision import at_least_single

LOG_STD_RANGE = (-5.0, 2.0)

Build = Callable[[Tensor, Tensor | None], Distribution]
"""Takes outputs ``(N, G, P)`` and a mask that broadcasts against ``(N, G, A)``, if there is one."""


@dataclass(frozen=True)
class Family:
    """A family of distributions: how many parameters one has, and how it is built from them.

    Args:
        parameters: P.
        build: See :data:`Build`.
    """

    parameters: int
    build: Build


class PolicyHead:
    """Policy head: the width of a network's output for an action space, and the policy built from it.

    Args:
        context: Action space and discounts.
        options: Which family; see :class:`PolicyOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is not canonical.
    """

    def __init__(self, context: ActorContext, options: PolicyOptions) -> None:
        self._family = _family(context.action_space, options)
        self._discounts = len(context.discounts)
        self.width = self._discounts * self._family.parameters
        """Outputs per timestep: the parameters of every discount, end to end."""

    def __call__(self, out_NX: Tensor, action_mask_NA: Tensor | None = None) -> Distribution:
        """Return the distribution that outputs ``(N, width)`` stand for."""
        # Half precision is too coarse for probabilities and densities.
        out_NGP = at_least_single(torch.unflatten(out_NX, -1, (self._discounts, -1)))
        mask_N1A = None if action_mask_NA is None else action_mask_NA[:, None]
        return self._family.build(out_NGP, mask_N1A)


def _family(space: spaces.Space[Any], options: PolicyOptions) -> Family:
    width = action_width(space)
    limits = options.min_probability, options.max_probability
    match space:
        case spaces.Discrete():
            return Family(width, lambda out, mask: ClippedCategorical(out, *limits, mask))
        case spaces.MultiDiscrete():
            factors = choices(space)
            return Family(width, lambda out, mask: FactoredCategorical(out, factors, *limits, mask))
        case spaces.MultiBinary():
            return Family(width, lambda out, _: Bernoulli(out))
        case _:
            return _continuous_family(width, options)


def _continuous_family(width: int, options: PolicyOptions) -> Family:
    match options.distribution:
        case "tanh-gaussian":
            return Family(2 * width, lambda out, _: _tanh_gaussian(out))
        case "beta":
            return Family(2 * width, lambda out, _: _shifted_beta(out))
        case "gaussian-mixture":
            components = options.mixture_components
            size = components * (1 + 2 * width)
            return Family(size, lambda out, _: _gaussian_mixture(out, components))


def _tanh_gaussian(out_NGP: Tensor) -> TanhGaussian:
    mean_NGA, raw_NGA = out_NGP.chunk(2, dim=-1)
    return TanhGaussian(mean_NGA, _log_std(raw_NGA))


def _shifted_beta(out_NGP: Tensor) -> ShiftedBeta:
    alpha_NGA, beta_NGA = (1 + softplus(out_NGP)).chunk(2, dim=-1)
    return ShiftedBeta(alpha_NGA, beta_NGA)


def _gaussian_mixture(out_NGP: Tensor, components: int) -> GaussianMixture:
    logits_NGK, rest = out_NGP[..., :components], out_NGP[..., components:]
    mean_NGKA, raw_NGKA = torch.unflatten(rest, -1, (components, -1)).chunk(2, dim=-1)
    return GaussianMixture(logits_NGK, mean_NGKA, _log_std(raw_NGKA))


def _log_std(raw: Tensor) -> Tensor:
    low, high = LOG_STD_RANGE
    return low + 0.5 * (high - low) * (torch.tanh(raw) + 1)
