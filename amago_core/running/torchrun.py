"""Data-parallel training under torchrun: rank 0 runs the training loop, all ranks share its updates.

Rank 0 owns the run's folder, collects, evaluates, saves and reports. Before the updates of a round it
broadcasts how many there are and how many trajectories count as stored. Then every rank draws the
same batches and learns from its share of them, and gradients are summed over the ranks.
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
"""Long, because the other ranks wait in a collective while rank 0 collects and evaluates."""

_BEGIN, _UPDATE, _STOP = 0, 1, 2

_NO_LIMIT = -1


@contextmanager
def process_group(ranks: int) -> Iterator[int]:
    """Join the data-parallel process group; yield this process's rank.

    Args:
        ranks: Number of processes; with 1 there is no group to join.
    """
    if ranks == 1:
        yield 0
        return
    # This module stores the current process group as a default argument when it is imported. torch
    # imports it with the first optimizer; imported then, it would keep the group's threads alive.
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
    message = torch.zeros(3, dtype=torch.int64)
    dist.broadcast(message, src=0)
    command, updates, limit = message.tolist()
    return command, updates, limit


def announce_updates(updates: int, limit: int | None) -> None:
    """Broadcast the updates of a round, so that the other ranks take part.

    Args:
        updates: Their number.
        limit: Trajectories that count as stored in this round; None for all.
    """
    _send_command(_UPDATE, updates, _NO_LIMIT if limit is None else limit)


def start_ranks() -> None:
    """Let the other ranks load the newest checkpoint, which rank 0 has just restored or saved."""
    _send_command(_BEGIN)


def stop_ranks() -> None:
    """Stop the other ranks; ignore the error if some have failed and are gone."""
    with suppress(RuntimeError):
        _send_command(_STOP)


def run_rank(spec: RunSpec, folder: RunDir, parts: Composition, note: Callable[[str], None]) -> int:
    """Run a rank other than 0: take part in updates until rank 0 stops; return the run's update count.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        parts: The composed parts.
        note: Shows one sentence to the user.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # Rank 0 handles them for all ranks.
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
            stored = None if limit == _NO_LIMIT else limit
            for batches in loader.round(learner.updates, updates, stored):
                learner.update(*batches)
    except DivergedError:
        # Rank 0 has raised the same error; it saves, reports, and sends stop when it closes.
        _receive_command()
        return learner.updates
    finally:
        loader.close()


def _load_checkpoint(folder: RunDir, parts: Composition, learner: Learner) -> None:
    store = CheckpointStore(folder.checkpoints, keep=1)
    checkpoint, _ = store.find_latest()
    assert checkpoint is not None, "rank 0 saves a checkpoint before it sends begin"
    tensors, facts = store.load(checkpoint)
    parts.agent.load_state_dict(tensors["model"])
    learner.load_state(tensors["learner"], facts["learner"])
