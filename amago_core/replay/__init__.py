"""Trajectories on disk: written in shards, read through memory maps, sampled reproducibly."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amago_core.replay.errors import (
        DamagedShardError,
        NothingStoredError,
        ReplayError,
        TrajectoryError,
        TrajectoryGoneError,
    )
    from amago_core.replay.reader import Replay
    from amago_core.replay.sampler import Sampler
    from amago_core.replay.trajectory import Slice, Trajectory
    from amago_core.replay.writer import ReplayWriter

__all__ = [
    "DamagedShardError",
    "NothingStoredError",
    "Replay",
    "ReplayError",
    "ReplayWriter",
    "Sampler",
    "Slice",
    "Trajectory",
    "TrajectoryError",
    "TrajectoryGoneError",
]

_MODULES = {
    "Replay": "reader",
    "ReplayWriter": "writer",
    "Sampler": "sampler",
    "Slice": "trajectory",
    "Trajectory": "trajectory",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
