"""The learner's side of loading: rounds of batches, in order, made while it is busy with others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from amago_core.learning.batch import PackedBatch, tensors
from amago_core.learning.batch_source import BatchShape, BatchSource, SourceConfig
from amago_core.learning.loader_process import LoaderPool
from amago_core.learning.relabeling import goal_oracle_of
from amago_registry.errors import AmagoError
from amago_registry.ranks import ranks

if TYPE_CHECKING:
    from amago_core.acting.task import Task
    from amago_core.learning.packing import PackedArrays
    from amago_core.replay import Replay
    from amago_core.spec import RunSpec
    from amago_registry.protocols import Dataset, Relabeler


_STOP_TIMEOUT_S = 2.0  # Seconds in which a thread that was told to end does, unless a part hangs.

Load = Callable[[int, int | None], list[PackedBatch]]
"""Makes the batches of an update from as many trajectories; may be called from several threads."""


class Loader:
    """Gives out the batches of each update in turn.

    Every worker has up to ``prefetch`` updates ready or under way. What the batches of an update are
    does not depend on how they are made.

    Args:
        load: Makes the batches of one update.
        workers: Threads that call it; 0 calls it when the batches are asked for.
        prefetch: Updates per worker.
        close: Called once when the loader is closed.
    """

    def __init__(
        self, load: Load, workers: int = 0, prefetch: int = 1, close: Callable[[], None] | None = None
    ) -> None:
        self._load, self._prefetch, self._close = load, workers * prefetch, close
        self._pending: deque[_Pending] = deque()
        self._orders: SimpleQueue[_Pending | None] = SimpleQueue()
        # Not an executor's: Python waits for those when it ends, whatever they are at.
        self._threads = [
            Thread(target=_work, args=(load, self._orders), name=f"loader-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def round(self, first_update: int, count: int, limit: int | None) -> Iterator[list[PackedBatch]]:
        """Yield the batches of ``count`` updates.

        Args:
            first_update: The first of them.
            count: Updates of the round.
            limit: Trajectories that count as stored in this round; nothing is drawn ahead of the next
                one. None for whatever is there when batches are drawn; then they are drawn ahead of the
                next round too.

        Raises:
            AmagoError: Whatever goes wrong in drawing, where the update's batches are due.
        """
        end = first_update + count
        if not self._threads:
            yield from (self._load(update, limit) for update in range(first_update, end))
            return
        if self._pending and self._pending[0].wanted != (first_update, limit):
            self._drop()
        for update in range(first_update, end):
            self._order(1, update, end, limit)
            due = self._pending.popleft()
            self._order(self._prefetch, update + 1, end, limit)
            yield due.batches.result()

    def close(self) -> None:
        """End all workers; what they are at is dropped, and a thread in which a part hangs is left."""
        self._drop()
        if self._close is not None:
            self._close()
            self._close = None
        for _ in self._threads:
            self._orders.put(None)
        patience = time.monotonic() + _STOP_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, patience - time.monotonic()))
        self._threads = []

    def _order(self, count: int, update: int, end: int, limit: int | None) -> None:
        """Have ``count`` updates in the making from ``update`` on; with a limit, none past the end."""
        while len(self._pending) < count:
            following = self._pending[-1].wanted[0] + 1 if self._pending else update
            if limit is not None and following >= end:
                return
            self._pending.append(_Pending((following, limit)))
            self._orders.put(self._pending[-1])

    def _drop(self) -> None:
        for pending in self._pending:
            pending.batches.cancel()
        self._pending.clear()


@dataclass(frozen=True, slots=True)
class _Pending:
    """Batches that are made, or going to be, of an update and a limit."""

    wanted: tuple[int, int | None]
    batches: Future[list[PackedBatch]] = field(default_factory=Future)


def _work(load: Load, orders: SimpleQueue[_Pending | None]) -> None:
    """Make what is ordered, until None is."""
    while (pending := orders.get()) is not None:
        if pending.batches.set_running_or_notify_cancel():
            try:
                pending.batches.set_result(load(*pending.wanted))
            except BaseException as error:
                pending.batches.set_exception(error)
        del pending  # Or its batches would stay in memory until the next order.


def make_loader(
    spec: RunSpec,
    task: Task,
    replay: Replay | None,
    *,
    relabeler: Relabeler,
    dataset: Dataset | None,
    device: torch.device,
    note: Callable[[str], None] = print,
) -> Loader:
    """Return the loader that a spec asks for; close it at the end.

    Args:
        spec: The resolved spec.
        task: What batches are of.
        replay: Where to draw from, beside the dataset; None for the dataset alone. Of one that is given
            with ``limit=None``, the loader sees new trajectories after a second at the latest.
        relabeler: Rewrites sampled trajectories.
        dataset: Where to draw from beside the replay; None for the replay alone.
        device: Where batches go.
        note: Shows the user one sentence; called from threads.

    Raises:
        AmagoError: If the batch cannot be shared out to the processes that train together.
        LoaderError: If loader processes cannot be given their work.
    """
    shape, sampling = _batch_shape(spec, task), spec.sampling
    config = _source_config(spec, task, replay, shape)
    if sampling.loader == "process":
        workers = LoaderPool(config, sampling.workers, note)
        load = _loading(workers.streams, device)
        return Loader(load, sampling.workers, sampling.prefetch, workers.close)
    sampler = config.sampler(replay, relabeler, dataset)
    load = _loading(BatchSource(sampler, shape, replay).streams, device)
    return Loader(load, 0 if sampling.loader == "none" else sampling.workers, sampling.prefetch)


def _loading(streams: Callable[[int, int | None], list[PackedArrays]], device: torch.device) -> Load:
    def load(update: int, limit: int | None) -> list[PackedBatch]:
        return [tensors(stream, device) for stream in streams(update, limit)]

    return load


def _batch_shape(spec: RunSpec, task: Task) -> BatchShape:
    batch, accumulate = spec.training.batch, spec.training.accumulate
    if batch < ranks():
        raise AmagoError(
            f"training.batch is {batch}, and {ranks()} processes train together: each needs at least "
            f"one sequence, so write training.batch={ranks()} or more."
        )
    return BatchShape(
        observation_space=task.observed,
        action_space=task.acted,
        batch=batch,
        accumulate=accumulate,
        rank=dist.get_rank() if ranks() > 1 else 0,
        ranks=ranks(),
    )


def _source_config(spec: RunSpec, task: Task, replay: Replay | None, shape: BatchShape) -> SourceConfig:
    acted = None if task.make is None else task
    return SourceConfig(
        folder=None if replay is None else replay.folder.absolute(),
        replay=spec.replay,
        seed=spec.seed,
        sampling=spec.sampling,
        relabeler=spec.relabeler,
        dataset=spec.dataset,
        context_length=spec.agent.context_length,
        observation_space=None if acted is None else acted.observation_space,
        action_space=None if acted is None else acted.action_space,
        shape=shape,
        environment="" if acted is None else acted.name,
        goal_oracle=None if acted is None else goal_oracle_of(acted),
        columns=None if acted is None or spec.dataset is not None else acted.columns,
    )
