"""T-maze: remember one bit for the length of a corridor.

Shape suffixes: B = tasks, A = actions, F = features, H, W = rows and columns of the picture's grid.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, HOLE, WALL, paint
from amago_standard.environments.task import Observation, Task
from amago_standard.environments.vector_task import (
    Integers,
    StepResult,
    VectorFactory,
    VectorTask,
    attempt_infos,
)

FORWARD = 0
_MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))
_MOVES_X_A, _MOVES_Y_A = np.array(_MOVES).T


class TMaze(Task):
    """T-maze: the first cell of a corridor shows at which side of its end the goal lies.

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
        self.oracle = -1 if active else 0

    def draw(self, rng: np.random.Generator) -> int:
        """Return the side of the goal."""
        return 1 if rng.random() < 0.5 else -1

    def _begin(self) -> Observation:
        self._goal = self.draw(self.np_random)
        self._x = self._y = self._time = 0
        self._cue_shown = False
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
        return self.oracle <= x <= self.length if y == 0 else x == self.length and abs(y) == 1

    def _observe(self) -> Observation:
        if self._x == self.length:
            return np.array((1, self._y), np.float32)
        cue = 0
        if self._x == self.oracle and not self._cue_shown:
            self._cue_shown, cue = True, self._goal
        return np.array((0, cue), np.float32)

    def _picture(self) -> NDArray[np.uint8]:
        cells_HW = np.full((3, self.length - self.oracle + 1), WALL)
        cells_HW[1] = FLOOR
        cells_HW[1 - self._goal, -1], cells_HW[1 + self._goal, -1] = GOAL, HOLE
        cells_HW[1 - self._y, self._x - self.oracle] = AGENT
        return paint(cells_HW, scale=8)


class TMazes(VectorTask[TMaze]):
    """Vectorised form; see :class:`amago_standard.environments.vector_task.VectorTask`."""

    def __init__(self, task: TMaze, count: int) -> None:
        super().__init__(task, count)
        self._goal_B, self._x_B, self._y_B, self._time_B, self._cue_B = np.zeros((5, count), np.int64)
        self._cue_shown_B = np.zeros(count, bool)

    def _draw(self, index: int, rng: np.random.Generator) -> None:
        self._goal_B[index] = self.task.draw(rng)

    def _begin(self, rows: Integers) -> None:
        for state_B in (self._x_B, self._y_B, self._time_B):
            state_B[rows] = 0
        # All are at the start, which shows the cue at once unless the oracle lies behind it.
        self._cue_shown_B[rows] = not self.task.active
        self._cue_B[rows] = 0 if self.task.active else self._goal_B[rows]

    def _step(self, action_B: Integers) -> StepResult:
        length, oracle = self.task.length, self.task.oracle
        free_B = action_B == FORWARD
        if self.task.active:
            free_B |= self._time_B == 0
        self._time_B += 1
        x_B, y_B = self._x_B + _MOVES_X_A[action_B], self._y_B + _MOVES_Y_A[action_B]
        at_end_B = x_B == length
        open_B = np.where(y_B == 0, (oracle <= x_B) & (x_B <= length), at_end_B & (abs(y_B) == 1))
        np.copyto(self._x_B, x_B, where=open_B)
        np.copyto(self._y_B, y_B, where=open_B)
        shows_B = (self._x_B == oracle) & ~self._cue_shown_B
        self._cue_shown_B |= shows_B
        self._cue_B[:] = self._goal_B * shows_B
        over_B = self._time_B == self.task.horizon
        success_B = (self._y_B == self._goal_B).astype(float)
        reward_B = np.where(over_B, success_B, np.where(free_B, 0.0, -1.0 / length))
        return reward_B, over_B, attempt_infos(over_B, success=success_B)

    def _observe(self) -> Observation:
        at_end_B = self._x_B == self.task.length
        obs_BF = np.empty((self.num_envs, 2), np.float32)
        obs_BF[:, 0] = at_end_B
        obs_BF[:, 1] = np.where(at_end_B, self._y_B, self._cue_B)
        return obs_BF


TMazePart = partial(VectorFactory, TMaze, vector=TMazes)
