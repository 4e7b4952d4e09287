"""POPGym environment: one vector observation, one discrete or Box action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_popgym.games import horizon, make_game, preserved_global_generators
from amago_popgym.options import PopgymOptions
from amago_registry.contexts import EnvironmentContext

TIME_SCALE = 1000
"""Steps that the time in an observation counts as 1."""


class PopgymTask(gymnasium.Env[NDArray[np.float32], Any]):
    """POPGym environment; a trajectory is one game.

    Observations of any structure become one vector, ``Discrete`` and ``MultiDiscrete`` parts as
    one-hots. Pairs of choices, the cells of a board, become one ``Discrete`` action. Running out of
    time is a termination: the time left is part of the problem.

    Args:
        game: The package's environment.
        time_in_observation: Whether the vector ends with the steps taken / 1000.

    Attributes:
        horizon: Most steps of a game.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, game: gymnasium.Env[Any, Any], time_in_observation: bool = True) -> None:
        self.game = game
        self.horizon = horizon(game)
        self._shows_time = time_in_observation
        self._choices = _choices(game.action_space)
        self.observation_space = _vectors(game.observation_space, self._last(self.horizon))
        self.action_space = spaces.Discrete(len(self._choices)) if self._choices else game.action_space
        self._time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a game: from ``seed``, or without one the next of the present generator."""
        super().reset(seed=seed)
        self._time = 0
        # Mazes draw without a generator of their own, and numpy's old one takes no larger seeds.
        inner_seed = int(self.np_random.integers(2**32))
        with preserved_global_generators():
            obs, _ = self.game.reset(seed=inner_seed)
        return self._vector(obs), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take a step; an end of any kind is a termination."""
        taken = self._choices[int(action)] if self._choices else action
        obs, reward, terminated, truncated, _ = self.game.step(taken)
        self._time += 1
        return self._vector(obs), float(reward), bool(terminated or truncated), False, {}

    def close(self) -> None:
        """Close the game."""
        self.game.close()

    def _vector(self, obs: Any) -> NDArray[np.float32]:
        flat: Any = spaces.flatten(self.game.observation_space, obs)
        return np.concatenate([flat, self._last(self._time)], dtype=np.float32)

    def _last(self, time: int) -> NDArray[np.float32]:
        """Return the time feature at the end of an observation; empty if time is not shown."""
        return np.array([time / TIME_SCALE] if self._shows_time else [], np.float32)


@dataclass(frozen=True)
class PopgymPart:
    """The part ``use: popgym``.

    Args:
        context: Supplied by the composer.
        options: The id, and whether time is shown.
    """

    context: EnvironmentContext
    options: PopgymOptions

    def make(self) -> PopgymTask:
        """Return a fresh environment.

        Raises:
            UnavailableError: If a package it needs cannot be imported.
        """
        return PopgymTask(make_game(self.options.id), self.options.time_in_observation)


def _vectors(space: spaces.Space[Any], last: NDArray[np.float32]) -> Any:
    """Return the space of flattened observations, whose time feature goes from 0 to ``last``."""
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    low = np.concatenate([flat.low, np.zeros_like(last)], dtype=np.float32)
    return spaces.Box(low, np.concatenate([flat.high, last], dtype=np.float32), dtype=np.float32)


def _choices(space: spaces.Space[Any]) -> list[Any]:
    """Return all actions of a discrete space in order; an empty list for other spaces."""
    match space:
        case spaces.Discrete():
            return list(range(int(space.n)))
        case spaces.MultiDiscrete():
            return list(np.ndindex(*space.nvec))
    return []
