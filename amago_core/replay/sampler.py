"""Drawing training slices from a replay, reproducibly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from amago_core.replay.errors import NothingStoredError, TrajectoryGoneError
from amago_registry.trajectories import Trajectory

if TYPE_CHECKING:
    from amago_core.replay.reader import Replay
    from amago_registry.protocols import Relabeler

_PATIENCE = 1000
"""Draws in a row that may hit evicted trajectories before the replay counts as empty."""


class Sampler:
    """Draws slices: first a trajectory, all alike, then a place in it.

    With starts drawn evenly, the last transition of a long trajectory would be in a slice L times more
    rarely than one in its middle, and that is the one which says how the task ended. So a window of L
    transitions is laid evenly over the trajectory and beyond both ends, where it is pushed back
    inside: every one of T transitions is in a slice with a chance of at least L / (T + L - 1).

    What is drawn for an update depends on the seed, the update and the visible trajectories alone, not
    on earlier draws; batches may be drawn ahead or again.

    Args:
        replay: Where to draw from.
        seed: Seed of all draws, at least 0 and below 2^64.
        context_length: Most transitions of a slice; a shorter trajectory is taken whole.
        relabeler: Rewrites whole trajectories before they are sliced; None to take them as stored.
    """

    def __init__(
        self, replay: Replay, seed: int, context_length: int, relabeler: Relabeler | None = None
    ) -> None:
        self._replay = replay
        self._seed = seed
        self._context_length = context_length
        self._relabeler = None if relabeler is None or relabeler.identity else relabeler

    def sample(self, update: int, count: int, limit: int | None = None) -> list[Trajectory]:
        """Draw the slices of one update, and return the longest first.

        Args:
            update: Which update they are for.
            count: Number of slices.
            limit: Trajectories that count as stored (those of the rounds before); all if absent.

        Raises:
            NothingStoredError: If there is no trajectory to draw.
            DamagedShardError: If a trajectory is not what was written.
        """
        visible = self._replay.visible(limit)
        if not visible:
            raise NothingStoredError(f"{self._replay.folder} holds no trajectory to learn from")
        key = np.array([self._seed, update], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        drawn = [self._draw(visible, rng) for _ in range(count)]
        # Every mean runs over rows, whatever their order, and on the CPU neighbours of equal length are
        # one call of the attention kernel. Slices of equal length stay in the order they were drawn in.
        return sorted(drawn, key=lambda piece: piece.length, reverse=True)

    def _draw(self, visible: range, rng: np.random.Generator) -> Trajectory:
        for _ in range(_PATIENCE):
            try:
                trajectory = self._replay.trajectory(int(rng.integers(visible.start, visible.stop)))
            except TrajectoryGoneError:  # evicted by another process: draw another one
                continue
            return self._cut(trajectory, rng)
        raise NothingStoredError(
            f"the trajectories {visible.start} to {visible.stop - 1} are no longer in "
            f"{self._replay.folder}"
        )

    def _cut(self, trajectory: Trajectory, rng: np.random.Generator) -> Trajectory:
        if self._relabeler is not None:
            columns = self._relabeler(trajectory.columns, rng)
            trajectory = replace(trajectory, columns=columns)
        length, window = trajectory.length, self._context_length
        if length <= window:
            return trajectory.slice(0, length)
        start = min(max(int(rng.integers(1 - window, length)), 0), length - window)
        return trajectory.slice(start, start + window)
