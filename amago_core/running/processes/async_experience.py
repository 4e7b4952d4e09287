"""Asynchronous experience: collected by other processes while the learner learns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from amago_core.acting.episode_stats import EpisodeTotals
from amago_core.running.experience import open_replay
from amago_core.running.processes.rate_limit import RateLimiter
from amago_core.running.processes.shared_files import CollectorProgress, SharedFiles

if TYPE_CHECKING:
    from amago_core.compose.build import Composition
    from amago_core.replay import Replay
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.running.experience import ExperienceSource, Metrics, Tick
    from amago_core.running.processes.messages import CommandPipe
    from amago_core.spec import RunSpec
    from amago_core.system.tensor_tree import TensorTree


_POLL_SECONDS = 0.005


class AsyncExperience:
    """The learner's side of the collectors: the shared files, the rate limiter and the replay.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        parts: The composed parts; the agent's weights are published to the collectors.
        note: Shows one sentence to the user.
        commands: The supervisor's commands, checked while waiting.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunDir,
        parts: Composition,
        note: Callable[[str], None],
        commands: CommandPipe,
    ) -> None:
        self._spec, self._folder, self._agent = spec, folder, parts.agent
        self._has_dataset = parts.dataset is not None
        self._note, self._commands = note, commands
        self._limiter, self._shared_files = RateLimiter.of(spec), SharedFiles(folder.shared_files)
        self.limit: int | None = None
        self._progress: dict[str, CollectorProgress] = {}
        self._reported = EpisodeTotals()
        self._idle_noted = not spec.training.updates_per_round

    @property
    def env_steps(self) -> int:
        """Steps of all environments of all collectors together."""
        return self._steps * self._spec.collector.environments

    @property
    def _steps(self) -> int:
        return sum(each.steps for each in self._progress.values())

    @property
    def stored(self) -> int:
        """Trajectories stored since the run began."""
        return self.replay.stored

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all collectors."""
        return sum(each.cpu_seconds for each in self._progress.values())

    def begin(self) -> None:
        """Open the replay; trajectories that are already stored there are kept and sampled."""
        self._shared_files.folder.mkdir(exist_ok=True)
        self._folder.replay.mkdir(exist_ok=True)
        self.replay: Replay = open_replay(self._spec, self._folder, self._note)
        self._refresh()

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return the collectors' progress, and the totals that metrics have reported."""
        progress = {name: vars(each) for name, each in self._progress.items()}
        return None, {"collectors": progress, "counted": self._reported.totals}

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Open the replay; restore progress that the shared files have lost in a power cut."""
        self.begin()
        for name, stored in facts["collectors"].items():
            before = CollectorProgress.of(stored)
            if name not in self._progress or self._progress[name].steps < before.steps:
                self._shared_files.write_progress(name, before)
        self._refresh()
        self._reported = EpisodeTotals(facts["counted"])

    def collect(self, tick: Tick) -> None:
        """Nothing to do: other processes collect all the time."""

    def after_fault(self) -> None:
        """Nothing to do: the collectors store their own trajectories."""

    def wait_for_data(self, rounds: int, slots: int, update: int) -> bool:
        """Wait for the collectors while the rate limiter says that the learner is too far ahead.

        Raises:
            OrphanedError: If the supervisor is gone.
            HaltedError: If the supervisor has commanded to stop at once.
        """
        learned, refreshed = self._limiter.rounds_learned(rounds, slots), False
        while True:
            self._commands.check()
            has_data = self._has_dataset or bool(len(self.replay.view()))
            may_proceed = self._limiter.may_update if has_data else self._limiter.may_skip
            if may_proceed(learned, self._limiter.rounds_collected(self._steps)) and (
                has_data or refreshed
            ):
                if rounds and not has_data:
                    self._note_idle()
                return has_data
            if refreshed:
                self._shared_files.write_rounds_learned(learned, update)
                time.sleep(_POLL_SECONDS)
            self._refresh()
            refreshed = True

    def _note_idle(self) -> None:
        """Note once that a whole round has passed without a stored trajectory."""
        if not self._idle_noted:
            self._idle_noted = True
            self._note(
                f"no trajectory is stored after {self.env_steps:,} steps of all environments together: "
                "there is nothing to learn from until a task ends"
            )

    def _refresh(self) -> None:
        """Read the progress, then the replay: what the progress counts is stored by then."""
        self._progress = self._shared_files.read_all_progress()
        self.replay.refresh()

    def after_update(self, rounds: int, slots: int, update: int) -> None:
        """Publish the weights and write the learner's progress, each every few update slots."""
        last = slots == self._limiter.update_slots
        if slots == 0 or last or slots % self._limiter.updates_per_publishing == 0:
            self._shared_files.publish(self._agent, update)
            self.replay.refresh()
        if slots == 0 or last or slots % self._limiter.slots_per_report == 0:
            self._shared_files.write_rounds_learned(self._limiter.rounds_learned(rounds, slots), update)

    def metrics(self) -> Metrics:
        """Return metrics of the trajectories that ended since the last call."""
        self._refresh()
        total = EpisodeTotals()
        for each in self._progress.values():
            total.merge(EpisodeTotals(each.totals))
        since, self._reported = total.since(self._reported), total
        dropped = sum(each.dropped for each in self._progress.values())
        restarts = sum(each.restarts for each in self._progress.values())
        return {
            **since.metrics(),
            "dropped": dropped,
            "restarts": restarts,
            "quarantined": self.replay.quarantined,
        }

    def evict(self, oldest: int) -> None:
        """Delete trajectories beyond the capacity; a resumed learner samples what is there then."""
        self.replay.evict(before=self.replay.visible().start)

    def close(self) -> None:
        """Nothing to close: the environments are in other processes."""


if TYPE_CHECKING:

    def _satisfies_the_protocol(experience: AsyncExperience) -> ExperienceSource:
        return experience
