"""Several processes that learn together: rank 0 leads, the others take part in its updates.

Started by torchrun. Rank 0 owns the run's folder, collects, evaluates, saves and reports. Before the
updates of a round it tells the others how many there are and which trajectories count as stored; then
every rank draws the same batches, learns from its share of them, and gradients are added up.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from amago_core.learning.learner import DivergedError, Learner
from amago_core.learning.loader import make_loader
from amago_core.run_folder.checkpoints import CheckpointStore
from amago_core.running.experience import open_replay

if TYPE_CHECKING:
    from amago_core.compose.build import Composition
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.spec import RunSpec


COLLECTIVE_TIMEOUT = timedelta(days=7)
"""The others wait while rank 0 collects and evaluates, which may take any time."""

_BEGIN, _UPDATE, _STOP = 0, 1, 2

_NO_LIMIT = -1


@contextmanager
def process_group(ranks: int) -> Iterator[int]:
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
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=COLLECTIVE_TIMEOUT)
    else:
        dist.init_process_group("gloo", timeout=COLLECTIVE_TIMEOUT)
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def _send_command(command: int, updates: int = 0, limit: int = 0) -> None:
    dist.broadcast(torch.tensor([command, updates, limit]), src=0)


def _receive_command() -> tuple[int, int, int]:
    told = torch.zeros(3, dtype=torch.int64)
    dist.broadcast(told, src=0)
    command, updates, limit = told.tolist()
    return command, updates, limit


def announce_updates(updates: int, limit: int | None) -> None:
    """Have the other ranks take part in the updates of a round.

    Args:
        updates: How many there are.
        limit: Trajectories that count as stored; None for all.
    """
    _send_command(_UPDATE, updates, _NO_LIMIT if limit is None else limit)


def start_ranks() -> None:
    """Let the other ranks take over the newest checkpoint, which is now that of rank 0."""
    _send_command(_BEGIN)


def stop_ranks() -> None:
    """Let the other ranks go; those that have failed by themselves are gone already."""
    with suppress(RuntimeError):
        _send_command(_STOP)


def run_rank(spec: RunSpec, folder: RunDir, parts: Composition, note: Callable[[str], None]) -> int:
    """Take part in the updates of rank 0 until it says stop; return how many there were in the run.

    Args:
        spec: The resolved spec.
        folder: Of the run.
        parts: The composed parts.
        note: Shows one sentence to the user.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # Rank 0 decides what they mean.
    if _receive_command()[0] == _STOP:
        return 0
    learner = Learner(parts.agent, parts.objective, spec.training, spec.running)
    _load_checkpoint(folder, parts, learner)
    replay = open_replay(spec, folder, note) if spec.training.steps_per_round else None
    loader = make_loader(
        spec,
        parts.task,
        replay,
        relabeler=parts.relabeler,
        dataset=parts.dataset,
        device=parts.agent.device,
        note=note,
    )
    try:
        while True:
            command, updates, limit = _receive_command()
            if command == _STOP:
                return learner.updates
            if replay is not None:
                replay.refresh()
            counted = None if limit == _NO_LIMIT else limit
            for batches in loader.round(learner.updates, updates, counted):
                learner.update(*batches)
    except DivergedError:
        # Rank 0 has found the same, and saves and says it; it says stop in closing.
        _receive_command()
        return learner.updates
    finally:
        loader.close()


def _load_checkpoint(folder: RunDir, parts: Composition, learner: Learner) -> None:
    store = CheckpointStore(folder.checkpoints, keep=1)
    checkpoint, _ = store.find_latest()
    assert checkpoint is not None, "rank 0 has saved before it says begin"
    tensors, facts = store.load(checkpoint)
    parts.agent.load_state_dict(tensors["model"])
    learner.load_state(tensors["learner"], facts["learner"])
