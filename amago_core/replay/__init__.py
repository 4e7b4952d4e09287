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
    from amago_core.replay.protecting import protect
    from amago_core.replay.reader import Replay
    from amago_core.replay.sampler import Sampler
    from amago_core.replay.verifying import verify
    from amago_core.replay.views import View
    from amago_core.replay.writer import ReplayWriter

__all__ = [
    "DamagedShardError",
    "NothingStoredError",
    "Replay",
    "ReplayError",
    "ReplayWriter",
    "Sampler",
    "TrajectoryError",
    "TrajectoryGoneError",
    "View",
    "protect",
    "verify",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "DamagedShardError": "errors",
        "NothingStoredError": "errors",
        "Replay": "reader",
        "ReplayError": "errors",
        "ReplayWriter": "writer",
        "Sampler": "sampler",
        "TrajectoryError": "errors",
        "TrajectoryGoneError": "errors",
        "View": "views",
        "protect": "protecting",
        "verify": "verifying",
    },
)


def __dir__() -> list[str]:
    return __all__
