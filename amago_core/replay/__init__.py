"""The replay buffer: trajectories on disk, written in shards, memory-mapped, sampled reproducibly.

A trajectory becomes a file in :mod:`amago_core.replay.writer`; the file is laid out in
:mod:`amago_core.replay.shard_format` and named in :mod:`amago_core.replay.shard_name`. Training slices
are drawn in :mod:`amago_core.replay.sampler`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.replay.inspection import verify
    from amago_core.replay.protected import protect
    from amago_core.replay.replay import Replay
    from amago_core.replay.replay_errors import (
        DamagedShardError,
        NothingStoredError,
        ReplayError,
        TrajectoryError,
        TrajectoryGoneError,
    )
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
        "DamagedShardError": "replay_errors",
        "NothingStoredError": "replay_errors",
        "Replay": "replay",
        "ReplayError": "replay_errors",
        "ReplayWriter": "writer",
        "Sampler": "sampler",
        "TrajectoryError": "replay_errors",
        "TrajectoryGoneError": "replay_errors",
        "ReplayView": "view",
        "protect": "protected",
        "verify": "inspection",
    },
)


def __dir__() -> list[str]:
    return __all__
