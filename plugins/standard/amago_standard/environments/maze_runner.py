"""MazeRunner: goals to visit in order, in an unknown maze.

Shape suffixes: H, W = rows and columns of the maze.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_standard.environments.goal_task import Goal, GoalFactory, GoalTask
from amago_standard.environments.mazes import maze, open_rows, sight
from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, HOLE, WALL, paint

_BOTTOM = 4
"""Open rows at the bottom of every maze; a corridor leads from the start to the uppermost."""


class MazeRunner(GoalTask):
    """MazeRunner: visit cells of an unknown maze in order, seeing no further than the next wall.

    AMAGO (arXiv:2310.09971). What makes it hard is the reward: a random walk reaches all goals of a
    larger maze almost never, so there is little to learn from before goals are relabelled. Memory pays
    because the map that is found on the way to one goal leads to the others.

    A task is one maze of ``size`` x ``size`` cells, the outermost of them wall, with the four rows
    above the lower edge open, but for two walls: the start is the middle cell of the last of these
    rows, and a corridor leads from there to the uppermost. There are ``min_goals`` to ``goals`` goals,
    all of them different, and the start is none. Goals and achieved cells are (row, column); row 0 is
    at the top. Every timestep achieves the cell it is spent in.

    Observation ``obs``: row / size, column / size, free cells in sight to the west, north, east and
    south / size, steps taken / time_limit. Actions: 0 west, 1 north, 2 east, 3 south, 4 stay; with
    ``shuffle_actions`` they are permuted in every task. Walls block. The best return is the
    number of goals.

    Args:
        size: Cells along each side, odd.
        goals: Most goals of a task.
        min_goals: Fewest goals of a task.
        time_limit: Most steps of a trajectory.
        shuffle_actions: Whether each task permutes the actions.
        render_mode: None or ``"rgb_array"``: the next goal is green, later ones are red.
    """

    def __init__(
        self,
        size: int = 11,
        goals: int = 3,
        min_goals: int = 1,
        time_limit: int = 250,
        shuffle_actions: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            features=7,
            goals=goals,
            coordinates=2,
            largest=size - 1,
            horizon=time_limit,
            render_mode=render_mode,
        )
        self.size = size
        self.goals = goals
        self.min_goals = min_goals
        self.shuffle_actions = shuffle_actions
        self.action_space = spaces.Discrete(5)
        self._start = (size - 2) * size + size // 2
        self._ways = (-1, -size, 1, size)

    def _draw(self) -> list[Goal]:
        self._free = maze(self.size, self.np_random)
        self._open_bottom()
        self._steps = [*self._ways, 0]
        if self.shuffle_actions:
            self._steps = self.np_random.permutation(self._steps).tolist()
        self._cell = self._start
        self._sights: dict[int, tuple[float, ...]] = {}
        return self._draw_goals()

    def _open_bottom(self) -> None:
        open_rows(self._free, self.size, range(self.size - 1 - _BOTTOM, self.size - 1))
        for above in range(_BOTTOM - 1):
            cell = self._start - above * self.size
            self._free[cell - 1] = self._free[cell + 1] = 0

    def _draw_goals(self) -> list[Goal]:
        cells = [cell for cell, free in enumerate(self._free) if free and cell != self._start]
        count = int(self.np_random.integers(self.min_goals, self.goals + 1))
        drawn = self.np_random.choice(cells, count, replace=False)
        return [divmod(cell, self.size) for cell in drawn.tolist()]

    def _act(self, action: int) -> Goal:
        target = self._cell + self._steps[action]
        if self._free[target]:
            self._cell = target
        return divmod(self._cell, self.size)

    def _first_achieved(self) -> Goal:
        return divmod(self._start, self.size)

    def _features(self) -> tuple[float, ...]:
        seen = self._sights.get(self._cell)
        if seen is None:
            seen = self._sights[self._cell] = self._look()
        return (*seen, self._time / self.horizon)

    def _look(self) -> tuple[float, ...]:
        numbers = (
            *divmod(self._cell, self.size),
            *(sight(self._free, self._cell, way) for way in self._ways),
        )
        return tuple(number / self.size for number in numbers)

    def _picture(self) -> NDArray[np.uint8]:
        free_HW = np.array(self._free, np.int64).reshape(self.size, self.size)
        cells_HW = np.where(free_HW, FLOOR, WALL)
        for goal in self._left:
            cells_HW[goal] = GOAL if goal == self._left[0] else HOLE
        cells_HW[divmod(self._cell, self.size)] = AGENT
        return paint(cells_HW, scale=16)


MazeRunnerPart = partial(GoalFactory, MazeRunner)
