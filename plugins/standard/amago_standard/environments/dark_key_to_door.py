"""Dark key-to-door: find a hidden key, then a hidden door, and use what was found in the next attempt.

Shape suffixes: B = tasks, A = actions, F = features, Y, X = rows and columns of the room, 2 = x and y.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_standard.environments.grids import MOVES, Cell, moved
from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, HOLE, paint
from amago_standard.environments.task import Observation, Task
from amago_standard.environments.vector_task import (
    Integers,
    StepResult,
    VectorFactory,
    VectorTask,
    attempt_infos,
)

_MOVES_A2 = np.array(MOVES)


class DarkKeyToDoor(Task):
    """Dark Key-To-Door, in AMAGO's variant: find a hidden key, then a hidden door, again and again.

    After arXiv:2310.09971. A task is a key, a door, and a start, drawn from all ``size`` x ``size``
    cells, evenly and one without regard to the others. The first step of an attempt that ends on the
    key pays 1. After it, the first step that ends on the door pays 1 and ends the attempt; where the
    two are one cell, that is a later step too. After ``attempt_limit`` steps the attempt is over and
    keeps its reward.

    After an attempt one step is spent on the way back: its action does nothing, and it shows the start,
    where the next attempt begins. A trajectory has exactly ``horizon`` steps; an attempt that this cuts
    off reports no success. An agent that knows the room gains 2 in every ``max(d(start, key), 1) +
    max(d(key, door), 1) + 1`` steps, d the moves between two cells.

    Observation: x / size, y / size, 1 if the agent has the key else 0, steps of the attempt /
    attempt_limit; with ``light`` also the key's x / size and y / size and the door's. Actions: 0 stay,
    1 right, 2 left, 3 down, 4 up; walls block. On the step that ends an attempt, ``info["attempt"]`` is
    its index from 0 and ``info["success"]`` 1.0 if the door was opened, else 0.0.

    Args:
        size: Cells along each side.
        horizon: Steps per trajectory.
        attempt_limit: Most steps of one attempt.
        light: Whether the agent sees key and door, so that there is nothing to remember.
        shuffle_actions: Whether the five actions trade places, differently in each task.
        render_mode: None or ``"rgb_array"``.
    """

    def __init__(
        self,
        size: int = 9,
        horizon: int = 500,
        attempt_limit: int = 50,
        light: bool = False,
        shuffle_actions: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(horizon=horizon, render_mode=render_mode)
        self.size = size
        self.attempt_limit = attempt_limit
        self.light = light
        self.features = 8 if light else 4
        self.shuffle_actions = shuffle_actions
        self.observation_space = spaces.Box(0, 1, (self.features,), np.float32)
        self.action_space = spaces.Discrete(len(MOVES))

    def draw(self, rng: np.random.Generator) -> tuple[Cell, Cell, Cell, tuple[Cell, ...]]:
        """Return a key, a door, a start, and the move that each action stands for."""
        x, y, door_x, door_y, start_x, start_y = rng.integers(self.size, size=6).tolist()
        moves = MOVES
        if self.shuffle_actions:
            moves = tuple(MOVES[index] for index in rng.permutation(len(MOVES)).tolist())
        return (x, y), (door_x, door_y), (start_x, start_y), moves

    def _begin(self) -> Observation:
        self._key, self._door, self._start, self._moves = self.draw(self.np_random)
        self._lit = tuple(place / self.size for place in self._key + self._door) if self.light else ()
        self._steps = self._attempt = 0
        self._begin_attempt()
        return self._observe()

    def _begin_attempt(self) -> None:
        self._position = self._start
        self._time = 0
        self._has_key = self._ended = False

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move one cell, or go back to the start after an attempt."""
        self._steps += 1
        reward, info = self._go_back() if self._ended else self._move(action)
        return self._observe(), reward, self._steps == self.horizon, False, info

    def _go_back(self) -> tuple[float, dict[str, Any]]:
        self._begin_attempt()
        return 0.0, {}

    def _move(self, action: np.int64 | int) -> tuple[float, dict[str, Any]]:
        self._time += 1
        self._position = moved(self._position, self._moves[action], self.size)
        opens = self._has_key and self._position == self._door
        finds = not self._has_key and self._position == self._key
        self._has_key |= finds
        self._ended = opens or self._time == self.attempt_limit
        reward = float(finds or opens)
        if not self._ended:
            return reward, {}
        info = {"attempt": self._attempt, "success": float(opens)}
        self._attempt += 1
        return reward, info

    def _observe(self) -> Observation:
        x, y = self._position
        own = (x / self.size, y / self.size, self._has_key, self._time / self.attempt_limit)
        return np.array(own + self._lit, np.float32)

    def _picture(self) -> NDArray[np.uint8]:
        cells_YX = np.full((self.size, self.size), FLOOR)
        cells_YX[self._door[1], self._door[0]] = GOAL
        if not self._has_key:
            cells_YX[self._key[1], self._key[0]] = HOLE
        cells_YX[self._position[1], self._position[0]] = AGENT
        return paint(cells_YX, scale=32)


class DarkKeyToDoors(VectorTask[DarkKeyToDoor]):
    """Vectorised form; see :class:`amago_standard.environments.vector_task.VectorTask`."""

    def __init__(self, task: DarkKeyToDoor, count: int) -> None:
        super().__init__(task, count)
        self._key_B2, self._door_B2, self._start_B2, self._position_B2 = np.zeros(
            (4, count, 2), np.int64
        )
        self._moves_BA2 = np.tile(_MOVES_A2, (count, 1, 1))
        self._steps_B, self._time_B, self._attempt_B = np.zeros((3, count), np.int64)
        self._has_key_B, self._ended_B = np.zeros((2, count), bool)

    def _draw(self, index: int, rng: np.random.Generator) -> None:
        key, door, start, moves = self.task.draw(rng)
        self._key_B2[index], self._door_B2[index], self._start_B2[index] = key, door, start
        if self.task.shuffle_actions:
            self._moves_BA2[index] = moves

    def _begin(self, rows: Integers) -> None:
        self._steps_B[rows] = self._attempt_B[rows] = 0
        self._begin_attempts(rows)

    def _begin_attempts(self, rows: Integers) -> None:
        self._position_B2[rows] = self._start_B2[rows]
        self._time_B[rows] = 0
        self._has_key_B[rows] = self._ended_B[rows] = False

    def _step(self, action_B: Integers) -> StepResult:
        self._steps_B += 1
        back_B = self._ended_B.copy()
        # All tasks move; the result is discarded where an attempt has just ended.
        self._time_B += 1
        self._position_B2 += self._moves_BA2[self._all_rows, action_B]
        np.clip(self._position_B2, 0, self.task.size - 1, out=self._position_B2)
        on_key_B, on_door_B = (
            (self._position_B2 == place_B2).all(-1) for place_B2 in (self._key_B2, self._door_B2)
        )
        opens_B = on_door_B & self._has_key_B & ~back_B
        finds_B = on_key_B & ~self._has_key_B & ~back_B
        self._has_key_B |= finds_B
        self._ended_B = (opens_B | (self._time_B == self.task.attempt_limit)) & ~back_B
        infos = attempt_infos(self._ended_B, attempt=self._attempt_B, success=opens_B.astype(float))
        self._attempt_B += self._ended_B
        self._begin_attempts(np.flatnonzero(back_B))
        return (finds_B | opens_B).astype(float), self._steps_B == self.task.horizon, infos

    def _observe(self) -> Observation:
        obs_BF = np.empty((self.num_envs, self.task.features), np.float32)
        obs_BF[:, :2] = self._position_B2 / self.task.size
        obs_BF[:, 2] = self._has_key_B
        obs_BF[:, 3] = self._time_B / self.task.attempt_limit
        if self.task.light:
            obs_BF[:, 4:6] = self._key_B2 / self.task.size
            obs_BF[:, 6:] = self._door_B2 / self.task.size
        return obs_BF


DarkKeyToDoorPart = partial(VectorFactory, DarkKeyToDoor, vector=DarkKeyToDoors)
