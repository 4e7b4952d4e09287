"""Dark room: find a hidden goal cell, then go straight back to it.

Shape suffixes: B = tasks, Y, X = rows and columns of the room, 2 = x and y.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_standard.environments.grids import MOVES, Cell, moved
from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, paint
from amago_standard.environments.task import Observation, Task
from amago_standard.environments.vector_task import (
    Integers,
    StepResult,
    VectorFactory,
    VectorTask,
    attempt_infos,
)

_MOVES_A2 = np.array(MOVES)


class DarkRoom(Task):
    """Dark Room: a grid with a hidden goal cell that pays for every step spent on it.

    From Algorithm Distillation (arXiv:2210.14215). A task is one goal cell, drawn evenly from all
    ``size`` x ``size``. A trajectory is ``attempts`` attempts of ``attempt_limit`` steps each, and each
    begins in the centre of the room. A step that ends on the goal pays 1. The best that an attempt can
    pay is ``attempt_limit + 1 - max(d, 1)`` for a goal at d moves from the centre, and 0 for one beyond
    reach, where that is negative.

    Observation: x / size, y / size, steps of the attempt / attempt_limit. What the last step of an
    attempt shows is already the next start. Actions: 0 stay, 1 right, 2 left, 3 down, 4 up; walls
    block. On the last step of an attempt, ``info["attempt"]`` is its index from 0 and
    ``info["success"]`` 1.0 if it met the goal, else 0.0.

    Args:
        size: Cells along each side.
        attempts: Attempts per trajectory.
        attempt_limit: Steps of each attempt.
        render_mode: None or ``"rgb_array"``.
    """

    def __init__(
        self,
        size: int = 9,
        attempts: int = 10,
        attempt_limit: int = 20,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(horizon=attempts * attempt_limit, render_mode=render_mode)
        self.size = size
        self.attempts = attempts
        self.attempt_limit = attempt_limit
        self.centre = (size // 2, size // 2)
        self.observation_space = spaces.Box(0, 1, (3,), np.float32)
        self.action_space = spaces.Discrete(len(MOVES))

    def draw(self, rng: np.random.Generator) -> Cell:
        """Return a goal."""
        x, y = rng.integers(self.size, size=2).tolist()
        return x, y

    def _begin(self) -> Observation:
        self._goal = self.draw(self.np_random)
        self._attempt = 0
        self._begin_attempt()
        return self._observe()

    def _begin_attempt(self) -> None:
        self._position = self.centre
        self._time = 0
        self._found = False

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move one cell; where that ends the attempt, begin the next."""
        self._time += 1
        self._position = moved(self._position, MOVES[action], self.size)
        on_goal = self._position == self._goal
        self._found |= on_goal
        if self._time < self.attempt_limit:
            return self._observe(), float(on_goal), False, False, {}
        info = {"attempt": self._attempt, "success": float(self._found)}
        self._attempt += 1
        self._begin_attempt()
        return self._observe(), float(on_goal), self._attempt == self.attempts, False, info

    def _observe(self) -> Observation:
        x, y = self._position
        return np.array((x / self.size, y / self.size, self._time / self.attempt_limit), np.float32)

    def _picture(self) -> NDArray[np.uint8]:
        cells_YX = np.full((self.size, self.size), FLOOR)
        for (x, y), colour in ((self._goal, GOAL), (self._position, AGENT)):
            cells_YX[y, x] = colour
        return paint(cells_YX, scale=32)


class DarkRooms(VectorTask[DarkRoom]):
    """Vectorised form; see :class:`amago_standard.environments.vector_task.VectorTask`."""

    def __init__(self, task: DarkRoom, count: int) -> None:
        super().__init__(task, count)
        self._goal_B2 = np.zeros((count, 2), np.int64)
        self._position_B2 = np.zeros((count, 2), np.int64)
        self._time_B, self._attempt_B = np.zeros((2, count), np.int64)
        self._found_B = np.zeros(count, bool)

    def _draw(self, index: int, rng: np.random.Generator) -> None:
        self._goal_B2[index] = self.task.draw(rng)

    def _begin(self, rows: Integers) -> None:
        self._attempt_B[rows] = 0
        self._begin_attempts(rows)

    def _begin_attempts(self, rows: Integers) -> None:
        self._position_B2[rows] = self.task.centre
        self._time_B[rows] = 0
        self._found_B[rows] = False

    def _step(self, action_B: Integers) -> StepResult:
        self._time_B += 1
        self._position_B2 += _MOVES_A2[action_B]
        np.clip(self._position_B2, 0, self.task.size - 1, out=self._position_B2)
        on_goal_B = (self._position_B2 == self._goal_B2).all(-1)
        self._found_B |= on_goal_B
        ended_B = self._time_B == self.task.attempt_limit
        infos = attempt_infos(ended_B, attempt=self._attempt_B, success=self._found_B.astype(float))
        self._attempt_B += ended_B
        self._begin_attempts(np.flatnonzero(ended_B))
        return on_goal_B.astype(float), self._attempt_B == self.task.attempts, infos

    def _observe(self) -> Observation:
        obs_BF = np.empty((self.num_envs, 3), np.float32)
        obs_BF[:, :2] = self._position_B2 / self.task.size
        obs_BF[:, 2] = self._time_B / self.task.attempt_limit
        return obs_BF


DarkRoomPart = partial(VectorFactory, DarkRoom, vector=DarkRooms)
