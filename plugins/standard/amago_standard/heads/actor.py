"""The actor head.

Shape suffixes: N = timesteps, E = state features, G = discounts, A = actions or action features.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry.contexts import ActorContext
from amago_registry.protocols import Distribution
from amago_standard.heads.distributions import ClippedCategorical, TanhGaussian
from amago_standard.heads.options import MLPActorOptions
from amago_standard.layers.mlp import mlp
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.spaces import action_size

LOG_STD_RANGE = (-5.0, 2.0)


class MLPActor(nn.Module):
    """Perceptron to a clipped categorical (discrete) or a tanh-Gaussian (continuous), per discount.

    Args:
        context: State width, action space and discounts; supplied by the composer.
        options: Sizes and probability limits; see :class:`MLPActorOptions`.

    Raises:
        UnsupportedSpaceError: If the action space is neither Discrete nor a flat Box.
    """

    def __init__(self, context: ActorContext, options: MLPActorOptions) -> None:
        super().__init__()
        self.actions = action_size(context.action_space)
        self.discrete = isinstance(context.action_space, spaces.Discrete)
        self.discounts = len(context.discounts)
        self.floor = min(options.min_probability, 0.05 / self.actions)
        self.ceiling = options.max_probability
        parameters = self.actions if self.discrete else 2 * self.actions
        self.net = mlp(context.in_dim, options.hidden_dims, self.discounts * parameters)

    def forward(self, state_NE: Tensor) -> Distribution:
        """Return the distribution of N timesteps under G discounts."""
        out_NGP = at_least_single(self.net(state_NE).unflatten(-1, (self.discounts, -1)))
        if self.discrete:
            return ClippedCategorical(out_NGP, self.floor, self.ceiling)
        mean_NGA, raw_NGA = out_NGP.chunk(2, dim=-1)
        low, high = LOG_STD_RANGE
        return TanhGaussian(mean_NGA, low + 0.5 * (high - low) * (torch.tanh(raw_NGA) + 1))
