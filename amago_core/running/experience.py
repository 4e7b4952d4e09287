"""Where the trajectories of a run come from, as its learner sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from amago_core.replay import Replay

if TYPE_CHECKING:
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.spec import RunSpec
    from amago_core.system.tensor_tree import TensorTree


Metrics = dict[str, float | int | str | None]

Tick = Callable[[str, int, int], None]


class ExperienceSource(Protocol):
    """What a learner asks of the source of its trajectories."""

    @property
    def replay(self) -> Replay | None:
        """Where they are stored; None if there is only a dataset."""

    @property
    def env_steps(self) -> int:
        """Steps of all environments together, since the run began."""

    @property
    def stored(self) -> int:
        """Trajectories stored since the run began."""

    @property
    def limit(self) -> int | None:
        """Trajectories that count as stored in this round; None for all that are there."""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of other processes that collect, since the run began."""

    def begin(self) -> None:
        """Begin a run; what an earlier one may have left is not learned from."""

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return what must be stored to go on: tensors of the acting state, and facts for JSON."""

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Go on from a stored state."""

    def collect(self, tick: Tick) -> None:
        """Do what comes before the updates of a round."""

    def fault(self) -> None:
        """Store what can be stored after an environment has failed."""

    def wait_for_data(self, rounds: int, slots: int, update: int) -> bool:
        """Wait until the learner may go on; return whether there is anything to learn from.

        Args:
            rounds: Rounds done.
            slots: Slots of the present round done; see
                :class:`amago_core.running.processes.rate_limit.RateLimiter`.
            update: Updates done.
        """

    def after_update(self, rounds: int, slots: int, update: int) -> None:
        """Called after every update and passed slot, and before the first one."""

    def metrics(self) -> Metrics:
        """Return what a round's metrics say of the trajectories that ended since last asked."""

    def evict(self, oldest: int) -> None:
        """Remove from the disk what no kept checkpoint can sample.

        Args:
            oldest: Trajectories that were stored at the oldest kept checkpoint.
        """

    def close(self) -> None:
        """Close the environments."""


class NoExperience:
    """Steps no environment and stores nothing."""

    def __init__(self) -> None:
        self.replay = None
        self.env_steps, self.stored, self.cpu_seconds = 0, 0, 0.0
        self.limit: int | None = 0

    def begin(self) -> None:
        """Nothing to begin."""

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return nothing."""
        return None, {}

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def collect(self, tick: Tick) -> None:
        """Nothing to collect."""

    def fault(self) -> None:
        """Nothing to store."""

    def wait_for_data(self, rounds: int, slots: int, update: int) -> bool:
        """Return that there is something to learn from: the dataset."""
        return True

    def after_update(self, rounds: int, slots: int, update: int) -> None:
        """Nobody waits for the learner."""

    def metrics(self) -> Metrics:
        """Return no numbers: no trajectory ends."""
        return {"return": None, "success": None, "length": None}

    def evict(self, oldest: int) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing to close."""


if TYPE_CHECKING:

    def _satisfies_the_protocol(experience: NoExperience) -> ExperienceSource:
        return experience


def open_replay(spec: RunSpec, folder: RunDir, note: Callable[[str], None]) -> Replay:
    """Return the replay of a run, with the limits of its spec."""
    limits = spec.replay
    return Replay(folder.replay, limits.capacity, limits.timesteps, limits.bytes, note=note)
