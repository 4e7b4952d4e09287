"""Goal encoders: a network for the goals, beside an inner encoder for all other inputs.

Shape suffixes: N = timesteps, A = action features, K = goals, X = coordinates of a goal, F = features
of a coordinate, V = features of the rest and of the goals, E = features out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_registry.contexts import EncoderContext
from amago_registry.errors import UnsupportedSpaceError, did_you_mean
from amago_standard.encoders.options import GoalEncoderOptions, GoalMLPOptions, GoalRNNOptions
from amago_standard.layers.mlp import mlp
from amago_standard.layers.normalizer import RunningNormalizer
from amago_standard.layers.spaces import feature_size, features

MOST_TOKENS = 100_000
"""Largest vocabulary of goal tokens."""


class GoalEncoder(nn.Module):
    """Base class of goal encoders: a network per goal key beside an inner encoder, then a fusion layer.

    Args:
        name: Name of the encoder in a spec; for error messages.
        context: Spaces; supplied by the composer.
        options: See :class:`GoalEncoderOptions`.
        embed: Returns the network of one goal key, from ``(N, ...)`` to ``(N, goal_dim)``.

    Raises:
        UnsupportedSpaceError: If there is no observation of a goal key, or the inner encoder or the
            goals' network cannot take what it is given.
    """

    def __init__(
        self,
        name: str,
        context: EncoderContext,
        options: GoalEncoderOptions,
        embed: Callable[[str, spaces.Space[Any]], nn.Module],
    ) -> None:
        super().__init__()
        observations = dict(context.observation_space.spaces)
        self.goal_keys = tuple(sorted(set(options.goal_keys)))
        _require_keys(name, self.goal_keys, observations)
        self.goals = nn.ModuleList(embed(key, observations.pop(key)) for key in self.goal_keys)
        self.inner = options.inner.build(replace(context, observation_space=spaces.Dict(observations)))
        width = self.inner.out_dim + len(self.goal_keys) * options.goal_dim
        self.fuse = nn.Linear(width, options.out_dim)
        self.norm = nn.LayerNorm(options.out_dim)
        self.out_dim = options.out_dim

    def forward(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return vectors ``(N, E)``."""
        rest = {key: value for key, value in obs.items() if key not in self.goal_keys}
        goals = [goal(obs[key]) for key, goal in zip(self.goal_keys, self.goals, strict=True)]
        fused_NV = torch.cat([self.inner(rest, prev_action_NA, prev_reward_N), *goals], dim=-1)
        y_NE: Tensor = self.norm(leaky_relu(self.fuse(fused_NV)))
        return y_NE


class GoalMLP(GoalEncoder):
    """Goal encoder with an MLP over the flattened goals: any numbers, a fixed number of goals.

    Args:
        context: Spaces; supplied by the composer.
        options: See :class:`GoalMLPOptions`.

    Raises:
        UnsupportedSpaceError: As :class:`GoalEncoder`.
    """

    def __init__(self, context: EncoderContext, options: GoalMLPOptions) -> None:
        super().__init__(
            "goal-mlp", context, options, lambda key, space: FlatGoals(key, space, options)
        )


class GoalRNN(GoalEncoder):
    """Goal encoder with token embeddings and a GRU over the goals: for cells, items and words.

    Nothing has to be learned about which number is larger, and every goal is read alike, whichever
    place it has.

    Args:
        context: Spaces; supplied by the composer.
        options: See :class:`GoalRNNOptions`.

    Raises:
        UnsupportedSpaceError: As :class:`GoalEncoder`, and for goals that are no tokens.
    """

    def __init__(self, context: EncoderContext, options: GoalRNNOptions) -> None:
        super().__init__(
            "goal-rnn", context, options, lambda key, space: GoalTokens(key, space, options)
        )


class FlatGoals(nn.Module):
    """MLP over flattened, normalised goals.

    Args:
        key: The goals' key; for error messages.
        space: The goals' space, of any shape.
        options: Sizes.

    Raises:
        UnsupportedSpaceError: If the goals cannot become a vector.
    """

    def __init__(self, key: str, space: spaces.Space[Any], options: GoalMLPOptions) -> None:
        super().__init__()
        self.space = space
        width = feature_size(key, space)
        self.normalizer = RunningNormalizer(width) if options.normalize else None
        self.net = mlp(width, options.hidden_dims, options.goal_dim)

    def forward(self, goals: Tensor) -> Tensor:
        """Return features ``(N, goal_dim)`` of goals ``(N, ...)``."""
        x_NV = features(goals, self.space).to(next(self.parameters()).dtype)
        y: Tensor = self.net(x_NV if self.normalizer is None else self.normalizer(x_NV))
        return y


class GoalTokens(nn.Module):
    """GRU over the goals, with one embedding per value of each coordinate.

    The last goal is read last: goals that are absent or done should come first.

    Args:
        key: The goals' key; for error messages.
        space: Whole numbers ``(K, X)``; one goal per entry where there is a single axis.
        options: Sizes.

    Raises:
        UnsupportedSpaceError: If the goals are not whole numbers within narrow bounds.
    """

    offset_X: Tensor
    low_X: Tensor
    high_X: Tensor

    def __init__(self, key: str, space: spaces.Space[Any], options: GoalRNNOptions) -> None:
        super().__init__()
        low_X, high_X = _token_range(key, space)
        counts = [high - low + 1 for low, high in zip(low_X, high_X, strict=True)]
        # Every coordinate has rows of its own in one table.
        starts = np.cumsum([0, *counts[:-1]])
        self.coordinates = len(counts)
        self.places = int(np.prod(space.shape or ())) // self.coordinates
        self.register_buffer("low_X", torch.tensor(low_X), persistent=False)
        self.register_buffer("high_X", torch.tensor(high_X), persistent=False)
        self.register_buffer("offset_X", torch.tensor(starts - np.array(low_X)), persistent=False)
        self.tokens = nn.Embedding(sum(counts), options.token_dim)
        self.gru = nn.GRU(self.coordinates * options.token_dim, options.goal_dim, batch_first=True)

    def forward(self, goals: Tensor) -> Tensor:
        """Return features ``(N, goal_dim)`` of whole numbers ``(N, K, X)`` or ``(N, K)``."""
        # A value outside its space reads as the nearest inside, never as another coordinate's.
        goals_NKX = goals.long().reshape(-1, self.places, self.coordinates)
        rows_NKX = goals_NKX.clamp(self.low_X, self.high_X) + self.offset_X
        _, last = self.gru(self.tokens(rows_NKX).flatten(2))
        y: Tensor = last[0]
        return y


def _token_range(key: str, space: spaces.Space[Any]) -> tuple[list[int], list[int]]:
    """Return the least and greatest value of each coordinate, over all goals."""
    match space:
        case spaces.Discrete():
            low, high = np.array(space.start), np.array(space.start + space.n - 1)
        case spaces.MultiDiscrete():
            low, high = space.start, space.start + space.nvec - 1
        case spaces.MultiBinary():
            low, high = np.zeros(space.shape, int), np.ones(space.shape, int)
        case spaces.Box() if np.issubdtype(space.dtype, np.integer):
            low, high = space.low, space.high
        case _:
            raise UnsupportedSpaceError(_no_tokens(key, space))
    goals = low.shape[0] if low.ndim else 1
    low_X: list[int] = low.reshape(goals, -1).min(0).tolist()
    high_X: list[int] = high.reshape(goals, -1).max(0).tolist()
    if sum(high_X) - sum(low_X) + len(low_X) > MOST_TOKENS:
        raise UnsupportedSpaceError(_no_tokens(key, space))
    return low_X, high_X


def _no_tokens(key: str, space: spaces.Space[Any]) -> str:
    return (
        f"the encoder goal-rnn cannot read the goals {key!r} of space {space} as tokens: it takes "
        f"MultiDiscrete, MultiBinary, Discrete and a Box of an integer type, of at most "
        f"{MOST_TOKENS:,} values in all. goal-mlp takes any numbers."
    )


def _require_keys(name: str, goal_keys: tuple[str, ...], observations: Mapping[str, Any]) -> None:
    lacking = [key for key in goal_keys if key not in observations]
    if lacking:
        asked = " ".join(
            f"{key!r} is not observed.{did_you_mean(key, observations)}" for key in lacking
        )
        raise UnsupportedSpaceError(
            f"the encoder {name} takes its goal_keys for goals: {asked} "
            f"The observations are {', '.join(sorted(observations))}."
        )
