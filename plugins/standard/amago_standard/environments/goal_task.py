"""Base class of environments with a sequence of goals, and their hindsight relabeling.

Shape suffixes: K = places for goals, X = coordinates of a goal.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_registry.goals import ABSENT, Goals, present, shown, with_goals
from amago_standard.environments.errors import GoalsError
from amago_standard.environments.task import Factory, Task

Goal: TypeAlias = tuple[int, ...]
GoalObservation: TypeAlias = dict[str, NDArray[Any]]

_INTEGER = np.int16
"""Dtype of goals: small, because every timestep of the replay stores all of them."""


class GoalTask(Task):
    """Base class of environments whose goals must be achieved in order.

    Achieving the first goal that is left pays 1, and achieving the last ends the trajectory. It also
    ends after ``horizon`` steps, and both ends are ``terminated``; then ``info["success"]`` is 1.0 if
    all goals were reached, else 0.0. The observation has ``obs``, which the task fills, and ``goals``,
    those that are left; see :mod:`amago_registry.goals`. What a timestep achieved is recorded:
    ``info["achieved"]``.

    ``reset(seed=s, options={"goals": goals})`` asks for other goals in the task of that seed, and
    changes nothing else about it. They are integers ``(G, X)``; rows of -1 are left out.

    Args:
        features: Length of ``obs``, all of it between 0 and 1.
        goals: Most goals of a task.
        coordinates: Coordinates of a goal.
        largest: Largest coordinate.
        horizon: Most steps of one trajectory.
        render_mode: None or ``"rgb_array"``.
    """

    def __init__(
        self,
        features: int,
        goals: int,
        coordinates: int,
        largest: int,
        horizon: int,
        render_mode: str | None,
    ) -> None:
        super().__init__(horizon=horizon, render_mode=render_mode)
        self._goal_space = spaces.Box(ABSENT, largest, (goals, coordinates), _INTEGER)
        self.observation_space = spaces.Dict(
            {"obs": spaces.Box(0, 1, (features,), np.float32), "goals": self._goal_space}
        )
        self.recorded_space = spaces.Dict(
            {"achieved": spaces.Box(ABSENT, largest, (coordinates,), _INTEGER)}
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GoalObservation, dict[str, Any]]:
        """Draw a new task; with ``options={"goals": ...}`` ask for those in place of its own.

        Raises:
            GoalsError: If these goals cannot be asked for.
        """
        obs, _ = super().reset(seed=seed)
        if options and "goals" in options:
            # The task's own goals were drawn nevertheless, so that the next task stays the same.
            self._ask(self._checked(options["goals"]))
            obs = self._observe()
        return obs, {"achieved": np.array(self._first_achieved(), _INTEGER)}

    def step(self, action: np.int64 | int) -> tuple[GoalObservation, float, bool, bool, dict[str, Any]]:
        """Take a step; it is rewarded if it achieves the next goal."""
        self._time += 1
        achieved = self._act(int(action))
        reached = bool(self._left) and achieved == self._left[0]
        if reached:
            self._ask(self._left[1:])
        info: dict[str, Any] = {"achieved": np.array(achieved, _INTEGER)}
        over = not self._left or self._time == self.horizon
        if over:
            info["success"] = float(not self._left)
        return self._observe(), float(reached), over, False, info

    @abstractmethod
    def _draw(self) -> Sequence[Goal]:
        """Draw the hidden part, then the goals, so that the hidden part never depends on them."""

    @abstractmethod
    def _act(self, action: int) -> Goal:
        """Change the state, whatever the goals are, and return what that achieved."""

    @abstractmethod
    def _first_achieved(self) -> Goal:
        """Return what the first timestep achieved."""

    @abstractmethod
    def _features(self) -> tuple[float, ...]:
        """Return ``obs``."""

    def _begin(self) -> GoalObservation:
        self._time = 0
        self._ask(self._draw())
        return self._observe()

    def _ask(self, goals: Sequence[Goal]) -> None:
        self._left = tuple(goals)
        places, coordinates = self._goal_space.shape
        left = np.array(self._left, _INTEGER).reshape(-1, coordinates)
        self._shown_KX = shown(left, places)

    def _observe(self) -> GoalObservation:
        return {"obs": np.array(self._features(), np.float32), "goals": self._shown_KX.copy()}

    def _checked(self, goals: Any) -> list[Goal]:
        """Return goals that were asked for, without absent ones."""
        places, coordinates = self._goal_space.shape
        given = np.asarray(goals)
        if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != coordinates:
            raise GoalsError(
                f"the goals are {given.dtype} {given.shape}; ask for integers (goals, {coordinates})."
            )
        asked: list[Goal] = [tuple(goal) for goal in given[present(given)].tolist()]
        if not 1 <= len(asked) <= places:
            raise GoalsError(f"{len(asked)} goals are asked for; ask for 1 to {places}.")
        largest = int(self._goal_space.high.max())
        for goal in asked:
            if min(goal) < 0 or max(goal) > largest:
                raise GoalsError(f"there is no goal {list(goal)}: coordinates are 0 to {largest}.")
        return asked


class GoalFactory(Factory):
    """Component of a :class:`GoalTask`, with ``with_goals`` for hindsight relabeling.

    Its options have a ``time_limit``: the horizon.
    """

    options: Any

    def with_goals(self, columns: Mapping[str, NDArray[Any]], goals: Goals) -> dict[str, NDArray[Any]]:
        """Return the trajectory's columns as if other goals had been asked for."""
        recorded = with_goals(columns, goals)
        if len(recorded["reward"]) == self.options.time_limit:
            recorded["terminated"][-1], recorded["truncated"][-1] = True, False
        return recorded
