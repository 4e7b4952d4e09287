"""Write the trajectories of a collector as shards, several at a time."""

from __future__ import annotations

from pathlib import Path

from amago_core.replay import ReplayWriter
from amago_core.running.processes.rate_limit import RateLimiter
from amago_registry.trajectories import Trajectory


class ShardBuffer:
    """Buffers the trajectories of one collector and writes them to the replay as shards.

    Args:
        replay: Folder of the replay.
        name: The collector's name, which its shards bear.
        limiter: Decides how many steps lie between two shards.
        steps: Steps that each of its environments has taken before.
    """

    def __init__(self, replay: Path, name: str, limiter: RateLimiter, steps: int) -> None:
        self._writer = ReplayWriter(replay, name)
        self._limiter, self._steps, self._flushed_at = limiter, steps, steps

    @property
    def waiting(self) -> int:
        """Number of buffered trajectories: ended, and not stored yet."""
        return self._writer.pending

    def append(self, trajectory: Trajectory) -> None:
        """Buffer a copy of a trajectory that has ended."""
        self._writer.append(trajectory)

    def advance(self, steps: int, update: int) -> None:
        """Write a shard if one is due; the first trajectories are written at once.

        Args:
            steps: Steps that each of the collector's environments has taken by now.
            update: Updates after which the acting weights were published; it names the shard.
        """
        self._steps = steps
        due = steps - self._flushed_at >= self._limiter.steps_per_shard
        if due or not self._writer.stored:
            self.flush(update)

    def flush(self, update: int) -> None:
        """Write all buffered trajectories as a shard."""
        self._writer.flush(update)
        self._flushed_at = self._steps
