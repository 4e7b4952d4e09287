"""Trajectories on disk: written in shards, read through memory maps, sampled reproducibly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.replay.errors import (
        DamagedShardError,
        NothingStoredError,
        ReplayError,
        TrajectoryError,
        TrajectoryGoneError,
    )
    from amago_core.replay.inspection import verify
    from amago_core.replay.protected import protect
    from amago_core.replay.replay import Replay
    from amago_core.replay.sampler import Sampler
    from amago_core.replay.view import ReplayView
    from amago_core.replay.writer import ReplayWriter

__all__ = [
    "DamagedShardError",
    "NothingStoredError",
    "Replay",
    "ReplayError",
    "ReplayView",
    "ReplayWriter",
    "Sampler",
    "TrajectoryError",
    "TrajectoryGoneError",
    "protect",
    "verify",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "DamagedShardError": "errors",
        "NothingStoredError": "errors",
        "Replay": "replay",
        "ReplayError": "errors",
        "ReplayWriter": "writer",
        "Sampler": "sampler",
        "TrajectoryError": "errors",
        "TrajectoryGoneError": "errors",
        "ReplayView": "view",
        "protect": "protected",
        "verify": "inspection",
    },
)


def __dir__() -> list[str]:
    return __all__
