"""Test helpers: environments, and the emulator's own screens."""

from __future__ import annotations

from typing import Any

import ale_py
import numpy as np
from ale_py import roms

from amago_atari.hooks import amago_register_environments
from amago_atari.task import AtariPart, AtariTask
from amago_registry import Component
from amago_registry.contexts import EnvironmentContext

(ATARI,) = amago_register_environments()
COMPONENT: Component = ATARI


def make(*games: str, **options: Any) -> AtariTask:
    part = AtariPart(EnvironmentContext(), COMPONENT.options(games=games, **options))
    return part.make()


def emulator(game: str, seed: int, sticky: float) -> ale_py.ALEInterface:
    """Return the emulator at the beginning of a game."""
    ale = ale_py.ALEInterface()
    ale.setLoggerMode(ale_py.LoggerMode.Error)
    ale.setFloat("repeat_action_probability", sticky)
    ale.setInt("random_seed", seed)
    ale.loadROM(roms.get_rom_path(game))
    ale.reset_game()
    return ale


def shrunk(screen_YXC: np.ndarray, size: int) -> np.ndarray:
    """Return a square, each pixel the mean of the area it covers: pixel by pixel, in whole numbers."""
    height, width, channels = screen_YXC.shape
    picture = np.zeros((size, size, channels), int)
    for row, column in np.ndindex(size, size):
        for y, up in _covered(row, height, size):
            for x, along in _covered(column, width, size):
                picture[row, column] += up * along * screen_YXC[y, x].astype(int)
    area = height * width
    return (2 * picture + area) // (2 * area)


def _covered(cell: int, length: int, size: int) -> list[tuple[int, int]]:
    """Return which of ``length`` cells one of ``size`` covers, and how many of its ``length`` parts."""
    first, last = cell * length, (cell + 1) * length
    parts = [part // size for part in range(first, last)]
    return [(index, parts.count(index)) for index in sorted(set(parts))]
