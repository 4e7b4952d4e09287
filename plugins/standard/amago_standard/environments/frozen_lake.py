"""Meta-FrozenLake: several attempts to cross a lake whose holes are not shown.

Shape suffixes: Y, X = rows and columns of the map.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from numpy.typing import NDArray

from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, HOLE, paint
from amago_standard.environments.task import Factory, Observation, Task

_MOVES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


class MetaFrozenLake(Task):
    """Meta-FrozenLake: several attempts to cross the same map, whose holes are hidden.

    A task is one map of ``size`` x ``size`` cells with a way from the start (0, 0) to the goal in
    the opposite corner. Reaching the goal pays 1 and ends the attempt; a hole ends it with nothing,
    or with ``recover`` costs ``fall_cost`` and puts the agent back on the cell it came from. After
    ``attempt_limit`` steps the attempt is over with nothing. The observation after an attempt is
    already the next start.

    Observation: x / size, y / size, 1 if an attempt begins here else 0, attempts made / attempts.
    Actions: 0 stay, 1 right, 2 left, 3 down, 4 up; the edge blocks. On the step that ends an
    attempt, ``info["attempt"]`` is its index from 0 and ``info["success"]`` 1.0 at the goal, else
    0.0. The trajectory ends with the last attempt.

    With ``hard``, in some tasks the actions right and down are swapped, in some observations each
    coordinate is off by -1, 0 or 1 within the map, and sometimes the cell just left becomes a hole
    until the attempt ends.

    Args:
        size: Cells along each side.
        attempts: Attempts per trajectory.
        attempt_limit: Steps of one attempt; None for ``size**2``, with ``hard`` twice that.
        safe: Probability that a cell is ice.
        recover: Whether a hole puts the agent back instead of ending the attempt.
        fall_cost: Cost of a hole with ``recover``.
        hard: Whether the three disturbances below are on.
        swap_probability: Of a task with swapped actions.
        noise_probability: Of an observation with a noisy position.
        crack_probability: Of a hole opening behind the agent's step.
        render_mode: None or ``"rgb_array"``.
    """

    def __init__(
        self,
        size: int = 5,
        attempts: int = 10,
        attempt_limit: int | None = None,
        safe: float = 0.8,
        recover: bool = False,
        fall_cost: float = 0.1,
        hard: bool = False,
        swap_probability: float = 0.5,
        noise_probability: float = 0.25,
        crack_probability: float = 1 / 3,
        render_mode: str | None = None,
    ) -> None:
        self.attempt_limit = attempt_limit or (2 if hard else 1) * size**2
        super().__init__(horizon=attempts * self.attempt_limit, render_mode=render_mode)
        self.size = size
        self.attempts = attempts
        self.safe = safe
        self.recover = recover
        self.fall_cost = fall_cost
        self.hard = hard
        self.swap_probability = swap_probability
        self.noise_probability = noise_probability
        self.crack_probability = crack_probability
        self.observation_space = spaces.Box(0, 1, (4,), np.float32)
        self.action_space = spaces.Discrete(len(_MOVES))

    def _begin(self) -> Observation:
        seed = int(self.np_random.integers(2**31))
        rows = generate_random_map(self.size, self.safe, seed)
        self._holes = {
            (x, y) for y, row in enumerate(rows) for x, tile in enumerate(row) if tile == "H"
        }
        self._moves = list(_MOVES)
        if self._happens(self.swap_probability):
            self._moves[1], self._moves[3] = self._moves[3], self._moves[1]
        self._attempt = 0
        self._begin_attempt()
        return self._observe(begins=True)

    def _begin_attempt(self) -> None:
        self._position = (0, 0)
        self._time = 0
        self._cracks: set[tuple[int, int]] = set()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move one cell; where that ends the attempt, begin the next."""
        self._time += 1
        fell = self._move(action)
        success = self._position == (self.size - 1, self.size - 1)
        reward = 1.0 if success else -self.fall_cost if fell and self.recover else 0.0
        ended = success or (fell and not self.recover) or self._time == self.attempt_limit
        if not ended:
            return self._observe(begins=False), reward, False, False, {}
        info = {"attempt": self._attempt, "success": float(success)}
        self._attempt += 1
        self._begin_attempt()
        return self._observe(begins=True), reward, self._attempt == self.attempts, False, info

    def _move(self, action: np.int64 | int) -> bool:
        """Move, and return whether that led into a hole."""
        (x, y), (move_x, move_y) = self._position, self._moves[action]
        last = self.size - 1
        target = min(max(x + move_x, 0), last), min(max(y + move_y, 0), last)
        fell = target in self._holes or target in self._cracks
        if target != self._position and not (fell and self.recover):
            if self._happens(self.crack_probability):
                self._cracks.add(self._position)
            self._position = target
        return fell

    def _happens(self, probability: float) -> bool:
        """Return whether a disturbance happens; never unless the task is hard."""
        return self.hard and bool(self.np_random.random() < probability)

    def _observe(self, begins: bool) -> Observation:
        x, y = self._position
        if self._happens(self.noise_probability):
            off_x, off_y = self.np_random.integers(-1, 2, size=2).tolist()
            x, y = min(max(x + off_x, 0), self.size - 1), min(max(y + off_y, 0), self.size - 1)
        return np.array(
            (x / self.size, y / self.size, begins, self._attempt / self.attempts), np.float32
        )

    def _picture(self) -> NDArray[np.uint8]:
        cells_YX = np.full((self.size, self.size), FLOOR)
        for x, y in self._holes | self._cracks:
            cells_YX[y, x] = HOLE
        cells_YX[-1, -1] = GOAL
        cells_YX[self._position[1], self._position[0]] = AGENT
        return paint(cells_YX, scale=32)


MetaFrozenLakePart = partial(Factory, MetaFrozenLake)
