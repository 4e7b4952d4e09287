"""Synchronous vectorized environments: stepped one after the other in this process.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from amago_core.environments.arrays import allocate, observations, recordings, result_columns
from amago_core.environments.checked import CheckedEnv
from amago_core.environments.environment_errors import EnvironmentFault

if TYPE_CHECKING:
    from amago_core.environments.interface import VectorEnvironments


class SyncEnvironments:
    """Steps environments one after the other; see :class:`VectorEnvironments`.

    Args:
        envs: At least one environment, all of the same spaces.
        arrays: Arrays for the results, by the names of
            :func:`amago_core.environments.arrays.result_columns`; None allocates them.
    """

    reproducible = seeded = True

    def __init__(
        self, envs: Sequence[CheckedEnv], arrays: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.envs, self.count = list(envs), len(envs)
        self.observation_space, self.action_space = envs[0].observation_space, envs[0].action_space
        self.recorded_space = envs[0].recorded_space
        if arrays is None:
            columns = result_columns(self.observation_space, self.count, self.recorded_space)
            arrays = allocate(columns)
        self.obs, self.recorded = observations(arrays), recordings(arrays)
        self.reward_B = arrays["reward"]
        self.terminated_B, self.truncated_B = arrays["terminated"], arrays["truncated"]
        self.success_B = arrays["success"]
        self.task_B = [""] * self.count
        self.played_B = np.ones(self.count, bool)
        self.began_B = np.zeros(self.count, bool)
        self._numbered_envs = list(enumerate(self.envs))
        self._columns = list(self.obs.items())

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin new tasks where there is a seed."""
        for index, seed in enumerate(seeds):
            if seed is not None:
                env = self.envs[index]
                obs, info = env.reset(seed=seed)
                self.task_B[index] = task_name(info.get("task"))
                leaves = env.canonical_obs(obs)
                for key, rows in self._columns:
                    rows[index] = leaves[key]
                for key, rows in self.recorded.items():
                    rows[index] = env.recorded[key]
        self.began_B[:] = [seed is not None for seed in seeds]

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step."""
        self.began_B.fill(False)
        self.success_B.fill(nan)
        if active_B is None:
            self.played_B.fill(True)
            stepped = self._numbered_envs
        else:
            self.played_B[:] = active_B
            stepped = [self._numbered_envs[index] for index in np.flatnonzero(active_B)]
        reward_B, success_B, columns = self.reward_B, self.success_B, self._columns
        terminated_B, truncated_B = self.terminated_B, self.truncated_B
        for index, env in stepped:
            obs, reward_B[index], terminated_B[index], truncated_B[index], success = env.take(
                action[index]
            )
            if success == success:
                success_B[index] = success
            leaves = env.canonical_obs(obs)
            for key, rows in columns:
                rows[index] = leaves[key]
        for key, rows in self.recorded.items():
            for index, env in stepped:
                rows[index] = env.recorded[key]

    def restart(self) -> None:
        """Raise: environments in this process cannot crash without it."""
        raise EnvironmentFault(
            f"environment {self.envs[0].name} runs in this process and cannot be restarted; with "
            "collector.vectorization=async it can."
        )

    def close(self) -> None:
        """Close all environments."""
        for env in self.envs:
            env.close()


def task_name(value: object) -> str:
    """Return the task name in ``info["task"]``; empty for anything but text."""
    return str(value) if isinstance(value, str) else ""


if TYPE_CHECKING:

    def _satisfies_the_protocol(environments: SyncEnvironments) -> VectorEnvironments:
        return environments
