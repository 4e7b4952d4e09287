"""When a collector's trajectories become shards."""

from __future__ import annotations

from pathlib import Path

from amago_core.replay import ReplayWriter
from amago_core.running.processes.rate_limit import RateLimiter
from amago_registry.trajectories import Trajectory


class ShardBuffer:
    """Stores what one collector collects, a shard now and then.

    Args:
        replay: Folder of the replay.
        name: The collector's.
        limiter: Says how many steps lie between two shards.
        steps: That each of its environments has taken before.
    """

    def __init__(self, replay: Path, name: str, limiter: RateLimiter, steps: int) -> None:
        self._writer = ReplayWriter(replay, name)
        self._limiter, self._steps, self._flushed_at = limiter, steps, steps

    @property
    def waiting(self) -> int:
        """Trajectories that have ended and are not stored yet."""
        return self._writer.pending

    def append(self, trajectory: Trajectory) -> None:
        """Take a copy of a trajectory that has ended."""
        self._writer.append(trajectory)

    def advance(self, steps: int, update: int) -> None:
        """Store what has ended if that is due, and the very first at once.

        Args:
            steps: That each of the collector's environments has taken by now.
            update: After which the weights that act were published.
        """
        self._steps = steps
        due = steps - self._flushed_at >= self._limiter.steps_per_shard
        if due or not self._writer.stored:
            self.flush(update)

    def flush(self, update: int) -> None:
        """Store all that has ended."""
        self._writer.flush(update)
        self._flushed_at = self._steps
