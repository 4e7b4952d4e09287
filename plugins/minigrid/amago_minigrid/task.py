"""MiniGrid environment: a symbolic grid and a tokenized mission.

Shape suffixes: X, Y = columns and rows of the cells shown, L = padded length of a mission in words.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_minigrid.games import make_game
from amago_minigrid.missions import WORDS, most_words, tokens
from amago_minigrid.options import MinigridOptions
from amago_registry.contexts import EnvironmentContext

OBJECTS, COLORS, STATES = 11, 6, 4
"""Numbers of values of a cell's object, colour and state (of a door, or the agent's direction)."""

AGENT, RED = 10, 0
"""Object and colour of the agent in the whole grid."""

Observation = dict[str, Any]


class MinigridTask(gymnasium.Env[Observation, np.int64]):
    """MiniGrid or BabyAI environment; a trajectory is one game.

    The observation has ``image`` (X, Y, 3), the object, colour and state in each cell; ``direction``,
    where the agent looks: 0 right, 1 down, 2 left, 3 up; and ``mission`` (L,), tokens of words that
    :mod:`amago_minigrid.missions` lists. Actions are the package's: 0 turn left, 1 turn right,
    2 forward, 3 pick up, 4 drop, 5 toggle, 6 done; in some games only the first few do anything.

    Running out of time ends a game as anything else does: the reward depends on the time left. With
    the last step comes ``info["success"]``, 1.0 where the reward is positive, else 0.0.

    Args:
        game: The package's environment.
        whole: Whether the whole grid is shown instead of what the agent sees.
        mission: Whether the mission is shown.
        mission_words: L; None for as many as the game may use.

    Attributes:
        horizon: Most steps of a game; None if it differs from task to task.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        game: Any,
        whole: bool = False,
        mission: bool = True,
        mission_words: int | None = None,
    ) -> None:
        self.game = game
        self.horizon: int | None = self.game.max_steps or None  # BabyAI: 0 before the first task.
        self._whole = whole
        self._length = (mission_words or most_words(game)) if mission else 0
        self._mission_L = np.zeros(self._length, np.uint8)
        size = (self.game.width, self.game.height) if whole else (self.game.agent_view_size,) * 2
        self.observation_space = _observations(size, self._length)
        self.action_space = self.game.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a game: from ``seed``, or without one the next of the present generator."""
        super().reset(seed=seed)
        with redirect_stdout(StringIO()):  # BabyAI prints whenever it redraws a mission.
            obs, _ = self.game.reset(seed=seed)
        if self._length:
            self._mission_L = tokens(obs["mission"], self._length)
        return self._observe(obs), {}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take a step; an end of any kind is a termination."""
        obs, reward, terminated, truncated, _ = self.game.step(action)
        over = bool(terminated or truncated)
        info = {"success": float(reward > 0)} if over else {}
        return self._observe(obs), float(reward), over, False, info

    def close(self) -> None:
        """Close the game."""
        self.game.close()

    def _observe(self, obs: Observation) -> Observation:
        image_XYC = self._whole_grid() if self._whole else obs["image"]
        seen = {"image": image_XYC, "direction": np.int64(obs["direction"])}
        return seen | ({"mission": self._mission_L.copy()} if self._length else {})

    def _whole_grid(self) -> NDArray[np.uint8]:
        image_XYC: NDArray[np.uint8] = self.game.grid.encode()
        x, y = self.game.agent_pos
        image_XYC[x, y] = AGENT, RED, self.game.agent_dir
        return image_XYC


@dataclass(frozen=True)
class MinigridPart:
    """The part ``use: minigrid``.

    Args:
        context: Supplied by the composer.
        options: The id, and what is shown.
    """

    context: EnvironmentContext
    options: MinigridOptions

    def make(self) -> MinigridTask:
        """Return a fresh environment.

        Raises:
            UnavailableError: If the package cannot be imported.
        """
        options = self.options
        limit = {} if options.time_limit is None else {"max_steps": options.time_limit}
        game = make_game(options.id, agent_view_size=options.view_size, **limit)
        return MinigridTask(game, options.view == "whole", options.mission, options.mission_words)


def _observations(size: tuple[int, int], length: int) -> spaces.Dict:
    """Return the observation space, with bounds as narrow as the values."""
    high_XYC = np.broadcast_to(np.array([OBJECTS, COLORS, STATES], np.uint8) - 1, (*size, 3))
    leaves: dict[str, spaces.Space[Any]] = {
        "image": spaces.Box(np.zeros_like(high_XYC), high_XYC.copy(), dtype=np.uint8),
        "direction": spaces.Discrete(4),
    }
    if length:
        leaves["mission"] = spaces.Box(0, len(WORDS), (length,), np.uint8)
    return spaces.Dict(leaves)
