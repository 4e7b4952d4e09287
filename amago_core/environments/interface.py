"""The interface of vectorized environments, which the collector steps together.

Implementations: :mod:`.sync`, :mod:`.subprocess_envs` and :mod:`.gymnasium_vector`.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces


class VectorEnvironments(Protocol):
    """B environments that are stepped together; new tasks begin with :meth:`reset`.

    Results are in arrays that the next call overwrites: copy what you keep.

    Attributes:
        count: B.
        observation_space: Space of one environment, as declared.
        action_space: Space of one environment, as declared.
        recorded_space: What one environment records beside its observations; empty for nothing.
        reproducible: Whether the seed and the actions of a task reproduce it, to the bit.
        seeded: Whether the seed given to :meth:`reset` determines the task.
        obs: Current observations ``(B, ...)`` by the keys of the canonical space, in its dtypes
            (float64 becomes float32).
        recorded: Recorded values from the infos, ``(B, ...)`` by the keys of ``recorded_space``.
        reward_B: Rewards of the last step, float64.
        terminated_B: Whether the task ended.
        truncated_B: Whether the trajectory was cut although the task could continue.
        success_B: Success of the attempt that ended with the step, float32; NaN where none did.
        task_B: Name of each environment's current task: the text in ``info["task"]`` at reset; empty if
            there is none.
        played_B: Whether the environment took the last step; false if it was not active, or if the step
            was its autoreset.
        began_B: Whether the last call, reset or step, returned the first observation of a new task.
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
        """Begin new tasks where there is a seed; the other tasks continue.

        Where both ``played_B`` and ``began_B`` are false afterwards, the new task begins with a later
        step.

        Raises:
            EnvironmentFault: If an environment cannot be reset.
            EnvironmentCrashed: If one crashed; see :meth:`restart`.
        """

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step.

        Args:
            action: Actions ``(B, ...)`` of the environment's action space.
            active_B: Which environments take the step; None for all.

        Raises:
            EnvironmentFault: If a value is wrong; names the environment, the step and the field.
            EnvironmentCrashed: If one crashed; see :meth:`restart`.
        """

    def restart(self) -> None:
        """Make all environments again after an ``EnvironmentCrashed``; none is in a task afterwards.

        The arrays stay the same objects. The caller discards the unfinished trajectories and begins new
        tasks with :meth:`reset` in every environment.

        Raises:
            EnvironmentCrashed: If an environment crashed again; this may be called again.
            EnvironmentFault: If one cannot be constructed, or restarts are not supported.
        """

    def close(self) -> None:
        """Close all environments; may be called after an error, and twice."""
