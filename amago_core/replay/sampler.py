"""Drawing training slices from a replay, a dataset or both, reproducibly."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from amago_core.replay.errors import NothingStoredError, TrajectoryGoneError
from amago_core.replay.slicing import cut, places
from amago_core.spec.schema import SamplingSpec
from amago_registry.errors import RecordingError
from amago_registry.trajectories import Trajectory

if TYPE_CHECKING:
    from amago_core.replay.replay import Replay
    from amago_core.replay.view import ReplayView
    from amago_registry.protocols import Dataset, Relabeler

_PATIENCE = 1000
"""Draws in a row that may hit evicted trajectories before the replay counts as empty."""


class _For(IntEnum):
    """What random numbers are drawn for; each purpose has a stream of its own."""

    BATCH = 0
    DATASET = 1
    RELABELING = 2
    ANOTHER = 3


class Sampler:
    """Draws slices: first trajectories, then a place in each; see :mod:`amago_core.replay.slicing`.

    What is drawn for an update depends on the seed, the update and the visible trajectories alone, not
    on earlier draws: batches may be drawn ahead, again, and by several threads, which share the
    relabeler and the dataset.

    Args:
        replay: Where to draw from; None for a dataset alone.
        seed: Seed of all draws, at least 0 and below 2^64.
        context_length: Most transitions of a slice; a shorter trajectory is taken whole.
        relabeler: Rewrites whole trajectories before they are sliced; None to take them as stored.
        dataset: Where the rest is drawn from, and everything while the replay holds nothing; None for
            the replay alone.
        spec: How trajectories and places are drawn, and the dataset's share.
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
        """Draw the slices of one update, and return the longest first.

        Args:
            update: Which update they are for.
            count: Number of slices, of all ranks together.
            limit: Trajectories that count as stored (those of the rounds before); all if absent.
            rank: Which process asks; it gets every ``ranks``-th of the slices, beginning with its own.
            ranks: Processes that train together.

        Raises:
            NothingStoredError: If there is no trajectory to draw.
            RecordingError: If a relabeler would be given a piece from the middle of a trajectory.
        """
        view = None if self._replay is None else self._replay.view(limit)
        # One call of the generator: a trajectory and a place for each slice, and the dataset's luck.
        numbers = self._philox(update, _For.BATCH).random_raw(2 * count + 1).tolist()
        drawn = self._from_dataset(update, self._wanted(view, update, count, numbers[-1]))
        if len(drawn) < count:
            try:
                drawn += self._from_replay(view, update, len(drawn), numbers[:count])
            except NothingStoredError:
                if self._dataset is None:
                    raise
                drawn = self._from_dataset(update, count)
        placed = numbers[count:-1]
        if self._relabeler is not None:
            return self._relabeled(update, drawn, placed, rank, ranks)
        spans = [self._span(*pair) for pair in zip(drawn, placed, strict=True)]
        # Every mean runs over rows, whatever their order, and on the CPU neighbours of equal length are
        # one call of the attention kernel. Slices of equal length stay in the order they were drawn in.
        # Ranks are dealt to in this order, so that all have as much to do.
        order = sorted(range(count), key=lambda n: spans[n][0] - spans[n][1])
        return [_cut(drawn[n], *spans[n]) for n in order[rank::ranks]]

    def _relabeled(
        self, update: int, drawn: list[Trajectory], placed: list[int], rank: int, ranks: int
    ) -> list[Trajectory]:
        """Relabel and cut this rank's share of what was drawn."""
        assert self._relabeler is not None
        # A relabeler may change the length: what a rank has to do is only estimated.
        order = sorted(range(len(drawn)), key=lambda n: -min(drawn[n].length, self._context_length))
        slices = []
        for n in order[rank::ranks]:
            _check_beginning(drawn[n])
            rng = np.random.Generator(self._philox(update, _For.RELABELING, n))
            given = drawn[n].columns
            columns = self._relabeler(given, rng)
            changed = any(columns.get(name) is not column for name, column in given.items())
            trajectory = replace(drawn[n], columns=columns, relabelled=changed)
            slices.append(_cut(trajectory, *self._span(trajectory, placed[n])))
        return sorted(slices, key=lambda piece: -piece.length)

    def _span(self, trajectory: Trajectory, number: int) -> tuple[int, int]:
        how, length, window = self._spec.slices, trajectory.length, self._context_length
        if length <= window:
            return 0, length
        return cut(how, _below(places(how, length, window), number), length, window)

    def _wanted(self, view: ReplayView | None, update: int, count: int, number: int) -> int:
        """Return how many trajectories are the dataset's."""
        if self._dataset is None:
            return 0
        expected = float(count) if not view else count * dataset_share(self._spec, update)
        wanted = int(expected)
        return wanted + (number < (expected - wanted) * 2**64)

    def _from_dataset(self, update: int, count: int) -> list[Trajectory]:
        if self._dataset is None or not count:
            return []
        rng = np.random.Generator(self._philox(update, _For.DATASET))
        return list(self._dataset.sample(rng, count, update))

    def _from_replay(
        self, view: ReplayView | None, update: int, first: int, numbers: list[int]
    ) -> list[Trajectory]:
        """Draw what is wanted beside the first trajectories, which are another source's."""
        assert view is not None
        assert self._replay is not None
        if not view:
            raise NothingStoredError(f"{self._replay.folder} holds no trajectory to learn from")
        drawn = []
        for n in range(first, len(numbers)):
            try:
                drawn.append(view.trajectory(self._position(view, numbers[n])))
            except TrajectoryGoneError:  # evicted by another process, or damaged
                drawn.append(self._another(view, update, n))
        return drawn

    def _another(self, view: ReplayView, update: int, n: int) -> Trajectory:
        philox = self._philox(update, _For.ANOTHER, n)
        for _ in range(_PATIENCE):
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
            return _below(len(view), number)
        step = _below(int(view.ends[-1]), number)
        # Where all are gone there are no steps, and any position says so.
        return min(int(np.searchsorted(view.ends, step, side="right")), len(view) - 1)

    def _philox(self, update: int, purpose: _For, n: int = 0) -> np.random.Philox:
        """Return a generator of its own for each update, purpose and slice."""
        key = np.array([self._seed, update], np.uint64)
        return np.random.Philox(key=key, counter=np.array([0, 0, purpose, n], np.uint64))


def dataset_share(spec: SamplingSpec, update: int) -> float:
    """Return the share of a batch that is drawn from the dataset, where there is a replay too."""
    first, last = spec.dataset_share, spec.final_dataset_share
    if last is None:
        return first
    return first + (last - first) * min(update / spec.anneal_updates, 1.0)


def _check_beginning(trajectory: Trajectory) -> None:
    if trajectory.start_time:
        raise RecordingError(
            "the relabeler rewrites whole trajectories, and a piece was drawn that begins at step "
            f"{trajectory.start_time} of its task: it was stored with collector.segment_length. Write "
            "relabeler=none, or learn from recordings of whole tasks."
        )


def _below(end: int, number: int) -> int:
    """Return one of ``end`` integers from 0, for a number below 2^64; each for as many numbers."""
    return end * number >> 64


def _cut(trajectory: Trajectory, start: int, stop: int) -> Trajectory:
    whole = start == 0 and stop == trajectory.length
    return trajectory if whole else trajectory.slice(start, stop)
