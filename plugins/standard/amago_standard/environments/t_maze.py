"""T-maze: remember one bit for the length of a corridor.

Shape suffixes: H, W = rows and columns of the picture's grid.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, HOLE, WALL, paint
from amago_standard.environments.task import Factory, Observation, Task

FORWARD = 0
_MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))


class TMaze(Task):
    """A corridor whose first cell tells at which side of its end the goal lies.

    Ni et al., 2023 (arXiv:2307.03864), with the reward of AMAGO (arXiv:2310.09971). It separates
    memory from everything else: a policy that forgets scores 0.5 at best, one that remembers 1.

    The start is cell 0, the junction cell ``length``, the goal cells one above and one below it.
    The oracle cell is the start, or with ``active`` the cell behind it. The agent sees ``[0, cue]``
    on its first visit of the oracle cell (cue -1: the goal is below, 1: above), ``[0, 0]`` on any
    later visit and in the corridor, ``[1, y]`` at the junction (y 0) and in a goal cell (y -1 or
    1).

    Actions: 0 forward, 1 up, 2 back, 3 down; walls block. A trajectory lasts exactly ``horizon`` steps:
    ``length + 1``, or ``length + 3`` with ``active``, which leaves none to spare. The last step
    pays 1 in the right goal cell, else 0. Every earlier step whose action is not forward costs ``1
    / length``, except the first step with ``active``. The best return is 1. ``info["success"]``
    comes with the last step.

    Args:
        length: Steps from start to junction.
        active: Whether the oracle cell lies behind the start.
        render_mode: None or ``"rgb_array"``.
    """

    def __init__(self, length: int = 60, active: bool = False, render_mode: str | None = None) -> None:
        super().__init__(horizon=length + (3 if active else 1), render_mode=render_mode)
        self.length = length
        self.active = active
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(len(_MOVES))
        self._oracle = -1 if active else 0

    def _begin(self) -> Observation:
        self._goal = 1 if self.np_random.random() < 0.5 else -1
        self._x = self._y = self._time = 0
        self._told = False
        return self._observe()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move one cell."""
        first = self._time == 0
        self._time += 1
        move_x, move_y = _MOVES[action]
        x, y = self._x + move_x, self._y + move_y
        if self._is_open(x, y):
            self._x, self._y = x, y
        if self._time == self.horizon:
            success = float(self._y == self._goal)
            return self._observe(), success, True, False, {"success": success}
        free = action == FORWARD or (first and self.active)
        return self._observe(), 0.0 if free else -1.0 / self.length, False, False, {}

    def _is_open(self, x: int, y: int) -> bool:
        return self._oracle <= x <= self.length if y == 0 else x == self.length and abs(y) == 1

    def _observe(self) -> Observation:
        if self._x == self.length:
            return np.array((1, self._y), np.float32)
        cue = 0
        if self._x == self._oracle and not self._told:
            self._told, cue = True, self._goal
        return np.array((0, cue), np.float32)

    def _picture(self) -> NDArray[np.uint8]:
        cells_HW = np.full((3, self.length - self._oracle + 1), WALL)
        cells_HW[1] = FLOOR
        cells_HW[1 - self._goal, -1], cells_HW[1 + self._goal, -1] = GOAL, HOLE
        cells_HW[1 - self._y, self._x - self._oracle] = AGENT
        return paint(cells_HW, scale=8)


TMazePart = partial(Factory, TMaze)
