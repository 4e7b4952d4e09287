"""Sample training slices from a replay, a dataset or both, reproducibly."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from amago_core.replay.replay_errors import NothingStoredError, TrajectoryGoneError
from amago_core.replay.slicing import count_positions, slice_bounds
from amago_core.spec.schema import SamplingSpec
from amago_registry.errors import RecordingError
from amago_registry.trajectories import Trajectory

if TYPE_CHECKING:
    from amago_core.replay.replay import Replay
    from amago_core.replay.view import ReplayView
    from amago_registry.protocols import Dataset, Relabeler

_MAX_REDRAWS = 1000
"""Redraws in a row that may hit evicted trajectories before the replay counts as empty."""


class _Purpose(IntEnum):
    """Purposes of random numbers; each has its own stream."""

    BATCH = 0
    DATASET = 1
    RELABELING = 2
    REDRAW = 3


class Sampler:
    """Samples slices: trajectories, then a position in each; see :mod:`amago_core.replay.slicing`.

    The slices of an update depend only on the seed, the update and the visible trajectories, not on
    earlier draws. So batches may be prefetched, drawn again, and drawn by several threads, which share
    the relabeler and the dataset.

    Args:
        replay: The replay to sample from; None for a dataset alone.
        seed: Seed of all draws, at least 0 and below 2^64.
        context_length: Maximum transitions of a slice; a shorter trajectory is taken whole.
        relabeler: Rewrites whole trajectories before they are sliced; None to take them as stored.
        dataset: Source of the dataset's share, and of everything while the replay is empty; None
            for the replay alone.
        spec: How trajectories and positions are drawn, and the dataset's share.
    """

    def __init__(
        self,
        replay: Replay | None,
        seed: int,
        context_length: int,
        relabeler: Relabeler | None = None,
        dataset: Dataset | None = None,
        spec: SamplingSpec | None = None,
    ) -> None:
        if replay is None and dataset is None:
            raise ValueError("there is neither a replay nor a dataset to draw from")
        self._replay = replay
        self._seed = seed
        self._context_length = context_length
        self._relabeler = None if relabeler is None or relabeler.identity else relabeler
        self._dataset = dataset
        self._spec = spec or SamplingSpec()

    def sample(
        self,
        update: int,
        count: int,
        limit: int | None = None,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> list[Trajectory]:
        """Sample the slices of one update; the longest come first.

        Args:
            update: The update.
            count: Number of slices, all ranks included.
            limit: Sample only from the first ``limit`` trajectories, those of earlier rounds; None:
                from all.
            rank: Data-parallel rank of this process; it gets every ``ranks``-th slice from ``rank`` on.
            ranks: Number of data-parallel processes.

        Raises:
            NothingStoredError: If there is no trajectory to draw.
            RecordingError: If the relabeler would be given a segment that does not start at step 0.
        """
        view = None if self._replay is None else self._replay.view(limit)
        # One call of the generator: a trajectory and a position for each slice, and one number
        # for the stochastic rounding of the dataset's share.
        numbers = self._philox(update, _Purpose.BATCH).random_raw(2 * count + 1).tolist()
        drawn = self._from_dataset(update, self._dataset_count(view, update, count, numbers[-1]))
        if len(drawn) < count:
            try:
                drawn += self._from_replay(view, update, len(drawn), numbers[:count])
            except NothingStoredError:
                if self._dataset is None:
                    raise
                drawn = self._from_dataset(update, count)
        positions = numbers[count:-1]
        if self._relabeler is not None:
            return self._relabeled(update, drawn, positions, rank, ranks)
        spans = [self._span(*pair) for pair in zip(drawn, positions, strict=True)]
        # The order does not affect any mean, and on the CPU adjacent slices of equal length are one
        # call of the attention kernel. Slices of equal length stay in the order they were drawn in.
        # Ranks take slices in turn, in this order, so that their loads are balanced.
        order = sorted(range(count), key=lambda n: spans[n][0] - spans[n][1])
        return [_slice(drawn[n], *spans[n]) for n in order[rank::ranks]]

    def _relabeled(
        self, update: int, drawn: list[Trajectory], positions: list[int], rank: int, ranks: int
    ) -> list[Trajectory]:
        """Relabel and slice this rank's share of the drawn trajectories."""
        assert self._relabeler is not None
        # A relabeler may change the length: a rank's load is only estimated.
        order = sorted(range(len(drawn)), key=lambda n: -min(drawn[n].length, self._context_length))
        slices = []
        for n in order[rank::ranks]:
            _check_starts_at_zero(drawn[n])
            rng = np.random.Generator(self._philox(update, _Purpose.RELABELING, n))
            stored = drawn[n].columns
            columns = self._relabeler(stored, rng)
            changed = any(columns.get(name) is not column for name, column in stored.items())
            trajectory = replace(drawn[n], columns=columns, relabelled=changed)
            slices.append(_slice(trajectory, *self._span(trajectory, positions[n])))
        return sorted(slices, key=lambda trajectory: -trajectory.length)

    def _span(self, trajectory: Trajectory, number: int) -> tuple[int, int]:
        mode, length, window = self._spec.slices, trajectory.length, self._context_length
        if length <= window:
            return 0, length
        position = _scale_below(count_positions(mode, length, window), number)
        return slice_bounds(mode, position, length, window)

    def _dataset_count(self, view: ReplayView | None, update: int, count: int, number: int) -> int:
        """Return how many trajectories are drawn from the dataset; a fraction is rounded at random."""
        if self._dataset is None:
            return 0
        expected = float(count) if not view else count * dataset_share(self._spec, update)
        whole = int(expected)
        return whole + (number < (expected - whole) * 2**64)

    def _from_dataset(self, update: int, count: int) -> list[Trajectory]:
        if self._dataset is None or not count:
            return []
        rng = np.random.Generator(self._philox(update, _Purpose.DATASET))
        return list(self._dataset.sample(rng, count, update))

    def _from_replay(
        self, view: ReplayView | None, update: int, first: int, numbers: list[int]
    ) -> list[Trajectory]:
        """Draw the trajectories from number ``first`` on; those before come from the dataset."""
        assert view is not None
        assert self._replay is not None
        if not view:
            raise NothingStoredError(f"{self._replay.folder} holds no trajectory to learn from")
        drawn = []
        for n in range(first, len(numbers)):
            try:
                drawn.append(view.trajectory(self._position(view, numbers[n])))
            except TrajectoryGoneError:  # Evicted by another process, or damaged.
                drawn.append(self._redraw(view, update, n))
        return drawn

    def _redraw(self, view: ReplayView, update: int, n: int) -> Trajectory:
        philox = self._philox(update, _Purpose.REDRAW, n)
        for _ in range(_MAX_REDRAWS):
            try:
                return view.trajectory(self._position(view, int(philox.random_raw())))
            except TrajectoryGoneError:
                continue
        assert self._replay is not None
        raise NothingStoredError(
            f"the trajectories of {self._replay.folder} are gone (0 of {len(view)} left)"
        )

    def _position(self, view: ReplayView, number: int) -> int:
        if self._spec.by == "trajectories":
            return _scale_below(len(view), number)
        step = _scale_below(int(view.ends[-1]), number)
        # If all trajectories were evicted, the index is clamped, and reading it raises.
        return min(int(np.searchsorted(view.ends, step, side="right")), len(view) - 1)

    def _philox(self, update: int, purpose: _Purpose, n: int = 0) -> np.random.Philox:
        """Return the random generator of one update, purpose and slice."""
        key = np.array([self._seed, update], np.uint64)
        return np.random.Philox(key=key, counter=np.array([0, 0, purpose, n], np.uint64))


def dataset_share(spec: SamplingSpec, update: int) -> float:
    """Return the fraction of a batch that is drawn from the dataset where there is a replay too."""
    first, last = spec.dataset_share, spec.final_dataset_share
    if last is None:
        return first
    return first + (last - first) * min(update / spec.anneal_updates, 1.0)


def _check_starts_at_zero(trajectory: Trajectory) -> None:
    if trajectory.start_time:
        raise RecordingError(
            "the relabeler rewrites whole trajectories, and a segment was drawn that begins at step "
            f"{trajectory.start_time} of its task: it was stored with collector.segment_length. Write "
            "relabeler=none, or learn from recordings of whole tasks."
        )


def _scale_below(end: int, number: int) -> int:
    """Map a uniform integer below 2^64 to a uniform integer below ``end``."""
    return end * number >> 64


def _slice(trajectory: Trajectory, start: int, stop: int) -> Trajectory:
    whole = start == 0 and stop == trajectory.length
    return trajectory if whole else trajectory.slice(start, stop)
