"""The encoder for vectors.

Shape suffixes: N = timesteps, A = action features, D = all input features, E = features out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_registry.contexts import EncoderContext
from amago_standard.encoders.options import MLPEncoderOptions
from amago_standard.layers.mlp import mlp
from amago_standard.layers.normalizer import RunningNormalizer
from amago_standard.layers.spaces import action_size, feature_size, features


class MLPEncoder(nn.Module):
    """Flatten, concatenate, normalise, perceptron, LayerNorm.

    Observations come in the order of their sorted keys, then the previous action and reward.

    Args:
        context: Spaces; supplied by the composer.
        options: Sizes; see :class:`MLPEncoderOptions`.

    Raises:
        UnsupportedSpaceError: If an observation is neither Box, Discrete nor MultiBinary, or the
            action space neither Discrete nor a Box with one axis.
    """

    def __init__(self, context: EncoderContext, options: MLPEncoderOptions) -> None:
        super().__init__()
        self.spaces = dict(sorted(context.observation_space.spaces.items()))
        in_dim = sum(feature_size(key, space) for key, space in self.spaces.items())
        in_dim += action_size(context.action_space) + 1
        self.normalizer = RunningNormalizer(in_dim) if options.normalize else None
        self.net = mlp(in_dim, options.hidden_dims, options.out_dim)
        self.norm = nn.LayerNorm(options.out_dim)
        self.out_dim = options.out_dim

    def forward(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return vectors ``(N, E)``."""
        parts = [features(obs[key], space) for key, space in self.spaces.items()]
        x_ND = torch.cat([*parts, prev_action_NA, prev_reward_N[:, None]], dim=-1)
        x_ND = x_ND.to(self.norm.weight.dtype)
        if self.normalizer is not None:
            x_ND = self.normalizer(x_ND)
        y_NE: Tensor = self.norm(leaky_relu(self.net(x_ND)))
        return y_NE
