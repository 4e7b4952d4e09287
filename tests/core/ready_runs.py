"""Make run folders with checkpoints quickly, for tests: their weights are constants, not trained."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from toys import tiny

from amago_core.compose.networks import compose_agent
from amago_core.compose.tasks import compose_task
from amago_core.run_folder.checkpoints import STATE, CheckpointStore, _seal, read_checkpoint
from amago_core.run_folder.run_dir import RunDir
from amago_core.spec import load_spec
from amago_core.system.tensor_tree import TensorTree


def create_run(path: Path) -> RunDir:
    """Make the folder of a run of the tiny spec, without a checkpoint."""
    spec, folder = load_spec(tiny()), RunDir(path)
    folder.create(spec, compose_task(spec.environment, 0))
    return folder


def ready(run: Path, rounds: tuple[int, ...] = (0, 2, 4), **changes: Any) -> Path:
    """Make a run of the tiny spec with checkpoints of given rounds; return its folder.

    Every weight of the checkpoint of round n is n. ``environment`` may be a class, for a local one.
    """
    make = changes["environment"] if callable(changes.get("environment")) else None
    if make is not None:
        changes["environment"] = None
    spec = load_spec(tiny(**changes), local_environment=True)
    task = compose_task(spec.environment, spec.seed, make)
    RunDir(run).create(spec, task)
    for number in rounds:
        model = compose_agent(spec.agent, task).state_dict()
        tensors: TensorTree = {name: torch.full_like(x, number) for name, x in model.items()}
        store(run).save(number, 10 * number, {"model": tensors, "learner": {}}, {"mean_return": 0.5})
    return run


def weights(run: Path) -> dict[str, Any]:
    """Return random weights that fit the agent of a run."""
    spec = load_spec(run / "spec.yaml")
    task = compose_task(spec.environment, spec.seed)
    return dict(compose_agent(spec.agent, task).state_dict())


def store(run: Path) -> CheckpointStore:
    """Return the checkpoint store of a run."""
    return CheckpointStore(run / "checkpoints", keep=9)


def checkpoint(run: Path, number: int) -> Path:
    """Return the folder of the checkpoint of a round."""
    return run / "checkpoints" / f"round-{number:08}"


def truncate(path: Path) -> None:
    """Truncate a file to half its size."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def forge(
    folder: Path, model: bytes, change: Callable[[dict[str, Any]], None] = lambda _: None
) -> None:
    """Replace the weights of a checkpoint by other bytes, with valid checksums."""
    (folder / "model.safetensors").write_bytes(model)
    there = read_checkpoint(folder)
    state = {
        "format": 1,
        "round": there.round,
        "update": there.update,
        "parts": {"model": zlib.crc32(model)},
        "facts": there.facts,
    }
    change(state)
    (folder / STATE).write_bytes(_seal(state))
