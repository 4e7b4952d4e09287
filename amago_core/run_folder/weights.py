"""Choose a checkpoint of a run (newest, best, round or path) and read its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from amago_core.run_folder.checkpoints import (
    BEST,
    STATE,
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    read_checkpoint,
    read_part,
    warn_skipped,
)
from amago_core.run_folder.run_dir import RunDir
from amago_registry.errors import did_you_mean

NEWEST = "newest"

MODEL = "model"
"""The part of a checkpoint that holds the agent's weights; loading an agent needs no other part."""

_MAX_TRIES = 5


@dataclass(frozen=True, eq=False)
class Weights:
    """The state dict of an agent, read from a checkpoint.

    Args:
        source: Path of the run or the checkpoint, as the user wrote it.
        round: Training rounds of the agent.
        update: Updates of the agent.
        tensors: The state dict, on the CPU.
    """

    source: str
    round: int
    update: int
    tensors: Mapping[str, Tensor]


def weights_of(run: RunDir, which: str | int | Path = NEWEST) -> Weights:
    """Read the weights of one of a run's checkpoints.

    Args:
        run: The run's folder.
        which: ``newest``, ``best``, the number of a round, or the folder of a checkpoint: its name in
            the run, or a path. Only ``newest`` falls back to the checkpoint before it where one is
            damaged, with a warning.

    Raises:
        CheckpointError: If there is no such checkpoint, or it is damaged.
    """
    for tries_left in reversed(range(_MAX_TRIES)):
        checkpoint = _find(run, which)
        try:
            return read_weights_in(checkpoint, str(checkpoint.path))
        except CheckpointError:
            # A run that is still training may have deleted it since it was listed: choose again.
            if checkpoint.path.exists() or not tries_left:
                raise
    raise AssertionError


def read_weights_in(checkpoint: Checkpoint, source: str) -> Weights:
    """Read the weights of a checkpoint.

    Raises:
        CheckpointError: If they are missing or damaged.
    """
    tree = read_part(checkpoint, MODEL)
    nested = [name for name, node in tree.items() if not isinstance(node, Tensor)]
    if nested:
        raise CheckpointError(
            f"the checkpoint {checkpoint.path} is damaged: '{nested[0]:.60}' is not a tensor"
        )
    return Weights(source, checkpoint.round, checkpoint.update, cast("Mapping[str, Tensor]", tree))


def checkpoint_at(path: Path) -> Checkpoint | None:
    """Return the checkpoint in a folder, or in ``checkpoints/best`` of a run; None if it is neither.

    Raises:
        CheckpointError: If it is damaged.
    """
    if (path / STATE).is_file():
        return read_checkpoint(path)
    if path.name == BEST and path.is_dir():
        return CheckpointStore(path.parent, keep=1).best()
    return None


def _find(run: RunDir, which: str | int | Path) -> Checkpoint:
    store = CheckpointStore(run.checkpoints, keep=1)
    if which == NEWEST:
        return _newest(run, store)
    if which == BEST:
        return _best(run, store)
    if isinstance(which, int) or (isinstance(which, str) and which.isdecimal()):
        return _of_round(run, store, int(which))
    for path in (run.checkpoints / which, Path(which)):
        found = checkpoint_at(path)
        if found is not None:
            return found
    words = [NEWEST, BEST, *(path.name for path in run.checkpoints.glob("round-*"))]
    raise CheckpointError(
        f"{run.path} has no checkpoint '{which}', and there is none at that path."
        f"{did_you_mean(str(which), words)} {_choices(store)}"
    )


def _newest(run: RunDir, store: CheckpointStore) -> Checkpoint:
    checkpoint, reasons = store.find_latest({MODEL})
    if checkpoint is not None:
        warn_skipped(checkpoint, reasons)
        return checkpoint
    if not reasons:
        raise CheckpointError(f"{run.path} holds no checkpoint.")
    listed = "".join(f"\n  {reason}" for reason in reasons)
    raise CheckpointError(f"{run.path} holds no intact checkpoint:{listed}")


def _best(run: RunDir, store: CheckpointStore) -> Checkpoint:
    checkpoint = store.best()
    if checkpoint is None:
        raise CheckpointError(
            f"{run.path} holds no intact checkpoint of a best evaluation; training saves one, "
            f"unless checkpoints.best is false or nothing was evaluated. {_choices(store)}"
        )
    return checkpoint


def _of_round(run: RunDir, store: CheckpointStore, number: int) -> Checkpoint:
    for checkpoint in reversed(store.kept()):
        if checkpoint.round == number:
            return checkpoint
    raise CheckpointError(f"{run.path} holds no checkpoint of round {number}. {_choices(store)}")


def _choices(store: CheckpointStore) -> str:
    rounds = [str(checkpoint.round) for checkpoint in store.kept()]
    best = [BEST] if store.best() is not None else []
    words = [*([NEWEST] if rounds else []), *best, *rounds]
    return f"Available: {', '.join(words) or 'none'}."
