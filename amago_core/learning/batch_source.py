"""Source of training batches: samples the slices of an update and packs them, as arrays.

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
"""Maximum age of the view of a replay when batches have no limit."""


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """Size and spaces of the batches of an update, and this process's rank.

    Args:
        observation_space: Canonical.
        action_space: Canonical.
        batch: Sequences per batch, all ranks included.
        accumulate: Batches per update.
        rank: Data-parallel rank of this process.
        ranks: Number of data-parallel processes.
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
        sampler: Samples slices.
        shape: Size and spaces of the batches.
        replay: The replay to refresh every `REFRESH_SECONDS` when batches have no limit; None if there
            is none.
        refresh_on_limit: Whether to refresh the replay also when the limit changes: needed where no
            other code of this process does.
    """

    def __init__(
        self,
        sampler: Sampler,
        shape: BatchShape,
        replay: Replay | None,
        *,
        refresh_on_limit: bool = False,
    ) -> None:
        self._sampler, self._shape, self._replay = sampler, shape, replay
        self._refresh_on_limit = refresh_on_limit
        self._limit: int | None = None
        self._refreshed = time.monotonic()
        self._refreshing = Lock()

    def batches(self, update: int, limit: int | None) -> list[PackedArrays]:
        """Return this rank's batches for an update.

        With a limit, the batches of all ranks together are those of a single process.

        Args:
            update: The update. The batches depend only on it, the seed and the visible trajectories.
            limit: Trajectories that count as stored; None for all that are.
        """
        self._refresh_if_stale(limit)
        shape = self._shape
        slices = self._sampler.sample(
            update, shape.batch * shape.accumulate, limit, rank=shape.rank, ranks=shape.ranks
        )
        # Slices come longest first: batches take them in turn, so that all have some of the long ones.
        in_turn = (slices[first :: shape.accumulate] for first in range(shape.accumulate))
        return [pack_arrays(batch, shape.action_space) for batch in in_turn]

    def _refresh_if_stale(self, limit: int | None) -> None:
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
            return self._refresh_on_limit and limit != self._limit
        expired = time.monotonic() - self._refreshed >= REFRESH_SECONDS
        return expired or not len(replay.view())


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Configuration of a `BatchSource` that another process builds; it can be pickled.

    Args:
        folder: Folder of the replay; None if there is none.
        replay: Limits of the replay.
        seed: Seed of all draws.
        sampling: How sequences are drawn.
        relabeler: The relabeler, not built yet.
        dataset: The dataset, not built yet; None if there is none.
        context_length: Maximum transitions of a sequence.
        observation_space: Of the environment, as it declares it; None where there is none.
        action_space: Of the environment, as it declares it; None where there is none.
        shape: As in `BatchSource`.
        environment: Name of the environment; empty where there is none.
        goal_oracle: Its ``with_goals``, for hindsight relabeling; None if it has none.
        columns: Columns of a trajectory, for relabelers; None where they are not known.
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
        """Build the batch source: build the parts, open the replay; damage is reported to ``note``."""
        replay = None
        if self.folder is not None:
            limits = self.replay
            replay = Replay(self.folder, limits.capacity, limits.timesteps, limits.bytes, note=note)
        relabeler = build_relabeler(
            self.relabeler, self._checker, self.goal_oracle, self.environment, self.columns
        )
        dataset = None if self.dataset is None else self._build(self.dataset, self._context())
        return BatchSource(
            self.sampler(replay, relabeler, dataset), self.shape, replay, refresh_on_limit=True
        )

    def sampler(self, replay: Replay | None, relabeler: Relabeler, dataset: Dataset | None) -> Sampler:
        """Return the sampler, given the built parts; their results are checked."""
        checker = self._checker
        relabeler = CheckedRelabeler(relabeler, self.relabeler.use, checker)
        if dataset is not None:
            assert self.dataset is not None
            dataset = CheckedDataset(dataset, self.dataset.use, checker)
        return Sampler(replay, self.seed, self.context_length, relabeler, dataset, self.sampling)

    @property
    def _checker(self) -> TrajectoryChecker:
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
