"""The training loop: each round collects, updates, evaluates and saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from amago_core.acting.evaluation_result import Evaluation
from amago_core.acting.evaluator import Evaluator
from amago_core.compose.make_collector import environments_of
from amago_core.environments import EnvironmentFault
from amago_core.learning.learner import DivergedError
from amago_core.learning.loader import make_loader
from amago_core.running.result import Result
from amago_core.running.state import RunState
from amago_core.spec.checks import spec_notes
from amago_core.system.memory import peak_memory
from amago_core.system.stopping import HaltedError
from amago_registry.contexts import TrackerContext

if TYPE_CHECKING:
    from amago_core.compose.build import Composition
    from amago_core.learning.batch import PackedBatch
    from amago_core.learning.loader import Loader
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.run_folder.transfer import WeightTransfer
    from amago_core.running.experience import ExperienceSource, Metrics
    from amago_core.running.progress import Reporter
    from amago_core.spec import RunSpec
    from amago_core.system.stopping import StopRequests


class TrainingLoop:
    """The training loop of a run: collect, update, evaluate, save, round after round.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        parts: The composed parts.
        experience: Where trajectories come from.
        reporter: Shows progress.
        transfer: The transfer of weights from another run (``init_from``); None without one.
        before_updates: Called with the number of updates and the experience's ``limit`` before the
            updates of a round; tells the other data-parallel ranks to join.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunDir,
        parts: Composition,
        experience: ExperienceSource,
        reporter: Reporter,
        transfer: WeightTransfer | None = None,
        before_updates: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self._transfer, self._before_updates = transfer, before_updates
        self.spec, self.folder, self.parts, self.reporter = spec, folder, parts, reporter
        self.experience = experience
        self.state = RunState(spec, folder, parts, experience, reporter.note)
        self.evaluator = _make_evaluator(spec, parts, reporter.note)
        self.trackers = [part.build(TrackerContext(run_dir=folder.path)) for part in spec.trackers]
        self._clock = _Stopwatch()
        self._loader: Loader | None = None

    def close(self) -> None:
        """Close the loader, which prefetches batches, and the environments."""
        if self._loader is not None:
            self._loader.close()
        self.experience.close()
        if self.evaluator is not None:
            self.evaluator.close()

    def prepare(self, resume: bool) -> None:
        """Restore the newest checkpoint or start the run; then make the loader of batches.

        A checkpoint that does not fit raises before anything is written.
        """
        if not (resume and self.state.restore()):
            self._report_transfer()
            self.state.begin()
        self.folder.record_versions(self.spec, self.state.round)
        self._loader = make_loader(
            self.spec,
            self.parts.task,
            self.experience.replay,
            relabeler=self.parts.relabeler,
            dataset=self.parts.dataset,
            device=self.parts.agent.device,
            note=self.reporter.note,
        )
        self._after_update()

    def _report_transfer(self) -> None:
        if self._transfer is not None:
            self._transfer.write(self.folder.path)
            self.reporter.note(str(self._transfer))

    def run(self, resume: bool, stop_requests: Callable[[Callable[[], None]], StopRequests]) -> Result:
        """Train until a limit of the spec is reached or a stop is requested; return the result.

        Args:
            resume: Whether this resumes a run.
            stop_requests: Takes a callback that tells the user of a stop request; returns a context
                manager that watches for one.
        """
        for tracker in self.trackers:
            tracker.start(self.state.round if resume else None)
        title = f"{self.spec.name} ({self.folder.path})"
        self.reporter.start(title, self.spec.training.rounds, self.state.round)
        self._report_data()
        try:
            with stop_requests(self._announce_stop) as requests:
                before = self.state.round
                stopped, evaluation = self._run_rounds(requests)
        finally:
            for tracker in self.trackers:
                tracker.finish()
            self.reporter.finish()
        if evaluation is None and stopped != "interrupted":
            evaluation = self._last_evaluation()
        if self.state.round == before and stopped != "interrupted":
            self.reporter.note(f"this run is already complete: {self._stopped_because(stopped)}")
        return self._make_result(stopped, evaluation)

    def _report_data(self) -> None:
        """Note the dataset that is learned from, and the options of the spec that have no effect."""
        dataset = self.parts.dataset
        if dataset is not None and self.spec.dataset is not None:
            self.reporter.note(f"learning from {self.spec.dataset.use}: {dataset.describe()}")
        for note in spec_notes(self.spec):
            self.reporter.note(note)

    def _run_rounds(self, requests: StopRequests) -> tuple[str, Evaluation | None]:
        state, every = self.state, self.spec.checkpoints.every
        evaluation = None
        self._clock.lap()
        stopped = self._reason_to_stop()
        while stopped is None:
            evaluation = self._run_round()
            stopped = self._reason_to_stop()
            if stopped is None and requests.requested:
                stopped = "interrupted"
            if stopped is not None or state.round % every == 0:
                state.save()
        return stopped, evaluation

    def _announce_stop(self) -> None:
        self.reporter.note(
            "stopping after this round and saving a checkpoint; press Ctrl-C again to stop at once"
        )

    def _reason_to_stop(self) -> str | None:
        state, stop = self.state, self.spec.training.stop
        reached = state.mean_return
        if stop.return_ is not None and reached is not None and reached >= stop.return_:
            return "return"
        if stop.seconds is not None and state.seconds >= stop.seconds:
            return "seconds"
        return "rounds" if state.round >= self.spec.training.rounds else None

    def _run_round(self) -> Evaluation | None:
        state = self.state
        try:
            self.experience.collect(self.reporter.tick)
        except EnvironmentFault:
            # Without acting state: unfinished trajectories cannot be continued after a fault.
            self.experience.after_fault()
            state.save(acting=False)
            self._report_saved()
            raise
        losses = self._update_or_save()
        state.round, state.update_slot = state.round + 1, 0
        self._add_time()
        evaluation, fault = self._try_to_evaluate() if self._evaluation_due() else (None, None)
        state.mean_return = None if evaluation is None else evaluation.mean_return
        state.save_if_best()
        self._add_time()
        self._record(self._metrics(losses, evaluation))
        if fault is not None:
            state.save()
            self._report_saved()
            raise fault
        return evaluation

    def _report_saved(self) -> None:
        if self.state.learner.updates:
            self.reporter.note(f"a checkpoint of the training so far is saved in {self.folder.path}")
        else:
            self.reporter.note(f"no update was taken yet; --resume continues in {self.folder.path}")

    def _update_or_save(self) -> dict[str, float]:
        try:
            return self._take_updates()
        except DivergedError:
            self.state.save(acting=False)
            self.reporter.note(
                f"the last finite weights are saved in {self.folder.path}; to use them, start "
                f"a new run with init_from={self.folder.path} and a lower training.learning_rate"
            )
            raise
        except HaltedError:
            self.state.save()
            self._report_saved()
            raise

    def _add_time(self) -> None:
        wall, cpu = self._clock.lap()
        self.state.seconds += wall
        self.state.cpu_seconds += cpu

    def _evaluation_due(self) -> bool:
        """Whether to evaluate: every ``evaluation.every`` rounds, and in the last round."""
        every, stop = self.spec.evaluation.every, self.spec.training.stop
        last = self.state.round >= self.spec.training.rounds
        last = last or (stop.seconds is not None and self.state.seconds >= stop.seconds)
        return last or (every > 0 and self.state.round % every == 0)

    def _try_to_evaluate(self) -> tuple[Evaluation | None, EnvironmentFault | None]:
        if self.evaluator is None:
            return None, None
        self.reporter.tick("evaluating", 0, 1)
        try:
            return self.evaluator(self.parts.agent), None
        except EnvironmentFault as fault:
            return None, fault

    def _take_updates(self) -> dict[str, float]:
        """Take the round's updates; return their mean metrics, skipped updates left out."""
        state, count = self.state, self.spec.training.updates_per_round
        batches: Iterator[Sequence[PackedBatch]] | None = None
        sums: dict[str, torch.Tensor] = {}
        taken = remaining = 0
        while state.update_slot < max(1, count):
            learner = state.learner
            if self.experience.wait_for_data(state.round, state.update_slot, learner.updates) and count:
                if batches is None:
                    remaining = count - state.update_slot
                    batches = self._batches(remaining)
                skipped = learner.skipped
                metrics = learner.update(*next(batches))
                remaining -= 1
                if learner.skipped == skipped:
                    taken += 1
                    sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
                self.reporter.tick("updating", state.update_slot + 1, count)
            state.update_slot += 1
            self._after_update()
        if batches is None:
            return {}
        if not remaining:
            next(batches, None)  # Exhaust the iterator, so that the loader ends the round.
        means = {name: total / taken for name, total in sums.items()}
        return by_discount(means, self.spec.agent.discounts) | state.learner.report()

    def _after_update(self) -> None:
        state = self.state
        self.experience.after_update(state.round, state.update_slot, state.learner.updates)

    def _batches(self, count: int) -> Iterator[Sequence[PackedBatch]]:
        """Iterate over the batches of the next updates: ``training.accumulate`` for each."""
        if self._before_updates is not None:
            self._before_updates(count, self.experience.limit)
        loader = cast("Loader", self._loader)
        return iter(loader.round(self.state.learner.updates, count, self.experience.limit))

    def _record(self, metrics: Metrics) -> None:
        for tracker in self.trackers:
            tracker.record(metrics)
        self.reporter.round(metrics)

    def _metrics(self, losses: Mapping[str, float], evaluation: Evaluation | None) -> Metrics:
        state, experience = self.state, self.experience
        episode_metrics = experience.metrics()
        metrics: Metrics = {
            "round": state.round,
            "update": state.learner.updates,
            "env_steps": experience.env_steps,
            "trajectories": experience.stored,
            "seconds": round(state.seconds, 3),
            "cpu_seconds": round(state.cpu_seconds + experience.cpu_seconds, 3),
            "peak_bytes": peak_memory(),
            **episode_metrics,
            "skipped": state.learner.skipped,
            "learning_rate": state.learner.learning_rate,
        }
        # JSON has no infinity; a mean that is not finite is recorded as missing.
        metrics |= {name: value if np.isfinite(value) else None for name, value in losses.items()}
        if evaluation is not None:
            metrics["eval/return"] = evaluation.mean_return
            metrics["eval/success"] = evaluation.success
            for task in evaluation.tasks:
                metrics[f"eval/return/{task.name}"] = task.mean_return
                metrics[f"eval/success/{task.name}"] = task.success
        return metrics

    def _make_result(self, stopped: str, evaluation: Evaluation | None) -> Result:
        from amago_core.run_folder.plots import plot_run

        if evaluation is not None:
            self.folder.write_evaluation(evaluation)
        plot_run(self.folder, evaluation)
        return Result(
            run=self.folder.path,
            evaluation=evaluation,
            updates=self.state.learner.updates,
            env_steps=self.experience.env_steps,
            seconds=self.state.seconds,
            cpu_seconds=self.state.cpu_seconds + self.experience.cpu_seconds,
            peak_bytes=peak_memory(),
            stopped=stopped,
        )

    def _stopped_because(self, stopped: str) -> str:
        training = self.spec.training
        if stopped == "rounds":
            return f"training.rounds={training.rounds} is reached; raise it to continue"
        limit = training.stop.return_ if stopped == "return" else training.stop.seconds
        return f"training.stop.{stopped}={limit:g} is reached; raise it, or set it to null, to continue"

    def _last_evaluation(self) -> Evaluation | None:
        """Return the stored evaluation of the last round; evaluate again if missing or stale."""
        stored = self.folder.read_evaluation()
        if stored is not None and stored.mean_return == self.state.mean_return:
            return stored
        return None if self.evaluator is None else self.evaluator(self.parts.agent)


class _Stopwatch:
    """Wall and processor seconds between calls of :meth:`lap`."""

    def __init__(self) -> None:
        self._before = (0.0, 0.0)

    def lap(self) -> tuple[float, float]:
        now = (time.perf_counter(), time.process_time())
        taken = (now[0] - self._before[0], now[1] - self._before[1])
        self._before = now
        return taken


def _make_evaluator(spec: RunSpec, parts: Composition, note: Callable[[str], None]) -> Evaluator | None:
    """Return the evaluator; None if there is no environment to evaluate in."""
    task = parts.evaluation_task
    if task is None:
        return None
    return Evaluator(
        task,
        episodes=spec.evaluation.episodes,
        environments=spec.collector.environments,
        sample=spec.evaluation.sample,
        seed=spec.seed,
        step_limit=spec.evaluation.step_limit,
        make_many=lambda count: environments_of(spec, task, count),
        max_restarts=spec.collector.max_restarts,
        note=note,
    )


def by_discount(metrics: Mapping[str, torch.Tensor], discounts: Sequence[float]) -> dict[str, float]:
    """Return metrics as numbers; a metric per discount is named with it: ``q/0.99``."""
    numbers: dict[str, float] = {}
    for name, metric in metrics.items():
        if metric.dim() == 0:
            numbers[name] = float(metric)
        else:
            pairs = zip(discounts, metric.tolist(), strict=True)
            numbers |= {f"{name}/{discount:g}": number for discount, number in pairs}
    return numbers
