"""Wrapper of the Arcade Learning Environment's emulator (ale-py).

Shape suffixes: Y, X = rows and columns of a screen, C = channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amago_registry.errors import UnavailableError, reason

ALE_PY = "ale-py>=0.12.1,<0.13"


class Emulator:
    """Atari 2600 emulator.

    Args:
        games: Games that it can start.
        sticky: Probability that a frame repeats the action of the frame before.
        grayscale: Whether screens have one channel, not three.

    Raises:
        UnavailableError: If ale-py cannot be imported.
    """

    def __init__(self, games: tuple[str, ...], sticky: float, grayscale: bool) -> None:
        ale_py, roms = _ale_py(games)
        self._files = {game: roms.get_rom_path(game) for game in games}
        # Before the interface exists, because its constructor prints a greeting.
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", sticky)
        self._read = self._ale.getScreenGrayscale if grayscale else self._ale.getScreenRGB
        self._channels = 1 if grayscale else 3
        self.all_actions: list[Any] = list(ale_py.Action.__members__.values())[:18]

    def start(self, game: str, seed: int) -> None:
        """Begin a game; the seed decides which frames repeat an action. Takes about 0.1 seconds."""
        # The seed is read only when a game is loaded.
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(self._files[game])
        self._ale.reset_game()

    def read_actions(self) -> list[Any]:
        """Return the actions that the present game reads, in the order of all actions."""
        return list(self._ale.getMinimalActionSet())

    def shape(self) -> tuple[int, int, int]:
        """Return rows, columns and channels of the present game's screen."""
        height, width = self._ale.getScreenDims()
        return height, width, self._channels

    def act(self, action: Any) -> float:
        """Play one frame, and return its points; an action that the game does not read does nothing."""
        return float(self._ale.act(action))

    def read_screen(self, screen_YXC: NDArray[np.uint8]) -> None:
        """Write the present screen into an array."""
        self._read(screen_YXC[..., 0] if self._channels == 1 else screen_YXC)

    def color_screen(self) -> NDArray[np.uint8]:
        """Return the present screen in colour."""
        screen: NDArray[np.uint8] = self._ale.getScreenRGB()
        return screen

    @property
    def lives(self) -> int:
        """Lives left; 0 in games that have none."""
        return int(self._ale.lives())

    @property
    def over(self) -> bool:
        """Whether the game is over."""
        return bool(self._ale.game_over())


def _ale_py(games: tuple[str, ...]) -> tuple[Any, Any]:
    """Return ale-py, and its module that finds ROMs.

    Raises:
        UnavailableError: If they cannot be imported, with what to install.
    """
    try:
        import ale_py
        from ale_py import roms
    except Exception as error:
        raise UnavailableError(
            f"the environment atari needs the package ale-py, which provides {' and '.join(games)} and "
            f"cannot be imported here: {reason(error)}. Install it: pip install '{ALE_PY}'"
        ) from error
    return ale_py, roms
