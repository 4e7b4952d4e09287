"""Base class of vectorised environments (many tasks of one kind), and the component of both forms.

A vector form computes in array operations what its task computes alone, to the bit: the same seed and
actions give the same observations, rewards, ends and infos. It reads its settings from the task, and
draws a hidden part as the task does.

Shape suffixes: B = tasks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from amago_standard.environments.task import Factory, Observation, Task

Flags: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
StepResult: TypeAlias = tuple[Floats, Flags, dict[str, Any]]
"""Rewards of a step, whether tasks ended with it, and infos."""

TaskT = TypeVar("TaskT", bound=Task)


class VectorTask(VectorEnv[Observation, Integers, NDArray[Any]], Generic[TaskT]):
    """Base class of vectorised environments without autoreset: tasks that are stepped together.

    ``reset`` takes one seed for each task, or one for all: task i then has ``seed + i``. Without a seed
    a task continues its present generator. ``options={"reset_mask": mask}`` resets some and leaves
    the others as they are.

    Args:
        task: Supplies the settings of all; it is not stepped itself.
        count: B.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, task: TaskT, count: int) -> None:
        self.task = task
        self.num_envs = count
        self.single_observation_space = task.observation_space
        self.single_action_space = task.action_space
        self.observation_space = batch_space(task.observation_space, count)
        self.action_space = batch_space(task.action_space, count)
        self._generators: list[np.random.Generator | None] = [None] * count
        self._all_rows = np.arange(count)
        self._over_B = np.ones(count, bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw new tasks, all of them or those of a mask.

        Raises:
            ValueError: If there are not as many seeds as tasks, or the mask is not one flag for each.
        """
        seeds, rows = self._seeds(seed), self._rows(options)
        for index in rows.tolist():
            generator = self._generators[index]
            if generator is None or seeds[index] is not None:
                generator, _ = np_random(seeds[index])
                self._generators[index] = generator
            self._draw(index, generator)
        self._begin(rows)
        self._over_B[rows] = False
        return self._observe(), {}

    def step(self, actions: Integers) -> tuple[Observation, Floats, Flags, Flags, dict[str, Any]]:
        """Take one step in every task.

        Raises:
            ResetNeeded: If a task has ended, or not begun.
        """
        if self._over_B.any():
            over = np.flatnonzero(self._over_B).tolist()
            raise ResetNeeded(
                f"tasks {over} are over, or have not begun: reset them first, with "
                'options={"reset_mask": mask}'
            )
        reward_B, over_B, infos = self._step(np.asarray(actions))
        self._over_B[:] = over_B
        return self._observe(), reward_B, over_B, np.zeros(self.num_envs, bool), infos

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + index for index in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"got {len(seed)} seeds for {self.num_envs} tasks")
        return seed

    def _rows(self, options: dict[str, Any] | None) -> Integers:
        """Return the indices of the tasks to reset."""
        mask_B = (options or {}).get("reset_mask")
        if mask_B is None:
            return self._all_rows
        flags = isinstance(mask_B, np.ndarray) and mask_B.dtype == bool
        if not flags or mask_B.shape != (self.num_envs,):
            raise ValueError(
                f"options['reset_mask'] is {mask_B!r} instead of an array of {self.num_envs} flags"
            )
        return np.flatnonzero(mask_B)

    @abstractmethod
    def _draw(self, index: int, rng: np.random.Generator) -> None:
        """Draw the hidden part of one task, as the task does."""

    @abstractmethod
    def _begin(self, rows: Integers) -> None:
        """Reset some tasks to their first timestep; their hidden parts have been drawn."""

    @abstractmethod
    def _step(self, action_B: Integers) -> StepResult:
        """Take one step in every task; return new arrays."""

    @abstractmethod
    def _observe(self) -> Observation:
        """Return the present observations, in a new array."""


def attempt_infos(ended_B: Flags, **values_B: NDArray[Any]) -> dict[str, Any]:
    """Return infos of the tasks in which an attempt ended, as gymnasium's vector environments do."""
    if not ended_B.any():
        return {}
    infos: dict[str, Any] = {}
    for key, values in values_B.items():
        infos[key], infos[f"_{key}"] = values * ended_B, ended_B.copy()
    return infos


@dataclass(frozen=True)
class VectorFactory(Factory):
    """Component of an environment class that has a vector form.

    Args:
        vector: The vector form: ``vector(task, count)``.
    """

    vector: Callable[[Any, int], VectorTask[Any]]

    def make_vector(self, count: int) -> VectorTask[Any]:
        """Return ``count`` fresh tasks that are stepped together."""
        return self.vector(self.make(), count)
