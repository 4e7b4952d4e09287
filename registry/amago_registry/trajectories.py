"""Recordings of tasks, as columns.

A column has one row per transition or one row per timestep, which is one more: the last timestep has
an observation and no action.

Shape suffixes: T = transitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

OBSERVATION = "obs."
"""Start of the name of every observation column: ``obs.<key>``."""


@dataclass(frozen=True, eq=False, slots=True)
class Trajectory:
    """A recording of one task, or neighbouring timesteps of one.

    Args:
        columns: ``obs.<key>`` (T+1, ...), ``action`` (T,) indices or (T, axes) in stored form (see
            :mod:`amago_registry.protocols`), ``reward`` (T,), ``terminated`` (T,), ``truncated`` (T,),
            and whatever else a relabeler needs, with T or T+1 rows.
        seed: What the environment was reset with; 0 where nobody knows.
        start_time: Steps since the task began at the first timestep.
        prev_action: Action before the first timestep, () or (axes,); None where the recording begins.
        prev_reward: Reward before the first timestep; 0 where the recording begins.
        task: Name of the task, where the environment has several; else empty.
        success: Mean outcome of its attempts; None where the environment says nothing of success.
        relabelled: Whether a relabeler returned other arrays for it; None where none was asked.
    """

    columns: Mapping[str, NDArray[Any]]
    seed: int = 0
    start_time: int = 0
    prev_action: NDArray[Any] | None = None
    prev_reward: float = 0.0
    task: str = ""
    success: float | None = None
    relabelled: bool | None = None

    @property
    def length(self) -> int:
        """T: transitions."""
        return len(self.columns["reward"])

    def slice(self, start: int, stop: int) -> Trajectory:
        """Return the transitions ``start`` to ``stop - 1`` and the timestep after them, as views."""
        length = self.length
        rows = {
            name: column[start : stop + len(column) - length] for name, column in self.columns.items()
        }
        before, reward = self.prev_action, self.prev_reward
        if start > 0:
            before = self.columns["action"][start - 1, ...]
            reward = float(self.columns["reward"][start - 1])
        time = self.start_time + start
        return Trajectory(
            rows, self.seed, time, before, reward, self.task, self.success, self.relabelled
        )
