"""What environments did, in columns that are allocated once.

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

_ROOM = 256

_NOTHING: Mapping[str, np.ndarray] = {}


class SegmentLengths:
    """In what lengths trajectories are handed over before they end.

    Args:
        length: Mean transitions of a piece.
        jitter: How far a length strays from the mean, as a share of it; evenly.
        rng: Draws the lengths.
    """

    def __init__(self, length: int, jitter: float, rng: np.random.Generator) -> None:
        self.length, self.rng = length, rng
        self._spread = min(int(length * jitter + 1e-9), length - 1)

    def draw(self, count: int) -> np.ndarray:
        """Return the lengths of ``count`` pieces."""
        return self.rng.integers(self.length - self._spread, self.length + self._spread + 1, count)


@dataclass
class _RunningReturn:
    """What a task has come to up to some row: a running sum, so that pieces add up to the whole."""

    total: float = 0.0
    successes: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)

    def after(self, reward_T: np.ndarray, success_T: np.ndarray) -> _RunningReturn:
        """Return the tally after more rows; ``totals`` are the sums where attempts ended."""
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
    """The started trajectory of each environment, as rows of preallocated arrays.

    Args:
        observation_space: Canonical; one column per key.
        action_space: Canonical.
        environments: B.
        pieces: When to hand over what has not ended; None to keep it whole.
        replayable: Whether to keep the actions of pieces, which can replay a task up to the present.
        recorded_space: What is recorded beside observations; one column per key, with the rows of
            observations. None for nothing.

    Attributes:
        time_B: Steps since each environment's task began.
        row_B: Transitions recorded since then, or since the last piece.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: CanonicalAction,
        environments: int,
        pieces: SegmentLengths | None = None,
        *,
        replayable: bool = True,
        recorded_space: spaces.Dict | None = None,
    ) -> None:
        self.time_B = np.zeros(environments, np.int64)
        self.row_B = np.zeros(environments, np.int64)
        self._pieces, self._replayable = pieces, replayable
        self._planned_B = np.zeros(environments, np.int64)
        self._room, self._spare = _ROOM, _ROOM
        self._level: int | None = None  # The row of every environment, where it is the same one.
        shape = (environments, _ROOM)
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
        self._before: list[tuple[np.ndarray, float] | None] = [None] * environments
        self._taken: list[list[np.ndarray]] = [[action[i, :0].copy()] for i in range(environments)]
        self._tallies = [_RunningReturn() for _ in range(environments)]

    @property
    def start_B(self) -> np.ndarray:
        """Steps of each environment's task before the rows that are held."""
        return self.time_B - self.row_B

    def begin(
        self,
        obs: Mapping[str, np.ndarray],
        mask_B: np.ndarray,
        recorded: Mapping[str, np.ndarray] = _NOTHING,
    ) -> None:
        """Start anew where ``mask_B`` is true.

        Args:
            obs: First observations ``(B, ...)``.
            mask_B: Where.
            recorded: What came with the observations ``(B, ...)``.
        """
        rows = np.flatnonzero(mask_B)
        self.time_B[rows] = 0
        self.row_B[rows] = 0
        for key, column in self._obs.items():
            column[rows, 0] = obs[key][rows]
        for key, column in self._recorded.items():
            column[rows, 0] = recorded[key][rows]
        for index in rows.tolist():
            self._before[index] = None
            del self._taken[index][1:]
            self._tallies[index] = _RunningReturn()
        self._plan(rows)
        self._find_level()

    def step(
        self,
        obs: Mapping[str, np.ndarray],
        played_B: np.ndarray,
        recorded: Mapping[str, np.ndarray] = _NOTHING,
        **fields: np.ndarray,
    ) -> None:
        """Append one transition and the observation after it, where ``played_B`` is true.

        Args:
            obs: Observations ``(B, ...)`` after the step.
            played_B: Which environments took it.
            recorded: What came with the observations ``(B, ...)``.
            fields: ``action``, ``reward``, ``terminated``, ``truncated`` and ``success`` (NaN where no
                attempt ended), each ``(B, ...)``.
        """
        if self._spare == 0:
            self._make_room()
        self._spare -= 1
        everywhere = bool(played_B.all())
        if not everywhere:
            self._level = None
            self._write(np.flatnonzero(played_B), obs, recorded, fields)
        elif self._level is None:
            self._write(None, obs, recorded, fields)
        else:  # Several times as fast as by index.
            present, after = (slice(None), self._level), (slice(None), self._level + 1)
            self._level += 1
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
        """Write a transition into the present rows of some environments; None for all."""
        every = np.arange(len(self.row_B))
        # One index into all rows end to end takes half as long as two.
        present, after = every * self._room + self.row_B, every * (self._room + 1) + self.row_B + 1
        if rows is not None:
            present, after = present[rows], after[rows]
        for name, values in fields.items():
            _end_to_end(self._fields[name])[present] = values if rows is None else values[rows]
        for columns, seen in (self._obs, obs), (self._recorded, recorded):
            for key, column in columns.items():
                _end_to_end(column)[after] = seen[key] if rows is None else seen[key][rows]

    def due_B(self) -> np.ndarray:
        """Return where a piece is complete; nowhere without pieces."""
        if self._pieces is None:
            return np.zeros(len(self.row_B), bool)
        due_B: np.ndarray = self.row_B >= self._planned_B
        return due_B

    def drop(self, index: int) -> None:
        """Forget the rows of one environment, but for the last observation: a piece begins there."""
        self._tallies[index] = self._tally(index)
        length = int(self.row_B[index])
        action_T, reward_T = self._fields["action"][index], self._fields["reward"][index]
        self._before[index] = (action_T[length - 1].copy(), float(reward_T[length - 1]))
        if self._replayable:
            self._taken[index].append(action_T[:length].copy())
        for column in (*self._obs.values(), *self._recorded.values()):
            column[index, 0] = column[index, length]
        self.row_B[index] = 0
        self._plan(np.array([index]))
        self._find_level()

    def actions(self, index: int) -> np.ndarray:
        """Return all actions of one started trajectory, those of its pieces included.

        None of them where they are not kept.
        """
        if not self._replayable:
            return self._taken[index][0]
        return np.concatenate([*self._taken[index], self._fields["action"][index, : self.row_B[index]]])

    def trajectory(self, index: int, seed: int, task: str = "", *, cut: bool = False) -> Trajectory:
        """Return views of the rows of one environment; copy them before the next step.

        Args:
            index: Which environment.
            seed: What its task was drawn from.
            task: Name of the task.
            cut: Whether this is a piece whose task goes on, so that its recording ends truncated.
        """
        length = int(self.row_B[index])
        columns = {f"{OBSERVATION}{key}": x[index, : length + 1] for key, x in self._obs.items()}
        columns |= {key: x[index, : length + 1] for key, x in self._recorded.items()}
        columns |= {name: x[index, :length] for name, x in self._fields.items() if name != "success"}
        if cut:
            columns["truncated"] = columns["truncated"].copy()
            columns["truncated"][-1] = True
        success_T = self._fields["success"][index, :length]
        success_T = success_T[success_T == success_T]  # NaN is not.
        action, reward = self._before[index] or (None, 0.0)
        return Trajectory(
            columns,
            seed,
            start_time=int(self.time_B[index]) - length,
            prev_action=action,
            prev_reward=reward,
            task=task,
            success=float(success_T.mean(dtype=np.float64)) if len(success_T) else None,
        )

    def outcome(self, index: int, seed: int, task: str = "") -> EpisodeStats:
        """Return how one task went from its beginning, its pieces included."""
        tally = self._tally(index)
        return EpisodeStats(
            seed=seed,
            length=int(self.time_B[index]),
            total=tally.total,
            successes=np.array(tally.successes, np.float64),
            attempt_returns=np.array([b - a for a, b in pairwise([0.0, *tally.totals])], np.float64),
            task=task,
        )

    def fingerprint(self, index: int) -> int:
        """Return what tells whether a started trajectory is the same, to the bit."""
        recorded = self.trajectory(index, 0)
        crc = zlib.crc32(f"{recorded.start_time} {self._tally(index).total.hex()}".encode())
        for _, column in sorted(recorded.columns.items()):
            crc = zlib.crc32(np.ascontiguousarray(column).data, crc)
        return crc

    def plan(self) -> dict[str, Any]:
        """Return where pieces began and will end, and what draws the next ones."""
        rng = None if self._pieces is None else self._pieces.rng.bit_generator.state
        return {"starts": self.start_B.tolist(), "planned": self._planned_B.tolist(), "rng": rng}

    def load_plan(self, plan: Mapping[str, Any]) -> None:
        """Let pieces end where a stored plan has it; ``starts`` are the caller's to restore."""
        self._planned_B[:] = plan["planned"]
        if self._pieces is not None:
            self._pieces.rng.bit_generator.state = plan["rng"]

    def _tally(self, index: int) -> _RunningReturn:
        length = self.row_B[index]
        reward_T = self._fields["reward"][index, :length]
        return self._tallies[index].after(reward_T, self._fields["success"][index, :length])

    def _plan(self, rows: np.ndarray) -> None:
        if self._pieces is not None:
            self._planned_B[rows] = self._pieces.draw(len(rows))

    def _find_level(self) -> None:
        first = int(self.row_B[0])
        self._level = first if (self.row_B == first).all() else None

    def _make_room(self) -> None:
        """Double the columns if the longest trajectory fills them."""
        if self.row_B.max() == self._room:
            for columns in (self._obs, self._recorded, self._fields):
                for name, column in columns.items():
                    more = np.zeros_like(column[:, : self._room])
                    columns[name] = np.concatenate([column, more], 1)
            self._room *= 2
        self._spare = self._room - int(self.row_B.max())


def _timestep_columns(
    space: Mapping[str, spaces.Space[Any]], environments: int
) -> dict[str, np.ndarray]:
    """Return a column for each key, with room for one row more than there are transitions."""
    return {
        key: np.zeros((environments, _ROOM + 1, *(leaf.shape or ())), stored_observation_dtype(leaf))
        for key, leaf in space.items()
    }


def _end_to_end(column: np.ndarray) -> np.ndarray:
    """Return a view ``(B * T, ...)`` of a column ``(B, T, ...)``."""
    return column.reshape(-1, *column.shape[2:])
