"""Meta-World environment: several attempts per trajectory at one hidden goal.

Shape suffixes: D = what the package shows, K = tasks of the benchmark, F = all features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_metaworld.benchmarks import goals, make_env, task_names
from amago_metaworld.names import MULTI
from amago_metaworld.options import MetaworldOptions
from amago_registry.contexts import EnvironmentContext

WIDTH = 39
"""D: hand, gripper and objects, now and one step ago, and the goal; zeros where it is hidden."""

KEPT = 10
"""Most simulations that are kept: 20 MB each, where building one again takes 0.2 seconds."""

Observation = NDArray[np.float32]


class MetaworldTask(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Meta-World environment: a robot arm with a few attempts per trajectory at one hidden goal.

    ``reset`` draws a task of the benchmark and one of its 50 goals, and names the task in
    ``info["task"]``. An attempt always lasts all its steps, then the arm is back where it began. The
    reward is the package's. On the last step of an attempt ``info["attempt"]`` is its index from 0 and
    ``info["success"]`` 1.0 if the package called any step of it a success, else 0.0.

    Observation: the package's 39 numbers, 1 if an attempt begins here else 0, and in MT a one-hot of
    the task. Actions: the hand's movement along x, y and z, and the gripper's effort, in [-1, 1].

    Args:
        benchmark: Such as ``"ML10"``.
        task: The task of ``"ML1"`` and ``"MT1"``; None for others.
        split: ``"train"`` or ``"test"``.
        attempts: Attempts per trajectory.
        attempt_steps: Steps of each.
        seed: Of the goals, which are drawn once.

    Attributes:
        horizon: Steps of every trajectory.

    Raises:
        UnavailableError: If the package cannot be imported.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        benchmark: str,
        task: str | None = None,
        split: str = "train",
        attempts: int = 3,
        attempt_steps: int = 500,
        seed: int = 0,
    ) -> None:
        self.tasks = task_names(benchmark, task, split)
        self.attempts = attempts
        self.attempt_steps = attempt_steps
        self.horizon = attempts * attempt_steps
        self._benchmark, self._split, self._goals_seed = benchmark, split, seed
        self._arms: dict[int, Any] = {}
        self._arm: Any = None
        self._index = 0
        self._shown = len(self.tasks) if benchmark in MULTI else 0
        width = WIDTH + 1 + self._shown
        self.observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a task and its goal: from ``seed``, or without one the next of the present generator."""
        super().reset(seed=seed)
        self._index = int(self.np_random.integers(len(self.tasks)))
        name = self.tasks[self._index]
        self._arm = self._built(self._index)
        drawn = goals(self._benchmark, name, self._split, self._goals_seed)
        self._arm.set_task(drawn[int(self.np_random.integers(len(drawn)))])
        self._attempt = 0
        return self._begin_attempt(), {"task": name}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the arm; where that ends an attempt, begin the next."""
        obs, reward, _, _, package_info = self._arm.step(action)
        self._time += 1
        self._succeeded |= bool(package_info["success"])
        if self._time < self.attempt_steps:
            return self._observe(obs, begins=False), float(reward), False, False, {}
        info = {"attempt": self._attempt, "success": float(self._succeeded)}
        self._attempt += 1
        over = self._attempt == self.attempts
        seen = self._observe(obs, begins=False) if over else self._begin_attempt()
        return seen, float(reward), over, False, info

    def close(self) -> None:
        """Close every simulation."""
        for arm in self._arms.values():
            arm.close()
        self._arms.clear()

    def _built(self, index: int) -> Any:
        """Return the simulation of a task, a new one if none is kept."""
        if index not in self._arms:
            if len(self.tasks) > KEPT:
                self.close()
            self._arms[index] = make_env(self.tasks[index])
        return self._arms[index]

    def _begin_attempt(self) -> Observation:
        self._time = 0
        self._succeeded = False
        obs, _ = self._arm.reset()
        return self._observe(obs, begins=True)

    def _observe(self, obs_D: NDArray[np.float64], begins: bool) -> Observation:
        obs_F = np.zeros(WIDTH + 1 + self._shown, np.float32)
        obs_F[:WIDTH] = obs_D
        obs_F[WIDTH] = begins
        if self._shown:
            obs_F[WIDTH + 1 + self._index] = 1
        return obs_F


@dataclass(frozen=True)
class MetaworldPart:
    """The part ``use: metaworld``.

    Args:
        context: Supplied by the composer; its seed draws the goals.
        options: The benchmark, and how often it is tried.
    """

    context: EnvironmentContext
    options: MetaworldOptions

    def make(self) -> MetaworldTask:
        """Return a fresh environment.

        Raises:
            UnavailableError: If the package cannot be imported.
        """
        options = self.options
        attempts = options.attempts or (1 if options.benchmark in MULTI else 3)
        return MetaworldTask(
            options.benchmark,
            options.task,
            options.split,
            attempts,
            options.attempt_steps,
            self.context.seed,
        )
