"""Experience that other processes collect while the learner learns."""

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
    """The learner's view of collector processes: their files in the shared, and the replay.

    Args:
        spec: The resolved spec.
        folder: Of the run.
        parts: The composed parts; the agent's weights are what is published.
        note: Shows one sentence to the user.
        commands: Says when to end.
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
        self._limiter, self._shared = RateLimiter.of(spec), SharedFiles(folder.shared_files)
        self.limit: int | None = None
        self._known: dict[str, CollectorProgress] = {}
        self._counted = EpisodeTotals()
        self._told_idle = not spec.training.updates_per_round

    @property
    def env_steps(self) -> int:
        """Steps of all environments of all collectors together."""
        return self._steps * self._spec.collector.environments

    @property
    def _steps(self) -> int:
        return sum(each.steps for each in self._known.values())

    @property
    def stored(self) -> int:
        """Trajectories stored since the run began."""
        return self.replay.stored

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all collectors."""
        return sum(each.cpu_seconds for each in self._known.values())

    def begin(self) -> None:
        """Open the replay; what is stored there already is learned from, for nothing stored is lost."""
        self._shared.folder.mkdir(exist_ok=True)
        self._folder.replay.mkdir(exist_ok=True)
        self.replay: Replay = open_replay(self._spec, self._folder, self._note)
        self._look()

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return what the collectors have done, and what of it the metrics have told."""
        known = {name: vars(each) for name, each in self._known.items()}
        return None, {"collectors": known, "counted": self._counted.totals}

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Open the replay; bring back what the files of collectors have lost in a power cut."""
        self.begin()
        for name, stored in facts["collectors"].items():
            before = CollectorProgress.of(stored)
            if name not in self._known or self._known[name].steps < before.steps:
                self._shared.write_progress(name, before)
        self._look()
        self._counted = EpisodeTotals(facts["counted"])

    def collect(self, tick: Tick) -> None:
        """Others collect all the time."""

    def fault(self) -> None:
        """Others store what they have."""

    def wait_for_data(self, rounds: int, slots: int, update: int) -> bool:
        """Wait for the collectors as long as the learner is too far ahead of them.

        Raises:
            OrphanedError: If the process that started this one is gone.
            HaltedError: If this process is to end at once.
        """
        learned, looked = self._limiter.learned(rounds, slots), False
        while True:
            self._commands.check()
            something = self._has_dataset or bool(len(self.replay.view()))
            may_proceed = self._limiter.may_update if something else self._limiter.may_skip
            if may_proceed(learned, self._limiter.collected(self._steps)) and (something or looked):
                if rounds and not something:
                    self._tell_idle()
                return something
            if looked:
                self._shared.write_learned(learned, update)
                time.sleep(_POLL_SECONDS)
            self._look()
            looked = True

    def _tell_idle(self) -> None:
        """Say once that a whole round has passed with nothing to learn from."""
        if not self._told_idle:
            self._told_idle = True
            self._note(
                f"no trajectory is stored after {self.env_steps:,} steps of all environments together: "
                "there is nothing to learn from until a task ends"
            )

    def _look(self) -> None:
        """Look what the collectors have done: first how far they are, so that it is stored by then."""
        self._known = self._shared.collectors()
        self.replay.refresh()

    def after_update(self, rounds: int, slots: int, update: int) -> None:
        """Publish the weights and say how far the learner is, each now and then."""
        last = slots == self._limiter.slots
        if slots == 0 or last or slots % self._limiter.updates_per_publishing == 0:
            self._shared.publish(self._agent, update)
            self.replay.refresh()
        if slots == 0 or last or slots % self._limiter.slots_per_report == 0:
            self._shared.write_learned(self._limiter.learned(rounds, slots), update)

    def metrics(self) -> Metrics:
        """Return how the trajectories went that ended since last asked."""
        self._look()
        total = EpisodeTotals()
        for each in self._known.values():
            total.merge(EpisodeTotals(each.totals))
        since, self._counted = total.since(self._counted), total
        dropped = sum(each.dropped for each in self._known.values())
        restarts = sum(each.restarts for each in self._known.values())
        return {
            **since.metrics(),
            "dropped": dropped,
            "restarts": restarts,
            "quarantined": self.replay.quarantined,
        }

    def evict(self, oldest: int) -> None:
        """Remove what is no longer visible; a learner that goes back samples what is there then."""
        self.replay.evict(before=self.replay.visible().start)

    def close(self) -> None:
        """Environments are in other processes."""


if TYPE_CHECKING:

    def _satisfies_the_protocol(experience: AsyncExperience) -> ExperienceSource:
        return experience
