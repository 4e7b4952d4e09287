"""What environments did, in columns that are allocated once.

Shape suffixes: B = environments, T = steps a column has room for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry.actions import CanonicalAction, choices
from amago_registry.trajectories import Trajectory


@dataclass(frozen=True)
class Outcome:
    """How one trajectory went.

    Args:
        seed: What its task was drawn from.
        length: Steps.
        total: Sum of the rewards.
        successes: Outcome of each attempt, or of the whole task; empty where the environment says none.
        attempt_returns: Sum of the rewards of each attempt.
        task: Name of the task, where the environment has several; else empty.
    """

    seed: int
    length: int
    total: float
    successes: np.ndarray
    attempt_returns: np.ndarray
    task: str = ""

    @property
    def success(self) -> float | None:
        """Mean over the attempts; None where the environment says nothing of success."""
        return float(self.successes.mean()) if len(self.successes) else None


class Recorder:
    """The started trajectory of each environment, as rows of preallocated arrays.

    Args:
        observation_space: Canonical; one column per key.
        action_space: Canonical.
        environments: B.
    """

    def __init__(
        self, observation_space: spaces.Dict, action_space: CanonicalAction, environments: int
    ) -> None:
        self.time_B = np.zeros(environments, np.int64)
        self._rows = np.arange(environments)
        self._room = 256
        shape = (environments, self._room)
        self._columns = {
            f"obs.{key}": np.zeros((environments, self._room + 1, *(space.shape or ())), _dtype(space))
            for key, space in observation_space.items()
        }
        self._columns |= {
            "action": np.zeros((*shape, *(action_space.shape or ())), _action_dtype(action_space)),
            "reward": np.zeros(shape, np.float32),
            "terminated": np.zeros(shape, bool),
            "truncated": np.zeros(shape, bool),
            "success": np.zeros(shape, np.float32),
        }

    @property
    def observation(self) -> dict[str, np.ndarray]:
        """The present observations ``(B, ...)``."""
        return {
            name.removeprefix("obs."): column[self._rows, self.time_B]
            for name, column in self._columns.items()
            if name.startswith("obs.")
        }

    def begin(self, obs: Mapping[str, np.ndarray], mask_B: np.ndarray) -> None:
        """Start anew where ``mask_B`` is true, from the observations ``(B, ...)``."""
        self.time_B[mask_B] = 0
        for key, values in obs.items():
            self._columns[f"obs.{key}"][mask_B, 0] = values[mask_B]

    def step(self, rows: np.ndarray, obs: Mapping[str, np.ndarray], **fields: np.ndarray) -> None:
        """Append one transition and the observation after it, for the environments ``rows``.

        Args:
            rows: Which environments.
            obs: Observations ``(B, ...)`` after the step.
            fields: ``action``, ``reward``, ``terminated``, ``truncated`` and ``success`` (NaN where no
                attempt ended), each ``(B, ...)``.
        """
        if not len(rows):
            return
        time = self.time_B[rows]
        if time.max() >= self._room:
            self._grow()
        for name, values in fields.items():
            self._columns[name][rows, time] = values[rows]
        self.time_B[rows] = time + 1
        for key, values in obs.items():
            self._columns[f"obs.{key}"][rows, time + 1] = values[rows]

    def actions(self, index: int) -> np.ndarray:
        """Return the actions of one started trajectory."""
        return self._columns["action"][index, : self.time_B[index]].copy()

    def trajectory(
        self, index: int, seed: int, task: str = "", success: float | None = None
    ) -> Trajectory:
        """Return views of one trajectory; copy them before the next step."""
        length = int(self.time_B[index])
        columns = {
            name: column[index, : length + name.startswith("obs.")]
            for name, column in self._columns.items()
            if name != "success"
        }
        return Trajectory(columns, seed, task=task, success=success)

    def outcome(self, index: int, seed: int, task: str = "") -> Outcome:
        """Return how one trajectory went."""
        length = int(self.time_B[index])
        reward_T = self._columns["reward"][index, :length].astype(np.float64)
        success_T = self._columns["success"][index, :length]
        ends = np.flatnonzero(~np.isnan(success_T))
        total_T = np.cumsum(reward_T)
        return Outcome(
            seed=seed,
            length=length,
            total=float(total_T[-1]),
            successes=success_T[ends].astype(np.float64),
            attempt_returns=np.diff(total_T[ends], prepend=0.0),
            task=task,
        )

    def _grow(self) -> None:
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.zeros_like(column[:, : self._room])], 1)
        self._room *= 2


def _dtype(space: spaces.Space[Any]) -> Any:
    # Half the memory and disk; the network computes in fp32 anyway.
    return np.float32 if space.dtype == np.float64 else space.dtype


def _action_dtype(space: CanonicalAction) -> Any:
    """Return the smallest type that holds every index; torch knows no unsigned types but bytes well."""
    factors = choices(space)
    if not factors:
        return _dtype(space)
    return next(
        t for t in (np.uint8, np.int16, np.int32, np.int64) if max(factors) - 1 <= np.iinfo(t).max
    )
