"""Sources of experience: the protocol through which a learner gets its trajectories."""

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
    """Source of a learner's trajectories: collects or waits for them, and owns the replay.

    ``SyncExperience`` collects in the learner's process, ``AsyncExperience`` reads what collector
    processes store, and :class:`NoExperience` leaves the learner with its dataset.
    """

    @property
    def replay(self) -> Replay | None:
        """The replay with the trajectories; None if there is only a dataset."""

    @property
    def env_steps(self) -> int:
        """Steps of all environments together, since the run began."""

    @property
    def stored(self) -> int:
        """Trajectories stored since the run began."""

    @property
    def limit(self) -> int | None:
        """Trajectories that count as stored in this round, without later ones; None for all."""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of collectors in other processes, since the run began."""

    def begin(self) -> None:
        """Start a new run."""

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return the state for a checkpoint: tensors of unfinished trajectories, and facts for JSON.

        Args:
            acting: Include the tensors.
        """

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""

    def collect(self, tick: Tick) -> None:
        """Collect the steps of a round, before its updates."""

    def after_fault(self) -> None:
        """Store the trajectories that ended before an environment failed."""

    def wait_for_data(self, rounds: int, slots: int, update: int) -> bool:
        """Wait until the learner may use its next update slot; return whether there is data to sample.

        Args:
            rounds: Rounds done.
            slots: Update slots of this round done; see
                :class:`amago_core.running.processes.rate_limit.RateLimiter`.
            update: Updates done.
        """

    def after_update(self, rounds: int, slots: int, update: int) -> None:
        """Called after every update slot, and before the first one."""

    def metrics(self) -> Metrics:
        """Return metrics of the trajectories that ended since the last call."""

    def evict(self, oldest: int) -> None:
        """Delete the trajectories that no kept checkpoint can sample.

        Args:
            oldest: Trajectories that were stored at the oldest kept checkpoint.
        """

    def close(self) -> None:
        """Close the environments."""


class NoExperience:
    """No experience: the learner has only its dataset."""

    def __init__(self) -> None:
        self.replay = None
        self.env_steps, self.stored, self.cpu_seconds = 0, 0, 0.0
        self.limit: int | None = 0

    def begin(self) -> None:
        """Nothing to start."""

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return nothing."""
        return None, {}

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def collect(self, tick: Tick) -> None:
        """Nothing to collect."""

    def after_fault(self) -> None:
        """Nothing to store."""

    def wait_for_data(self, rounds: int, slots: int, update: int) -> bool:
        """Return True: the dataset can always be sampled."""
        return True

    def after_update(self, rounds: int, slots: int, update: int) -> None:
        """Nothing waits for the learner."""

    def metrics(self) -> Metrics:
        """Return metrics without values: no trajectory ends."""
        return {"return": None, "success": None, "length": None}

    def evict(self, oldest: int) -> None:
        """Nothing to delete."""

    def close(self) -> None:
        """Nothing to close."""


if TYPE_CHECKING:

    def _satisfies_the_protocol(experience: NoExperience) -> ExperienceSource:
        return experience


def open_replay(spec: RunSpec, folder: RunDir, note: Callable[[str], None]) -> Replay:
    """Return the replay of a run, with the limits of its spec."""
    limits = spec.replay
    return Replay(folder.replay, limits.capacity, limits.timesteps, limits.bytes, note=note)
