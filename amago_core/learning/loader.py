"""The batch loader: prefetches the batches of updates, in order, in threads or processes.

Batches are packed in :mod:`amago_core.learning.packing`; what is drawn is decided in
:mod:`amago_core.learning.batch_source`.
"""

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

from amago_core.learning.batch import PackedBatch, to_device
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


_STOP_TIMEOUT_S = 2.0  # Seconds to wait for threads to end; one in which a part hangs does not.

Load = Callable[[int, int | None], list[PackedBatch]]
"""Loads the batches of an update, given the update and the limit; called from several threads."""


class Loader:
    """Loads the batches of successive updates, prefetched by threads.

    Each thread has up to ``prefetch`` updates ready or in progress. The contents of the batches do not
    depend on the number of threads or on prefetching.

    Args:
        load: Loads the batches of one update.
        workers: Number of threads; with 0, batches are loaded when they are needed.
        prefetch: Prefetched updates per thread.
        close: Called once when the loader is closed.
    """

    def __init__(
        self, load: Load, workers: int = 0, prefetch: int = 1, close: Callable[[], None] | None = None
    ) -> None:
        self._load, self._prefetch, self._close = load, workers * prefetch, close
        self._pending: deque[_Pending] = deque()
        self._requests: SimpleQueue[_Pending | None] = SimpleQueue()
        # Daemon threads, not an executor: at exit Python waits for an executor's threads, even if they
        # hang.
        self._threads = [
            Thread(target=_load_requests, args=(load, self._requests), name=f"loader-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def round(self, first_update: int, count: int, limit: int | None) -> Iterator[list[PackedBatch]]:
        """Yield the batches of ``count`` updates.

        Args:
            first_update: The first update of the round.
            count: Updates of the round.
            limit: Trajectories that count as stored in this round; then the next round's batches are
                not prefetched. None for all that are stored when a batch is drawn; then the next
                round's batches are prefetched too.

        Raises:
            AmagoError: Any error of loading, raised when the update's batches are due.
        """
        end = first_update + count
        if not self._threads:
            yield from (self._load(update, limit) for update in range(first_update, end))
            return
        if self._pending and self._pending[0].key != (first_update, limit):
            self._discard_pending()
        for update in range(first_update, end):
            self._request(1, update, end, limit)
            due = self._pending.popleft()
            self._request(self._prefetch, update + 1, end, limit)
            yield due.batches.result()

    def close(self) -> None:
        """Stop all threads and discard their batches; a thread in which a part hangs is abandoned."""
        self._discard_pending()
        if self._close is not None:
            self._close()
            self._close = None
        for _ in self._threads:
            self._requests.put(None)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []

    def _request(self, count: int, update: int, end: int, limit: int | None) -> None:
        """Request ``count`` updates from ``update`` on; with a limit, none from ``end`` on."""
        while len(self._pending) < count:
            following = self._pending[-1].key[0] + 1 if self._pending else update
            if limit is not None and following >= end:
                return
            self._pending.append(_Pending((following, limit)))
            self._requests.put(self._pending[-1])

    def _discard_pending(self) -> None:
        for pending in self._pending:
            pending.batches.cancel()
        self._pending.clear()


@dataclass(frozen=True, slots=True)
class _Pending:
    """Requested batches: the key is their update and limit."""

    key: tuple[int, int | None]
    batches: Future[list[PackedBatch]] = field(default_factory=Future)


def _load_requests(load: Load, requests: SimpleQueue[_Pending | None]) -> None:
    """Load requested batches until a request is None."""
    while (pending := requests.get()) is not None:
        if pending.batches.set_running_or_notify_cancel():
            try:
                pending.batches.set_result(load(*pending.key))
            except BaseException as error:
                pending.batches.set_exception(error)
        del pending  # Or its batches would stay in memory until the next request.


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
    """Return the loader of a spec, with threads or processes; the caller closes it.

    Args:
        spec: The resolved spec.
        task: The task of the trajectories.
        replay: The replay to sample from; None for the dataset alone. Rounds without a limit see new
            trajectories after a second at the latest.
        relabeler: Rewrites sampled trajectories.
        dataset: The dataset to sample from beside the replay; None for the replay alone.
        device: Device of the batches.
        note: Shows the user one sentence; called from threads.

    Raises:
        AmagoError: If a batch has fewer sequences than there are data-parallel processes.
        LoaderError: If the configuration cannot be sent to loader processes.
    """
    shape, sampling = _batch_shape(spec, task), spec.sampling
    config = _source_config(spec, task, replay, shape)
    if sampling.loader == "process":
        pool = LoaderPool(config, sampling.workers, note)
        load = _load_to(device, pool.batches)
        return Loader(load, sampling.workers, sampling.prefetch, pool.close)
    sampler = config.sampler(replay, relabeler, dataset)
    load = _load_to(device, BatchSource(sampler, shape, replay).batches)
    return Loader(load, 0 if sampling.loader == "none" else sampling.workers, sampling.prefetch)


def _load_to(device: torch.device, source: Callable[[int, int | None], list[PackedArrays]]) -> Load:
    def load(update: int, limit: int | None) -> list[PackedBatch]:
        return [to_device(arrays, device) for arrays in source(update, limit)]

    return load


def _batch_shape(spec: RunSpec, task: Task) -> BatchShape:
    batch, accumulate = spec.training.batch, spec.training.accumulate
    if batch < ranks():
        raise AmagoError(
            f"training.batch is {batch}, and each of {ranks()} data-parallel processes needs at least "
            f"one sequence: write training.batch={ranks()} or more."
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
