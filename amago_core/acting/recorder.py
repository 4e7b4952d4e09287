"""The rollout recorder: records trajectories and segments in preallocated arrays.

Shape suffixes: B = environments, T = transitions of one recording.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_core.acting.episode_stats import EpisodeStats
from amago_registry.actions import CanonicalAction
from amago_registry.spaces import stored_action_dtype, stored_observation_dtype
from amago_registry.trajectories import OBSERVATION, Trajectory

_INITIAL_CAPACITY = 256

_EMPTY: Mapping[str, np.ndarray] = {}


class SegmentLengths:
    """Random lengths of segments, in which trajectories are handed over before they end.

    Args:
        length: Mean transitions of a segment.
        jitter: Largest deviation from the mean, as a fraction of it; lengths are uniform.
        rng: Draws the lengths.
    """

    def __init__(self, length: int, jitter: float, rng: np.random.Generator) -> None:
        self.length, self.rng = length, rng
        self._spread = min(int(length * jitter + 1e-9), length - 1)

    def draw(self, count: int) -> np.ndarray:
        """Return the lengths of ``count`` segments."""
        return self.rng.integers(self.length - self._spread, self.length + self._spread + 1, count)


@dataclass
class _RunningReturn:
    """Running return and successes of a task up to some row, so that segments add up to the whole."""

    total: float = 0.0
    successes: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)

    def after(self, reward_T: np.ndarray, success_T: np.ndarray) -> _RunningReturn:
        """Return the sums after more rows; ``totals`` are the running return where attempts ended."""
        if not len(reward_T):
            return self
        sum_T = reward_T.astype(np.float64)
        sum_T[0] += self.total
        sum_T = sum_T.cumsum()
        ends = np.flatnonzero(success_T == success_T)
        return _RunningReturn(
            float(sum_T[-1]),
            [*self.successes, *success_T[ends].tolist()],
            [*self.totals, *sum_T[ends].tolist()],
        )


class RolloutRecorder:
    """Records the running trajectory of each environment in rows of preallocated arrays.

    Args:
        observation_space: Canonical; one column per key.
        action_space: Canonical.
        environments: B.
        segments: Lengths of the segments that are handed over before a task ends; None to record
            whole trajectories.
        replayable: Whether to keep the actions of earlier segments, which can replay a task.
        recorded_space: What is recorded beside observations; one column per key, with the rows of
            observations. None for nothing.

    Attributes:
        time_B: Steps since each environment's task began.
        row_B: Transitions recorded since then, or since the last segment ended.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: CanonicalAction,
        environments: int,
        segments: SegmentLengths | None = None,
        *,
        replayable: bool = True,
        recorded_space: spaces.Dict | None = None,
    ) -> None:
        self.time_B = np.zeros(environments, np.int64)
        self.row_B = np.zeros(environments, np.int64)
        self._segments, self._replayable = segments, replayable
        self._segment_length_B = np.zeros(environments, np.int64)
        self._capacity, self._free_rows = _INITIAL_CAPACITY, _INITIAL_CAPACITY
        self._common_row: int | None = None  # The row of all environments, where it is the same.
        shape = (environments, _INITIAL_CAPACITY)
        self._obs = _timestep_columns(observation_space, environments)
        self._recorded = _timestep_columns(recorded_space or {}, environments)
        self._fields = {
            "action": np.zeros(
                (*shape, *(action_space.shape or ())), stored_action_dtype(action_space)
            ),
            "reward": np.zeros(shape, np.float32),
            "terminated": np.zeros(shape, bool),
            "truncated": np.zeros(shape, bool),
            "success": np.zeros(shape, np.float32),
        }
        action = self._fields["action"]
        self._previous: list[tuple[np.ndarray, float] | None] = [None] * environments
        self._past_actions: list[list[np.ndarray]] = [
            [action[i, :0].copy()] for i in range(environments)
        ]
        self._returns = [_RunningReturn() for _ in range(environments)]

    @property
    def start_B(self) -> np.ndarray:
        """Steps of each environment's task before the current segment."""
        return self.time_B - self.row_B

    def begin(
        self,
        obs: Mapping[str, np.ndarray],
        mask_B: np.ndarray,
        recorded: Mapping[str, np.ndarray] = _EMPTY,
    ) -> None:
        """Begin a new trajectory where ``mask_B`` is true.

        Args:
            obs: First observations ``(B, ...)``.
            mask_B: Environments in which a task begins.
            recorded: What environments record with them ``(B, ...)``.
        """
        rows = np.flatnonzero(mask_B)
        self.time_B[rows] = 0
        self.row_B[rows] = 0
        for key, column in self._obs.items():
            column[rows, 0] = obs[key][rows]
        for key, column in self._recorded.items():
            column[rows, 0] = recorded[key][rows]
        for index in rows.tolist():
            self._previous[index] = None
            del self._past_actions[index][1:]
            self._returns[index] = _RunningReturn()
        self._draw_lengths(rows)
        self._find_common_row()

    def step(
        self,
        obs: Mapping[str, np.ndarray],
        played_B: np.ndarray,
        recorded: Mapping[str, np.ndarray] = _EMPTY,
        **fields: np.ndarray,
    ) -> None:
        """Append one transition and the observation after it, where ``played_B`` is true.

        Args:
            obs: Observations ``(B, ...)`` after the step.
            played_B: Which environments took the step.
            recorded: What environments record with the observations ``(B, ...)``.
            fields: ``action``, ``reward``, ``terminated``, ``truncated`` and ``success`` (NaN where no
                attempt ended), each ``(B, ...)``.
        """
        if self._free_rows == 0:
            self._grow()
        self._free_rows -= 1
        everywhere = bool(played_B.all())
        if not everywhere:
            self._common_row = None
            self._write(np.flatnonzero(played_B), obs, recorded, fields)
        elif self._common_row is None:
            self._write(None, obs, recorded, fields)
        else:  # Slices are several times as fast as index arrays.
            present, after = (slice(None), self._common_row), (slice(None), self._common_row + 1)
            self._common_row += 1
            for name, values in fields.items():
                self._fields[name][present] = values
            for key, column in self._obs.items():
                column[after] = obs[key]
            for key, column in self._recorded.items():
                column[after] = recorded[key]
        self.row_B += played_B
        self.time_B += played_B

    def _write(
        self,
        rows: np.ndarray | None,
        obs: Mapping[str, np.ndarray],
        recorded: Mapping[str, np.ndarray],
        fields: Mapping[str, np.ndarray],
    ) -> None:
        """Write a transition into the current rows of some environments; None for all."""
        every = np.arange(len(self.row_B))
        # One index into the flattened rows takes half as long as two indices.
        present, after = (
            every * self._capacity + self.row_B,
            every * (self._capacity + 1) + self.row_B + 1,
        )
        if rows is not None:
            present, after = present[rows], after[rows]
        for name, values in fields.items():
            _flattened(self._fields[name])[present] = values if rows is None else values[rows]
        for columns, seen in (self._obs, obs), (self._recorded, recorded):
            for key, column in columns.items():
                _flattened(column)[after] = seen[key] if rows is None else seen[key][rows]

    def due_B(self) -> np.ndarray:
        """Return where a segment is complete; nowhere if trajectories are recorded whole."""
        if self._segments is None:
            return np.zeros(len(self.row_B), bool)
        due_B: np.ndarray = self.row_B >= self._segment_length_B
        return due_B

    def start_segment(self, index: int) -> None:
        """Discard the rows of one environment and start a segment at its last observation."""
        self._returns[index] = self._running_return(index)
        length = int(self.row_B[index])
        action_T, reward_T = self._fields["action"][index], self._fields["reward"][index]
        self._previous[index] = (action_T[length - 1].copy(), float(reward_T[length - 1]))
        if self._replayable:
            self._past_actions[index].append(action_T[:length].copy())
        for column in (*self._obs.values(), *self._recorded.values()):
            column[index, 0] = column[index, length]
        self.row_B[index] = 0
        self._draw_lengths(np.array([index]))
        self._find_common_row()

    def actions(self, index: int) -> np.ndarray:
        """Return all actions of one running trajectory, those of earlier segments included.

        Empty if the recorder is not ``replayable``.
        """
        if not self._replayable:
            return self._past_actions[index][0]
        return np.concatenate(
            [*self._past_actions[index], self._fields["action"][index, : self.row_B[index]]]
        )

    def trajectory(self, index: int, seed: int, task: str = "", *, cut: bool = False) -> Trajectory:
        """Return views of the rows of one environment; copy them before the next step.

        Args:
            index: Which environment.
            seed: Seed of its task.
            task: Name of the task.
            cut: Whether this is a segment of a task that continues; its last row is then truncated.
        """
        length = int(self.row_B[index])
        columns = {f"{OBSERVATION}{key}": x[index, : length + 1] for key, x in self._obs.items()}
        columns |= {key: x[index, : length + 1] for key, x in self._recorded.items()}
        columns |= {name: x[index, :length] for name, x in self._fields.items() if name != "success"}
        if cut:
            columns["truncated"] = columns["truncated"].copy()
            columns["truncated"][-1] = True
        success_T = self._fields["success"][index, :length]
        success_T = success_T[success_T == success_T]  # Drops NaN.
        action, reward = self._previous[index] or (None, 0.0)
        return Trajectory(
            columns,
            seed,
            start_time=int(self.time_B[index]) - length,
            prev_action=action,
            prev_reward=reward,
            task=task,
            success=float(success_T.mean(dtype=np.float64)) if len(success_T) else None,
        )

    def episode_stats(self, index: int, seed: int, task: str = "") -> EpisodeStats:
        """Return length, return and successes of one task, earlier segments included."""
        running = self._running_return(index)
        return EpisodeStats(
            seed=seed,
            length=int(self.time_B[index]),
            total=running.total,
            successes=np.array(running.successes, np.float64),
            attempt_returns=np.array([b - a for a, b in pairwise([0.0, *running.totals])], np.float64),
            task=task,
        )

    def fingerprint(self, index: int) -> int:
        """Return a CRC-32 of a running trajectory: equal if two are the same, to the bit."""
        recorded = self.trajectory(index, 0)
        crc = zlib.crc32(f"{recorded.start_time} {self._running_return(index).total.hex()}".encode())
        for _, column in sorted(recorded.columns.items()):
            crc = zlib.crc32(np.ascontiguousarray(column).data, crc)
        return crc

    def segment_state(self) -> dict[str, Any]:
        """Return a checkpoint of the segments: starts, planned lengths and the generator of lengths."""
        rng = None if self._segments is None else self._segments.rng.bit_generator.state
        return {"starts": self.start_B.tolist(), "planned": self._segment_length_B.tolist(), "rng": rng}

    def load_segment_state(self, stored: Mapping[str, Any]) -> None:
        """Restore planned lengths and their generator; the caller restores ``starts`` by a replay."""
        self._segment_length_B[:] = stored["planned"]
        if self._segments is not None:
            self._segments.rng.bit_generator.state = stored["rng"]

    def _running_return(self, index: int) -> _RunningReturn:
        length = self.row_B[index]
        reward_T = self._fields["reward"][index, :length]
        return self._returns[index].after(reward_T, self._fields["success"][index, :length])

    def _draw_lengths(self, rows: np.ndarray) -> None:
        if self._segments is not None:
            self._segment_length_B[rows] = self._segments.draw(len(rows))

    def _find_common_row(self) -> None:
        first = int(self.row_B[0])
        self._common_row = first if (self.row_B == first).all() else None

    def _grow(self) -> None:
        """Double the capacity if the longest trajectory fills it."""
        if self.row_B.max() == self._capacity:
            for columns in (self._obs, self._recorded, self._fields):
                for name, column in columns.items():
                    more = np.zeros_like(column[:, : self._capacity])
                    columns[name] = np.concatenate([column, more], 1)
            self._capacity *= 2
        self._free_rows = self._capacity - int(self.row_B.max())


def _timestep_columns(
    space: Mapping[str, spaces.Space[Any]], environments: int
) -> dict[str, np.ndarray]:
    """Return a column for each key, with one row more than transitions."""
    return {
        key: np.zeros(
            (environments, _INITIAL_CAPACITY + 1, *(leaf.shape or ())), stored_observation_dtype(leaf)
        )
        for key, leaf in space.items()
    }


def _flattened(column: np.ndarray) -> np.ndarray:
    """Return a view ``(B * T, ...)`` of a column ``(B, T, ...)``."""
    return column.reshape(-1, *column.shape[2:])
