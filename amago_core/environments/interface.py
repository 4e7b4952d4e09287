"""Environments side by side, wherever they run: what the collector asks of them.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces


class VectorEnvironments(Protocol):
    """B environments that are stepped together and begin a new task only when told to.

    What a call returned lies in arrays that the next call overwrites: copy what is to stay.

    Attributes:
        count: B.
        observation_space: As one environment declares it.
        action_space: As one environment declares it.
        recorded_space: What one environment records beside its observations; empty for nothing.
        reproducible: Whether a task's seed and its actions lead to the same bits again.
        seeded: Whether the seed given to :meth:`reset` says which task begins.
        obs: Present observations ``(B, ...)`` by the keys of the canonical space, in its types (float64
            becomes float32).
        recorded: What came into the infos with them, ``(B, ...)`` by the keys of ``recorded_space``.
        reward_B: Rewards of the last step, float64.
        terminated_B: Whether the task ended.
        truncated_B: Whether only its recording ended.
        success_B: Outcome of the attempt that ended with the step, float32; NaN where none did.
        task_B: Name of each environment's present task: the text that it put into ``info["task"]`` at
            reset; empty where it put none.
        played_B: Whether the environment took the last step; false where it was left out, or was busy
            beginning a new task of its own accord.
        began_B: Whether the last call, reset or step, showed the first observation of a new task.
    """

    count: int
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    recorded_space: spaces.Dict
    reproducible: bool
    seeded: bool
    obs: dict[str, np.ndarray]
    recorded: dict[str, np.ndarray]
    reward_B: np.ndarray
    terminated_B: np.ndarray
    truncated_B: np.ndarray
    success_B: np.ndarray
    task_B: list[str]
    played_B: np.ndarray
    began_B: np.ndarray

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin new tasks where there is a seed; leave the others where they are.

        An environment that is ``played_B`` false and ``began_B`` false afterwards shows its new task
        with a later step.

        Raises:
            EnvironmentFault: If an environment does not begin.
            EnvironmentLost: If one was lost; see :meth:`restart`.
        """

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step.

        Args:
            action: Actions ``(B, ...)`` of the environment's action space.
            active_B: Which environments take it; all if absent.

        Raises:
            EnvironmentFault: Naming the environment, the step and the field that is wrong.
            EnvironmentLost: If one was lost; see :meth:`restart`.
        """

    def restart(self) -> None:
        """Make all environments anew after an ``EnvironmentLost``; none is in a task afterwards.

        The arrays stay the same objects. Whoever calls this drops the tasks that had begun, and begins
        new ones with :meth:`reset` in every environment.

        Raises:
            EnvironmentLost: If an environment was lost again; this may be called again.
            EnvironmentFault: If one cannot be constructed any more, or these never get lost.
        """

    def close(self) -> None:
        """Close all of them; also after a fault, also twice."""
