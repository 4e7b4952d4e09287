"""The batches of an update, as arrays: sampled, dealt out, laid end to end.

Numpy alone: loader processes import this and no torch, unless a relabeler or a dataset does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from amago_core.errors import part_errors
from amago_core.learning.checked_parts import CheckedDataset, CheckedRelabeler, TrajectoryChecker
from amago_core.learning.packing import PackedArrays, pack_arrays
from amago_core.learning.relabeling import GoalOracle, build_relabeler
from amago_core.replay import Replay, Sampler
from amago_registry.contexts import DatasetContext

if TYPE_CHECKING:
    from gymnasium import spaces

    from amago_core.spec.schema import ReplaySpec, SamplingSpec
    from amago_registry.options import Part
    from amago_registry.protocols import Dataset, Relabeler


REFRESH_SECONDS = 1.0
"""How old the view of a replay may be where whatever is visible counts."""


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """What does not change from one update to the next.

    Args:
        observation_space: Canonical.
        action_space: Canonical.
        batch: Sequences per batch, of all ranks together.
        accumulate: Batches per update.
        rank: Which of the processes that train together this is.
        ranks: How many there are.
    """

    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    batch: int
    accumulate: int
    rank: int = 0
    ranks: int = 1


class BatchSource:
    """Draws the batches of any update, in any order, from any thread.

    Args:
        sampler: Draws slices.
        shape: How many, and for whom.
        replay: Looked through again every `REFRESH_SECONDS` where whatever is visible counts; None if
            there is none.
        follows: Whether the replay is also looked through when the limit moves: nobody else does.
    """

    def __init__(
        self, sampler: Sampler, shape: BatchShape, replay: Replay | None, *, follows: bool = False
    ) -> None:
        self._sampler, self._shape, self._replay, self._follows = sampler, shape, replay, follows
        self._limit: int | None = None
        self._refreshed = time.monotonic()
        self._refreshing = Lock()

    def streams(self, update: int, limit: int | None) -> list[PackedArrays]:
        """Return this rank's batches for an update; with a limit, all ranks' are those of one process.

        Args:
            update: Which; with the seed and what is visible, all that the batches depend on.
            limit: Trajectories that count as stored; None for whatever is there.
        """
        self._catch_up(limit)
        shape = self._shape
        slices = self._sampler.sample(
            update, shape.batch * shape.accumulate, limit, rank=shape.rank, ranks=shape.ranks
        )
        # Dealt out: slices come longest first, and one batch must not hold all of the long ones.
        dealt = (slices[first :: shape.accumulate] for first in range(shape.accumulate))
        return [pack_arrays(part, shape.action_space) for part in dealt]

    def _catch_up(self, limit: int | None) -> None:
        if self._replay is None or not self._refreshing.acquire(blocking=False):
            return
        try:
            if self._is_stale(self._replay, limit):
                self._replay.refresh()
                self._refreshed, self._limit = time.monotonic(), limit
        finally:
            self._refreshing.release()

    def _is_stale(self, replay: Replay, limit: int | None) -> bool:
        if limit is not None:
            return self._follows and limit != self._limit
        late = time.monotonic() - self._refreshed >= REFRESH_SECONDS
        return late or not len(replay.view())


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """How another process makes a source of its own: only what can be sent to it.

    Args:
        folder: The replay; None if there is none.
        replay: Its limits.
        seed: Seed of all draws.
        sampling: How sequences are drawn.
        relabeler: Named, not built.
        dataset: Named, not built; None if there is none.
        context_length: Most transitions of a sequence.
        observation_space: Of the environment, as it declares it; None where there is none.
        action_space: Of the environment, as it declares it; None where there is none.
        shape: As in `BatchSource`.
        environment: What users call the environment; empty where there is none.
        goal_oracle: Its ``with_goals``, for hindsight relabeling; None if it has none.
        columns: What relabelers will find; None where that is not known.
    """

    folder: Path | None
    replay: ReplaySpec
    seed: int
    sampling: SamplingSpec
    relabeler: Part[Any]
    dataset: Part[Any] | None
    context_length: int
    observation_space: spaces.Space[Any] | None
    action_space: spaces.Space[Any] | None
    shape: BatchShape
    environment: str = ""
    goal_oracle: GoalOracle | None = None
    columns: Mapping[str, tuple[int, ...]] | None = None

    def make(self, note: Callable[[str], None]) -> BatchSource:
        """Build the parts and open the replay; what is found damaged is noted."""
        replay = None
        if self.folder is not None:
            limits = self.replay
            replay = Replay(self.folder, limits.capacity, limits.timesteps, limits.bytes, note=note)
        relabeler = build_relabeler(
            self.relabeler, self._forms, self.goal_oracle, self.environment, self.columns
        )
        dataset = None if self.dataset is None else self._build(self.dataset, self._context())
        return BatchSource(self.sampler(replay, relabeler, dataset), self.shape, replay, follows=True)

    def sampler(self, replay: Replay | None, relabeler: Relabeler, dataset: Dataset | None) -> Sampler:
        """Return what draws slices, with parts that are built."""
        forms = self._forms
        relabeler = CheckedRelabeler(relabeler, self.relabeler.use, forms)
        if dataset is not None:
            assert self.dataset is not None
            dataset = CheckedDataset(dataset, self.dataset.use, forms)
        return Sampler(replay, self.seed, self.context_length, relabeler, dataset, self.sampling)

    @property
    def _forms(self) -> TrajectoryChecker:
        return TrajectoryChecker(self.shape.observation_space, self.shape.action_space)

    def _context(self) -> DatasetContext:
        return DatasetContext(
            context_length=self.context_length,
            observation_space=self.observation_space,
            action_space=self.action_space,
            build=self._build,
        )

    @staticmethod
    def _build(part: Part[Any], context: DatasetContext) -> Any:
        with part_errors(part.kind, part.use, "building it"):
            return part.build(context)
