"""MLP encoder for vector observations.

Shape suffixes: N = timesteps, A = action features, D = all input features, E = features out.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_registry.contexts import EncoderContext
from amago_registry.errors import UnsupportedSpaceError
from amago_standard.encoders.options import MLPEncoderOptions
from amago_standard.encoders.vectors import VectorInputs
from amago_standard.layers.mlp import mlp
from amago_standard.layers.normalizer import RunningNormalizer


class MLPEncoder(nn.Module):
    """MLP encoder: flatten, concatenate, normalise, MLP, LayerNorm.

    Observations come in the order of their sorted keys, then the previous action and reward.

    Args:
        context: Spaces; supplied by the composer.
        options: Sizes, and what to hide; see :class:`MLPEncoderOptions`.

    Raises:
        UnsupportedSpaceError: If an observation is neither Box, Discrete, MultiDiscrete nor
            MultiBinary, or if nothing is left to read.
    """

    def __init__(self, context: EncoderContext, options: MLPEncoderOptions) -> None:
        super().__init__()
        self.inputs = VectorInputs(context.observation_space.spaces, context.action_space, options)
        if not self.inputs.width:
            raise UnsupportedSpaceError(
                "the encoder mlp has nothing to read: there are no observations, and the previous "
                "action and reward are hidden. Set hide_action or hide_reward to false."
            )
        self.normalizer = RunningNormalizer(self.inputs.width) if options.normalize else None
        self.net = mlp(self.inputs.width, options.hidden_dims, options.out_dim)
        self.norm = nn.LayerNorm(options.out_dim)
        self.out_dim = options.out_dim

    def forward(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return vectors ``(N, E)``."""
        x_ND = self.inputs(obs, prev_action_NA, prev_reward_N).to(self.norm.weight.dtype)
        if self.normalizer is not None:
            x_ND = self.normalizer(x_ND)
        y_NE: Tensor = self.norm(leaky_relu(self.net(x_ND)))
        return y_NE
