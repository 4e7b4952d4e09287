"""Atari 2600 environment: one image observation, discrete actions.

Shape suffixes: Y, X = rows and columns of a screen, C = channels, S = rows or columns of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_atari.emulator import Emulator
from amago_atari.options import AtariOptions
from amago_atari.screens import Picture
from amago_registry.contexts import EnvironmentContext

FRAMES_PER_SECOND = 60
"""Of the console."""


class AtariTask(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """Atari environment (ALE; Bellemare et al., 2013): one game, or one of several, per trajectory.

    An action is held for ``frame_skip`` frames. The observation is the pixelwise maximum of the last
    two frames, because the console draws some objects in every other frame only, downscaled to a
    square. Frames are not stacked: the backbone is the memory. Sticky actions are those of Machado et
    al. (2018, arXiv:1709.06009).

    The info of a reset names the game: ``info["task"]``. The seed determines the game and all of its
    randomness. A game that is over, or a lost life with ``life_loss_terminates``, ends the trajectory
    as ``terminated``; reaching ``max_frames`` as ``truncated``. Every reset begins a new game.

    Args:
        games: Their names in ale-py.
        size: Rows and columns of the picture.
        grayscale: Whether it has one channel, not three.
        frame_skip: Frames per step.
        sticky: Probability that a frame repeats the action of the frame before.
        full_action_space: Whether to offer all 18 actions; those that a game does not read do
            nothing in it. None: where there are several games.
        life_loss_terminates: Whether a lost life ends the trajectory.
        clip_rewards: Whether to pay the sign of the points.
        max_frames: Most frames of a trajectory, rounded up to whole steps.
        render_mode: None or ``"rgb_array"``.

    Attributes:
        horizon: Most steps of a trajectory.

    Raises:
        UnavailableError: If ale-py cannot be imported.
        ValueError: If the render mode is another.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        games: tuple[str, ...],
        size: int = 84,
        grayscale: bool = True,
        frame_skip: int = 4,
        sticky: float = 0.25,
        full_action_space: bool | None = None,
        life_loss_terminates: bool = False,
        clip_rewards: bool = False,
        max_frames: int = 108_000,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; choose None or 'rgb_array'")
        self.metadata = {**self.metadata, "render_fps": FRAMES_PER_SECOND / frame_skip}
        self.games = games
        self.horizon = ceil(max_frames / frame_skip)
        self.render_mode = render_mode
        self._frame_skip = frame_skip
        self._life_loss_terminates = life_loss_terminates
        self._clip_rewards = clip_rewards
        self._size = size
        self._time = self._lives = 0
        self._emulator = Emulator(games, sticky, grayscale)
        self._start(games[0], seed=1)
        every = len(games) > 1 if full_action_space is None else full_action_space
        self._actions = self._emulator.all_actions if every else self._emulator.read_actions()
        self.action_space = spaces.Discrete(len(self._actions))
        self.observation_space = spaces.Box(0, 255, self._picture().shape, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Draw a game and begin it: from ``seed``, or without one the next of the generator."""
        super().reset(seed=seed)
        # Drawn first, so that a game plays the same with other games beside it.
        inner_seed = int(self.np_random.integers(1, 2**31))
        game = self.games[int(self.np_random.integers(len(self.games)))]
        self._start(game, inner_seed)
        return self._picture(), {"task": game}

    def step(
        self, action: np.int64 | int
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Hold an action for some frames."""
        points = 0.0
        for frame in range(self._frame_skip):
            points += self._emulator.act(self._actions[action])
            if frame >= self._frame_skip - 2:
                self._read_screen()
        self._time += 1
        before, self._lives = self._lives, self._emulator.lives
        terminated = self._emulator.over or (self._life_loss_terminates and self._lives < before)
        truncated = not terminated and self._time == self.horizon
        reward = float(np.sign(points)) if self._clip_rewards else points
        return self._picture(), reward, terminated, truncated, {}

    def render(self) -> Any:
        """Return the screen ``(height, width, 3)``, uint8; None without a render mode."""
        return self._emulator.color_screen() if self.render_mode else None

    def _start(self, game: str, seed: int) -> None:
        self._emulator.start(game, seed)
        self._time = 0
        self._lives = self._emulator.lives
        shape = self._emulator.shape()
        self._shrink = Picture(shape[0], shape[1], self._size)
        self._before_YXC, self._now_YXC = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self._read_screen()

    def _read_screen(self) -> None:
        """Keep the present screen, and the one before it."""
        self._before_YXC, self._now_YXC = self._now_YXC, self._before_YXC
        self._emulator.read_screen(self._now_YXC)

    def _picture(self) -> NDArray[np.uint8]:
        """Return the picture ``(S, S, C)`` of the last two screens."""
        return self._shrink(np.maximum(self._before_YXC, self._now_YXC))


@dataclass(frozen=True)
class AtariPart:
    """The part ``use: atari``.

    Args:
        context: Supplied by the composer.
        options: The games, and how they are played and seen.
    """

    context: EnvironmentContext
    options: AtariOptions

    def make(self) -> AtariTask:
        """Return a fresh environment.

        Raises:
            UnavailableError: If ale-py cannot be imported.
        """
        return AtariTask(**self.options.model_dump())
