"""Trajectories as columns (arrays by name).

A column has one row per transition (T) or one row per timestep (T+1): the last timestep has an
observation and no action.

Shape suffixes: T = transitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

OBSERVATION = "obs."
"""Prefix of the names of observation columns: ``obs.<key>``."""


@dataclass(frozen=True, eq=False, slots=True)
class Trajectory:
    """A trajectory of one task, or a slice of consecutive timesteps.

    Args:
        columns: ``obs.<key>`` (T+1, ...), ``action`` (T,) indices or (T, axes) in stored form (see
            :mod:`amago_registry.protocols`), ``reward`` (T,), ``terminated`` (T,), ``truncated`` (T,),
            and any other column that a relabeler needs, with T or T+1 rows.
        seed: Seed of the environment's reset; 0 if unknown.
        start_time: Steps from the start of the task to the first timestep.
        prev_action: Action before the first timestep, () or (axes,); None at the start of a recording.
        prev_reward: Reward before the first timestep; 0 at the start of a recording.
        task: Name of the task, if the environment has several; else empty.
        success: Mean success of its attempts; None if the environment does not report success.
        relabelled: Whether a relabeler returned other arrays for it; None without a relabeler.
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
        """T: number of transitions."""
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
