"""Several processes that learn together: rank 0 leads, the others take part in its updates.

Started by torchrun. Rank 0 owns the run's folder, collects, evaluates, saves and reports. Before the
updates of a round it tells the others how many there are and which trajectories count as stored; then
every rank draws the same batches, learns from its share of them, and gradients are added up.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from amago_core.checkpoints import CheckpointStore
from amago_core.learner import DivergedError, Learner
from amago_core.loading import make_loader
from amago_core.running.own import open_replay

if TYPE_CHECKING:
    from amago_core.compose import Composition
    from amago_core.replay import Replay
    from amago_core.run_dir import RunDir
    from amago_core.running.experience import Experience, Metrics, Tick
    from amago_core.spec import RunSpec
    from amago_core.tensor_trees import TensorTree

_PATIENCE = timedelta(days=7)
"""The others wait while rank 0 collects and evaluates, which may take any time."""
_BEGIN, _UPDATE, _STOP = 0, 1, 2
_NO_LIMIT = -1


@contextmanager
def together(ranks: int) -> Iterator[int]:
    """Join the processes that learn together; give this one's rank.

    Args:
        ranks: How many there are; with 1 there is nobody to join.
    """
    if ranks == 1:
        yield 0
        return
    # This module keeps the process group of the moment it is imported as its functions' default. torch
    # imports it with the first optimiser: the group's threads would then outlive its end.
    import torch.distributed.nn.functional

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def _tell(command: int, updates: int = 0, limit: int = 0) -> None:
    dist.broadcast(torch.tensor([command, updates, limit]), src=0)


def _hear() -> tuple[int, int, int]:
    told = torch.zeros(3, dtype=torch.int64)
    dist.broadcast(told, src=0)
    command, updates, limit = told.tolist()
    return command, updates, limit


class LeadingExperience:
    """Experience of rank 0, which tells the others before each round's updates.

    Args:
        experience: Where trajectories come from.
        updates: Of a round.
    """

    def __init__(self, experience: Experience, updates: int) -> None:
        self._own, self._updates = experience, updates

    @property
    def replay(self) -> Replay | None:
        """As the experience has it."""
        return self._own.replay

    @property
    def env_steps(self) -> int:
        """As the experience has it."""
        return self._own.env_steps

    @property
    def stored(self) -> int:
        """As the experience has it."""
        return self._own.stored

    @property
    def limit(self) -> int | None:
        """As the experience has it."""
        return self._own.limit

    @property
    def cpu_seconds(self) -> float:
        """As the experience has it."""
        return self._own.cpu_seconds

    def begin(self) -> None:
        """As the experience has it."""
        self._own.begin()

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """As the experience has it."""
        return self._own.state(acting=acting)

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """As the experience has it."""
        self._own.restore(acting, facts)

    def collect(self, tick: Tick) -> None:
        """As the experience has it."""
        self._own.collect(tick)

    def fault(self) -> None:
        """As the experience has it."""
        self._own.fault()

    def turn(self, rounds: int, slots: int, update: int) -> bool:
        """Ask the experience; where there is something to learn from, all ranks do."""
        something = self._own.turn(rounds, slots, update)
        if something and slots == 0 and self._updates:
            limit = _NO_LIMIT if self.limit is None else self.limit
            _tell(_UPDATE, self._updates, limit)
        return something

    def updated(self, rounds: int, slots: int, update: int) -> None:
        """As the experience has it."""
        self._own.updated(rounds, slots, update)

    def metrics(self) -> Metrics:
        """As the experience has it."""
        return self._own.metrics()

    def evict(self, oldest: int) -> None:
        """As the experience has it."""
        self._own.evict(oldest)

    def close(self) -> None:
        """As the experience has it."""
        self._own.close()


def lead() -> None:
    """Let the other ranks take over the newest checkpoint, which is now that of rank 0."""
    _tell(_BEGIN)


def dismiss() -> None:
    """Let the other ranks go; those that have failed by themselves are gone already."""
    with suppress(RuntimeError):
        _tell(_STOP)


def follow(spec: RunSpec, folder: RunDir, parts: Composition, note: Callable[[str], None]) -> int:
    """Take part in the updates of rank 0 until it says stop; return how many there were in the run.

    Args:
        spec: The resolved spec.
        folder: Of the run.
        parts: The composed parts.
        note: Shows one sentence to the user.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # Rank 0 decides what they mean.
    if _hear()[0] == _STOP:
        return 0
    learner = Learner(parts.agent, parts.objective, spec.training, spec.running)
    _take_over(folder, parts, learner)
    replay = open_replay(spec, folder, note) if spec.training.steps_per_round else None
    loader = make_loader(spec, parts, replay, note)
    try:
        while True:
            command, updates, limit = _hear()
            if command == _STOP:
                return learner.updates
            if replay is not None:
                replay.refresh()
            counted = None if limit == _NO_LIMIT else limit
            for batches in loader.round(learner.updates, updates, counted):
                learner.update(*batches)
    except DivergedError:
        # Rank 0 has found the same, and saves and says it; it says stop in closing.
        _hear()
        return learner.updates
    finally:
        loader.close()


def _take_over(folder: RunDir, parts: Composition, learner: Learner) -> None:
    store = CheckpointStore(folder.checkpoints, keep=1)
    checkpoint, _ = store.survey()
    assert checkpoint is not None, "rank 0 has saved before it says begin"
    tensors, facts = store.load(checkpoint)
    parts.agent.load_state_dict(tensors["model"])
    learner.load_state(tensors["learner"], facts["learner"])
