"""Multi-armed bandits: find the best of several arms, then keep pulling it.

Shape suffixes: B = tasks, K = arms, T = pulls, H, W = rows and columns of the picture's grid.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, paint
from amago_standard.environments.task import Observation, Task
from amago_standard.environments.vector_task import (
    Floats,
    Integers,
    StepResult,
    VectorFactory,
    VectorTask,
    attempt_infos,
)

Hidden: TypeAlias = tuple[Floats, Floats]
"""Mean rewards of the arms, and the random number of each pull."""


class Bandit(Task):
    """Multi-armed bandit, the smallest task in which exploring pays.

    Each arm's mean reward is drawn per task: ``u ** skew`` with u ~ U[0, 1). A pull pays 1 with that
    probability, else 0; or, with ``gaussian``, the mean plus Gaussian noise (the variant of DPT,
    arXiv:2306.14892). The chance of all pulls is drawn with the task, so that a pull's luck depends on
    its number and not on the arm.
    The observation is always ``[0]``: everything there is to know lies in past actions and rewards.

    Every pull is an attempt: ``info["attempt"]`` counts from 0, ``info["success"]`` is the reward,
    or with ``gaussian`` 1.0 where the arm was the best one. A trajectory has ``pulls`` steps.

    Args:
        arms: Number of arms; None for 10, with ``gaussian`` 5.
        pulls: Steps per trajectory.
        gaussian: Whether rewards are Gaussian instead of 0 or 1.
        sigma: Standard deviation of Gaussian rewards.
        skew: 1 for means spread evenly over [0, 1); more makes good arms rarer.
        render_mode: None or ``"rgb_array"``.
    """

    def __init__(
        self,
        arms: int | None = None,
        pulls: int = 100,
        gaussian: bool = False,
        sigma: float = 0.3,
        skew: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(horizon=pulls, render_mode=render_mode)
        self.arms = arms or (5 if gaussian else 10)
        self.gaussian = gaussian
        self.sigma = sigma
        self.skew = skew
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(self.arms)

    def draw(self, rng: np.random.Generator) -> Hidden:
        """Return the arms' mean rewards and the random number of each pull."""
        mean_K = rng.random(self.arms) ** self.skew
        chance_T = (rng.standard_normal if self.gaussian else rng.random)(self.horizon)
        return mean_K, chance_T

    def _begin(self) -> Observation:
        mean_K, chance_T = self.draw(self.np_random)
        self._mean_K: list[float] = mean_K.tolist()
        self._chance_T: list[float] = chance_T.tolist()
        self._best = max(self._mean_K)
        self._pull = 0
        self._last: int | None = None
        return np.zeros(1, np.float32)

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Pull one arm."""
        mean, chance = self._mean_K[action], self._chance_T[self._pull]
        if self.gaussian:
            reward = mean + self.sigma * chance
            success = float(mean == self._best)
        else:
            reward = success = float(chance < mean)
        info = {"attempt": self._pull, "success": success}
        self._pull += 1
        self._last = int(action)
        return np.zeros(1, np.float32), reward, self._pull == self.horizon, False, info

    def _picture(self) -> NDArray[np.uint8]:
        levels = 20
        height_H1 = np.linspace(1, 0, levels, endpoint=False)[:, None]
        cells_HW = np.where(np.array(self._mean_K) >= height_H1, GOAL, FLOOR)
        if self._last is not None:
            cells_HW[-1, self._last] = AGENT
        return paint(cells_HW, scale=16)


class Bandits(VectorTask[Bandit]):
    """Vectorised bandits; see :class:`amago_standard.environments.vector_task.VectorTask`."""

    def __init__(self, task: Bandit, count: int) -> None:
        super().__init__(task, count)
        self._mean_BK = np.zeros((count, task.arms))
        self._chance_BT = np.zeros((count, task.horizon))
        self._best_B = np.zeros(count)
        self._pull_B = np.zeros(count, np.int64)

    def _draw(self, index: int, rng: np.random.Generator) -> None:
        self._mean_BK[index], self._chance_BT[index] = self.task.draw(rng)

    def _begin(self, rows: Integers) -> None:
        self._best_B[rows] = self._mean_BK[rows].max(-1)
        self._pull_B[rows] = 0

    def _step(self, action_B: Integers) -> StepResult:
        mean_B = self._mean_BK[self._all_rows, action_B]
        chance_B = self._chance_BT[self._all_rows, self._pull_B]
        if self.task.gaussian:
            reward_B = mean_B + self.task.sigma * chance_B
            success_B = (mean_B == self._best_B).astype(float)
        else:
            reward_B = (chance_B < mean_B).astype(float)
            success_B = reward_B
        infos = attempt_infos(np.ones(self.num_envs, bool), attempt=self._pull_B, success=success_B)
        self._pull_B += 1
        return reward_B, self._pull_B == self.task.horizon, infos

    def _observe(self) -> Observation:
        return np.zeros((self.num_envs, 1), np.float32)


BanditPart = partial(VectorFactory, Bandit, vector=Bandits)
