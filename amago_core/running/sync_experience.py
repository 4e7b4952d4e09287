"""Synchronous experience: collected in the learner's process, so that a run is bit-exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_core.acting.episode_stats import episode_metrics
from amago_core.acting.task_seeds import TaskSeeds
from amago_core.compose.make_collector import TRAINING_STREAM, make_collector
from amago_core.replay import Replay, ReplayWriter
from amago_core.running.experience import open_replay

if TYPE_CHECKING:
    from amago_core.acting.episode_stats import EpisodeStats
    from amago_core.compose.build import Composition
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.running.experience import ExperienceSource, Metrics, Tick
    from amago_core.spec import RunSpec
    from amago_core.system.tensor_tree import TensorTree


_CHUNK = 32


class SyncExperience:
    """A collector, a replay writer and a replay in the learner's process.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        parts: The composed parts.
        note: Shows one sentence to the user.
    """

    limit: int | None

    def __init__(
        self, spec: RunSpec, folder: RunDir, parts: Composition, note: Callable[[str], None]
    ) -> None:
        self._spec, self._folder, self._environment_name = spec, folder, parts.task.name
        self._note = note
        self._has_dataset = parts.dataset is not None
        self.cpu_seconds = 0.0
        assert parts.exploration is not None, "a collector needs exploration"
        count = spec.collector.environments
        self.collector = make_collector(
            spec,
            parts.task,
            parts.agent,
            parts.exploration,
            TaskSeeds(spec.seed, TRAINING_STREAM, np.zeros(count, np.int64)),
            [spec.seed, TRAINING_STREAM],
            note,
        )
        self._episodes: list[EpisodeStats] = []
        self._update = 0

    @property
    def env_steps(self) -> int:
        """Steps of all environments together."""
        return self.collector.steps * self.collector.size

    @property
    def stored(self) -> int:
        """Trajectories stored since the run began."""
        return self.writer.stored

    def begin(self) -> None:
        """Set aside trajectories of an earlier run, and start a task in every environment."""
        self._open_replay(0)
        self.collector.start()

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return the collector's state."""
        acted, facts = self.collector.state()
        return (acted if acting else None), {"collector": facts}

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Restore replay, environments and acting state from a checkpoint."""
        self._open_replay(facts["stored"])
        missing = self.replay.missing(facts["stored"])
        if missing:
            self._note(
                f"{missing} of the trajectories that this checkpoint samples from are missing from "
                f"{self._folder.replay}: the run continues without them and is not bit-exact"
            )
        if acting is None:
            self.collector.restart(facts["collector"])
        elif not self.collector.load_state(acting, facts["collector"]):
            self._note(
                f"environment {self._environment_name} did not replay to its state at the checkpoint: "
                "it is not reproducible from its seed, so new trajectories start and this run is not "
                "bit-exact"
            )

    def _open_replay(self, stored: int) -> None:
        """Open the replay with its first ``stored`` trajectories; set later ones aside."""
        open_replay(self._spec, self._folder, self._note).set_aside(after=stored)
        self.writer = ReplayWriter(self._folder.replay)
        self.replay: Replay = open_replay(self._spec, self._folder, self._note)

    def collect(self, tick: Tick) -> None:
        """Take all steps of a round."""
        steps, done = self._spec.training.steps_per_round, 0
        while done < steps:
            chunk = min(_CHUNK, steps - done)
            self.collector.run(chunk, self.writer.append, self._episodes)
            done += chunk
            tick("collecting", done, steps)
        self._flush()

    def _flush(self) -> None:
        self.writer.flush(self._update)
        self.replay.refresh()
        self.limit = self.replay.stored
        self._has_data = self._has_dataset or bool(len(self.replay.view(self.limit)))

    def after_fault(self) -> None:
        """Store the trajectories that ended before an environment failed."""
        self.writer.flush(self._update)
        self.replay.refresh()

    def wait_for_data(self, rounds: int, slots: int, update: int) -> bool:
        """Return whether there is data to sample; note once if there is not."""
        if not self._has_data and rounds == 0 and slots == 0 and self._spec.training.updates_per_round:
            self._note(
                f"no trajectory has ended in {self.collector.steps:,} steps of each environment: "
                "there is nothing to learn from until a task ends"
            )
        return self._has_data

    def after_update(self, rounds: int, slots: int, update: int) -> None:
        """Remember the update, which names the next shard."""
        self._update = update

    def metrics(self) -> Metrics:
        """Return metrics of the trajectories that ended in this round."""
        episodes, self._episodes = self._episodes, []
        return {
            **episode_metrics(episodes),
            "dropped": self.collector.dropped,
            "restarts": self.collector.restarts,
            "quarantined": self.replay.quarantined,
        }

    def evict(self, oldest: int) -> None:
        """Delete the trajectories that are older than all that a kept checkpoint can sample."""
        self.replay.evict(before=self.replay.visible(oldest).start)

    def close(self) -> None:
        """Close the environments."""
        self.collector.environments.close()


if TYPE_CHECKING:

    def _satisfies_the_protocol(experience: SyncExperience) -> ExperienceSource:
        return experience
