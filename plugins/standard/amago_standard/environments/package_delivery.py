"""Package delivery: a road whose hidden turns and drop action must be found by trial and error.

Shape suffixes: W = cells of the road.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_registry.goals import ABSENT
from amago_standard.environments.goal_task import Goal, GoalFactory, GoalTask
from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, HOLE, WALL, paint

FORWARD, LEFT, RIGHT = range(3)
DROPS = range(3, 7)
WAIT = 7
_NOTHING: Goal = (ABSENT,)


class PackageDelivery(GoalTask):
    """Package Delivery: deliver packages along a road; every mistake leads back to its beginning.

    AMAGO (arXiv:2310.09971). A random policy delivers almost nothing, but drops packages somewhere:
    relabelling turns these places into destinations. Within a task the agent must remember which turn
    each fork needs, and which of four actions drops a package.

    A task has ``length // 10`` to ``length // 5`` forks at random cells but the first, each with its
    hidden turn; one hidden drop action; ``min_destinations`` to ``destinations`` destinations in
    increasing order, neither at the first cell nor at forks; and ``packages`` packages for each.

    Actions: 0 forward, 1 left, 2 right, 3 to 6 drop, 7 wait. At a fork the right turn leads one cell
    on, the other turn back to cell 0, and nothing else does anything. At any other cell forward leads
    one cell on, and turns do nothing. Dropping there uses up a package and achieves that cell, if the
    drop is the right one of the four, there is a package left, and it is not cell 0; else it
    leads back to cell 0. The road is a ring: beyond its last cell lies cell 0.

    Observation ``obs``: position / length, packages left / most packages of a task, 1 at a fork else 0.
    Goals and achieved places are cells (position,). The best return is the number of destinations.

    Args:
        length: Cells of the road.
        destinations: Most destinations of a task.
        min_destinations: Fewest destinations of a task.
        packages: Packages per destination. Goals asked for at a reset leave their number as it is.
        time_limit: Most steps of a trajectory.
        render_mode: None or ``"rgb_array"``: right turns lead up or down from the road; the next
            destination is green, later ones are red.
    """

    def __init__(
        self,
        length: int = 30,
        destinations: int = 4,
        min_destinations: int = 2,
        packages: int = 3,
        time_limit: int = 180,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            features=3,
            goals=destinations,
            coordinates=1,
            largest=length - 1,
            horizon=time_limit,
            render_mode=render_mode,
        )
        self.length = length
        self.destinations = destinations
        self.min_destinations = min_destinations
        self.packages = packages
        self.action_space = spaces.Discrete(WAIT + 1)

    def _draw(self) -> list[Goal]:
        rng = self.np_random
        forks = int(rng.integers(self.length // 10, self.length // 5 + 1))
        cells = rng.permutation(np.arange(1, self.length)).tolist()
        turns = rng.integers(LEFT, RIGHT + 1, forks).tolist()
        self._turns: dict[int, int] = dict(zip(cells[:forks], turns, strict=True))
        self._drop = DROPS[int(rng.integers(len(DROPS)))]
        count = int(rng.integers(self.min_destinations, self.destinations + 1))
        self._packages = count * self.packages
        self._cell = 0
        return [(cell,) for cell in sorted(cells[forks : forks + count])]

    def _act(self, action: int) -> Goal:
        turn = self._turns.get(self._cell)
        if turn is not None:
            if action in (LEFT, RIGHT):
                self._cell = self._next_cell() if action == turn else 0
        elif action == FORWARD:
            self._cell = self._next_cell()
        elif action in DROPS:
            if action == self._drop and self._packages and self._cell:
                self._packages -= 1
                return (self._cell,)
            self._cell = 0
        return _NOTHING

    def _next_cell(self) -> int:
        return (self._cell + 1) % self.length

    def _first_achieved(self) -> Goal:
        return _NOTHING

    def _features(self) -> tuple[float, ...]:
        most = self.destinations * self.packages
        return self._cell / self.length, self._packages / most, float(self._cell in self._turns)

    def _picture(self) -> NDArray[np.uint8]:
        cells_3W = np.full((3, self.length), WALL)
        cells_3W[1] = FLOOR
        for cell, turn in self._turns.items():
            cells_3W[0 if turn == LEFT else 2, cell] = FLOOR
        for goal in self._left:
            cells_3W[1, goal[0]] = GOAL if goal == self._left[0] else HOLE
        cells_3W[1, self._cell] = AGENT
        return paint(cells_3W, scale=16)


PackageDeliveryPart = partial(GoalFactory, PackageDelivery)
