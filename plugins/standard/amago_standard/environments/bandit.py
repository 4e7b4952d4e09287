"""Bandits: find the best of several arms, then keep pulling it.

Shape suffixes: K = arms, H, W = rows and columns of the picture's grid.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_standard.environments.rendering import AGENT, FLOOR, GOAL, paint
from amago_standard.environments.task import Factory, Observation, Task


class Bandit(Task):
    """A multi-armed bandit, the smallest task in which exploring pays.

    Each arm's mean reward is drawn per task: ``u ** skew`` with u ~ U[0, 1). A pull pays 1 with that
    probability, else 0; or, with ``gaussian``, the mean plus Gaussian noise (the variant of DPT,
    arXiv:2306.14892).
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

    def _begin(self) -> Observation:
        self._mean_K: list[float] = (self.np_random.random(self.arms) ** self.skew).tolist()
        self._best = max(self._mean_K)
        self._pull = 0
        self._last: int | None = None
        return np.zeros(1, np.float32)

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Pull one arm."""
        mean = self._mean_K[action]
        if self.gaussian:
            reward = mean + self.sigma * float(self.np_random.standard_normal())
            success = float(mean == self._best)
        else:
            reward = success = float(self.np_random.random() < mean)
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


BanditPart = partial(Factory, Bandit)
