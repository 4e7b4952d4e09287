"""Environments one after the other in this process.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_core.environments.checked import CheckedEnv
from amago_registry.spaces import canonical_observation, flat_observation

if TYPE_CHECKING:
    from amago_core.environments.vector import Environments


class SyncEnvironments:
    """Steps environments one after the other; see :class:`amago_core.environments.vector.Environments`.

    Args:
        envs: At least one, all of the same kind.
    """

    reproducible = True

    def __init__(self, envs: Sequence[CheckedEnv]) -> None:
        self.envs, self.count = list(envs), len(envs)
        self.observation_space, self.action_space = envs[0].observation_space, envs[0].action_space
        self.obs: dict[str, np.ndarray] = {
            key: np.zeros((self.count, *(space.shape or ())), stored_dtype(space.dtype))
            for key, space in canonical_observation(self.observation_space).items()
        }
        self.reward_B = np.zeros(self.count)
        self.terminated_B = np.zeros(self.count, bool)
        self.truncated_B = np.zeros(self.count, bool)
        self.success_B = np.full(self.count, np.nan, np.float32)
        self.task_B = [""] * self.count
        self.played_B = np.ones(self.count, bool)
        self.began_B = np.zeros(self.count, bool)

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin new tasks where there is a seed."""
        for index, seed in enumerate(seeds):
            if seed is not None:
                obs, info = self.envs[index].reset(seed=seed)
                self._show(index, obs)
                self.task_B[index] = info.get("task", "")
        self.began_B[:] = [seed is not None for seed in seeds]

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step."""
        self.played_B[:] = True if active_B is None else active_B
        self.began_B[:] = False
        for index in np.flatnonzero(self.played_B).tolist():
            obs, reward, terminated, truncated, info = self.envs[index].step(action[index])
            self._show(index, obs)
            self.reward_B[index] = reward
            self.terminated_B[index], self.truncated_B[index] = terminated, truncated
            self.success_B[index] = info.get("success", np.nan)

    def close(self) -> None:
        """Close all of them."""
        for env in self.envs:
            env.close()

    def _show(self, index: int, obs: Any) -> None:
        named: Mapping[str, Any] = flat_observation(obs, self.observation_space)
        for key, values in self.obs.items():
            values[index] = named[key]


def stored_dtype(dtype: Any) -> Any:
    """Return the type in which observations are kept: half the memory of doubles is enough."""
    return np.float32 if dtype == np.float64 else dtype


if TYPE_CHECKING:

    def _satisfies_the_protocol(environments: SyncEnvironments) -> Environments:
        return environments
