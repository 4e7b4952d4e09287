"""Concatenation of a timestep's vector inputs: observations, previous action and reward.

Shape suffixes: N = timesteps, A = action features, D = all input features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry.actions import action_width
from amago_standard.encoders.options import HidingOptions
from amago_standard.layers.spaces import feature_size, features
from amago_standard.layers.symlog import symlog


class VectorInputs:
    """Concatenates observations in the order of their sorted keys, then the previous action and reward.

    Args:
        observations: The spaces of the observations that are read, by key.
        action_space: Canonical.
        options: What is left out.
        squash: Whether the reward and a continuous action go through symlog.

    Attributes:
        width: D; 0 where nothing is left.

    Raises:
        UnsupportedSpaceError: If an observation cannot become a vector, or the action space is not
            canonical.
    """

    def __init__(
        self,
        observations: Mapping[str, spaces.Space[Any]],
        action_space: spaces.Space[Any],
        options: HidingOptions,
        *,
        squash: bool = False,
    ) -> None:
        self.observations = dict(sorted(observations.items()))
        self.hide_action, self.hide_reward = options.hide_action, options.hide_reward
        self.squash_action = squash and isinstance(action_space, spaces.Box)
        self.squash_reward = squash
        self.width = sum(feature_size(key, space) for key, space in self.observations.items())
        self.width += 0 if self.hide_action else action_width(action_space)
        self.width += 0 if self.hide_reward else 1

    def __call__(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return features ``(N, D)``."""
        parts = [features(obs[key], space) for key, space in self.observations.items()]
        if not self.hide_action:
            parts.append(symlog(prev_action_NA) if self.squash_action else prev_action_NA)
        if not self.hide_reward:
            reward_N1 = prev_reward_N[:, None]
            parts.append(symlog(reward_N1) if self.squash_reward else reward_N1)
        return torch.cat(parts, dim=-1)
