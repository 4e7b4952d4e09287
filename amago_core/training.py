"""A run: rounds of collecting and updating in one process."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from amago_core.compose import Composition, compose
from amago_core.environments import EnvironmentFault, MakeEnvironment
from amago_core.errors import SpecError
from amago_core.evaluation import Evaluation, Evaluator
from amago_core.interruption import Interruption
from amago_core.learner import DivergedError
from amago_core.memory import keep_freed_memory
from amago_core.packing import PackedBatch, pack
from amago_core.progress import Reporter, make_reporter
from amago_core.recording import Outcome
from amago_core.run_dir import RunDir
from amago_core.saving import RunState, can_go_on, check_same
from amago_core.threads import thread_count
from amago_registry.contexts import TrackerContext

if TYPE_CHECKING:
    from amago_core.spec import RunSpec

Metrics = dict[str, float | int | str | None]
_CHUNK = 32


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Args:
        run: Its folder.
        evaluation: Of the last round; None if the run was interrupted before it was evaluated.
        updates: Updates, skipped ones included.
        env_steps: Steps of all environments together.
        seconds: Wall time of all rounds, those before a resume included.
        cpu_seconds: Processor time of the same.
        peak_bytes: Most memory this process held.
        stopped: Why it ended: ``rounds``, ``seconds``, ``return`` or ``interrupted``.
    """

    run: Path
    evaluation: Evaluation | None
    updates: int
    env_steps: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stopped: str


def train(
    spec: str | Path | Mapping[str, Any] | RunSpec,
    overrides: Sequence[str] = (),
    *,
    environment: MakeEnvironment | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Result:
    """Train an agent from a spec.

    Nothing is written until the spec is valid and all its parts are built and fit together.

    Args:
        spec: A YAML file, its content, or a finished spec.
        overrides: Changes to a file or its content, such as ``agent.backbone=gru``.
        environment: Makes a local environment, in place of the spec's.
        run: Folder of the run; by default ``runs/<name>``.
        resume: Go on with the run in that folder.
        reporter: Shows progress; by default on the terminal.

    Raises:
        AmagoError: Whatever is wrong with the spec, the folder or the environment.
    """
    from amago_core.spec import RunSpec, load_spec

    if not isinstance(spec, RunSpec):
        spec = load_spec(spec, overrides, local_environment=environment is not None)
    elif overrides:
        raise SpecError("overrides change a file or a mapping; this spec is finished already.")
    if environment is not None:
        spec = spec.model_copy(update={"environment": None})  # What the run's folder should say.
    folder = RunDir(Path(run) if run is not None else Path("runs") / (spec.name or "run"))
    reporter = reporter or make_reporter()
    if resume:
        folder.check()
        for consequence in check_same(folder, spec):
            reporter.note(consequence)
    else:
        folder.check_free()
    keep_freed_memory()
    torch.set_num_threads(thread_count(spec.running.threads))
    torch.manual_seed(spec.seed)
    initialize = spec.init_from is not None and not (resume and can_go_on(folder))
    training = Training(spec, folder, compose(spec, environment, initialize=initialize), reporter)
    try:
        return training.go(resume)
    finally:
        training.close()


class Training:
    """One interleaved run.

    Args:
        spec: The resolved spec.
        folder: Where everything is stored.
        parts: The composed parts.
        reporter: Shows progress.
    """

    def __init__(self, spec: RunSpec, folder: RunDir, parts: Composition, reporter: Reporter) -> None:
        self.spec, self.folder, self.parts, self.reporter = spec, folder, parts, reporter
        self.state = RunState(spec, folder, parts, reporter.note)
        self.evaluator = Evaluator(
            parts.evaluation_task,
            episodes=spec.evaluation.episodes,
            environments=spec.collector.environments,
            sample=spec.evaluation.sample,
            seed=spec.seed,
            step_limit=spec.evaluation.step_limit,
        )
        self.trackers = [part.build(TrackerContext(run_dir=folder.path)) for part in spec.trackers]
        self._clock = _Clock()

    def close(self) -> None:
        """Close the environments."""
        self.state.close()
        self.evaluator.close()

    def go(self, resume: bool) -> Result:
        """Train until the spec says stop; plot and return what it came to."""
        if not (resume and self.state.restore()):
            if not resume:
                self.folder.create(self.spec, self.parts.task)
            self._tell_initialization()
            self.state.begin()
        self.folder.record_versions(self.spec, self.state.round)
        for tracker in self.trackers:
            tracker.start(self.state.round if resume else None)
        title = f"{self.spec.name} ({self.folder.path})"
        self.reporter.start(title, self.spec.training.rounds, self.state.round)
        try:
            stopped, evaluation = self._rounds()
        finally:
            for tracker in self.trackers:
                tracker.finish()
            self.reporter.finish()
        return self._conclude(stopped, evaluation)

    def _tell_initialization(self) -> None:
        if self.parts.initialization is not None:
            self.parts.initialization.write(self.folder.path)
            self.reporter.note(str(self.parts.initialization))

    def _rounds(self) -> tuple[str, Evaluation | None]:
        state, every = self.state, self.spec.checkpoints.every
        evaluation = None
        self._clock.lap()
        with Interruption(self._announce_stop) as interruption:
            stopped = self._reason_to_stop()
            while stopped is None:
                evaluation = self._one_round()
                stopped = self._reason_to_stop()
                if stopped is None and interruption.requested:
                    stopped = "interrupted"
                if stopped is not None or state.round % every == 0:
                    state.save()
        return stopped, evaluation

    def _announce_stop(self) -> None:
        self.reporter.note(
            "stopping after this round; what was learned is saved. Again to stop at once."
        )

    def _reason_to_stop(self) -> str | None:
        state, stop = self.state, self.spec.training.stop
        reached = state.mean_return
        if stop.return_ is not None and reached is not None and reached >= stop.return_:
            return "return"
        if stop.seconds is not None and state.seconds >= stop.seconds:
            return "seconds"
        return "rounds" if state.round >= self.spec.training.rounds else None

    def _one_round(self) -> Evaluation | None:
        state, outcomes = self.state, list[Outcome]()
        try:
            self._collect(outcomes)
        except EnvironmentFault:
            # Started trajectories cannot go on; the weights are those of the last round.
            state.writer.flush(state.learner.updates)
            state.save(acting=False)
            self.reporter.note(f"what was trained so far is saved in {self.folder.path}")
            raise
        self._tell_of_endless_tasks()
        try:
            losses = self._update()
        except DivergedError:
            state.save(acting=False)
            self.reporter.note(
                f"the last weights that were finite are saved in {self.folder.path}; a new run with "
                f"init_from={self.folder.path} and a lower training.learning_rate can go on from them"
            )
            raise
        state.round += 1
        self._tell_time()
        evaluation, fault = self._try_to_evaluate() if self._evaluation_due() else (None, None)
        state.mean_return = None if evaluation is None else evaluation.mean_return
        self._tell_time()
        self._record(self._metrics(outcomes, losses, evaluation))
        if fault is not None:
            state.save()
            self.reporter.note(f"what was trained so far is saved in {self.folder.path}")
            raise fault
        return evaluation

    def _tell_of_endless_tasks(self) -> None:
        """Say so once if nothing can be learned because no trajectory has ended."""
        waits = self.state.round == 0 and self.spec.training.updates_per_round > 0
        if waits and not self.state.replay.visible():
            self.reporter.note(
                f"no trajectory has ended in {self.state.collector.steps:,} steps of each environment: "
                "there is nothing to learn from until a task ends"
            )

    def _tell_time(self) -> None:
        wall, cpu = self._clock.lap()
        self.state.seconds += wall
        self.state.cpu_seconds += cpu

    def _evaluation_due(self) -> bool:
        """Evaluate every so many rounds, and in the round that is going to be the last."""
        every, stop = self.spec.evaluation.every, self.spec.training.stop
        last = self.state.round >= self.spec.training.rounds
        last = last or (stop.seconds is not None and self.state.seconds >= stop.seconds)
        return last or (every > 0 and self.state.round % every == 0)

    def _try_to_evaluate(self) -> tuple[Evaluation | None, EnvironmentFault | None]:
        self.reporter.tick("evaluating", 0, 1)
        try:
            return self.evaluator(self.parts.agent), None
        except EnvironmentFault as fault:
            return None, fault

    def _collect(self, outcomes: list[Outcome]) -> None:
        state, steps, done = self.state, self.spec.training.steps_per_round, 0
        while done < steps:
            chunk = min(_CHUNK, steps - done)
            state.collector.run(chunk, state.writer.append, outcomes)
            done += chunk
            self.reporter.tick("collecting", done, steps)
        state.writer.flush(state.learner.updates)
        state.replay.refresh()

    def _update(self) -> dict[str, float]:
        """Take the round's updates; return the means of their metrics over those not skipped."""
        state, count = self.state, self.spec.training.updates_per_round
        if not state.replay.visible():
            return {}
        sums: dict[str, torch.Tensor] = {}
        skipped_before = state.learner.skipped
        for done in range(count):
            skipped = state.learner.skipped
            metrics = state.learner.update(*self._batches())
            if state.learner.skipped == skipped:
                sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
            self.reporter.tick("updating", done + 1, count)
        taken = count - (state.learner.skipped - skipped_before)
        means = {name: total / taken for name, total in sums.items()}
        return by_discount(means, self.spec.agent.discounts) | state.learner.report()

    def _batches(self) -> list[PackedBatch]:
        """Return what the next update learns from: ``accumulate`` batches."""
        state, count = self.state, self.spec.training.accumulate
        slices = state.sampler.sample(state.learner.updates, self.spec.training.batch * count)
        # Dealt out: slices come longest first, and one batch must not hold all of the long ones.
        parts = (slices[first::count] for first in range(count))
        return [pack(part, self.parts.task.acted, self.parts.agent.device) for part in parts]

    def _record(self, metrics: Metrics) -> None:
        for tracker in self.trackers:
            tracker.record(metrics)
        self.reporter.round(metrics)

    def _metrics(
        self,
        outcomes: Sequence[Outcome],
        losses: Mapping[str, float],
        evaluation: Evaluation | None,
    ) -> Metrics:
        state = self.state
        metrics: Metrics = {
            "round": state.round,
            "update": state.learner.updates,
            "env_steps": self.env_steps,
            "trajectories": state.writer.stored,
            "seconds": round(state.seconds, 3),
            "cpu_seconds": round(state.cpu_seconds, 3),
            "peak_bytes": peak_memory(),
            "return": _mean([outcome.total for outcome in outcomes]),
            "success": _mean([o.success for o in outcomes if o.success is not None]),
            "length": _mean([outcome.length for outcome in outcomes]),
            "skipped": state.learner.skipped,
            "learning_rate": state.learner.learning_rate,
        }
        # JSON has no infinity; a mean that is not finite is recorded as missing.
        metrics |= {name: value if np.isfinite(value) else None for name, value in losses.items()}
        if evaluation is not None:
            metrics["eval/return"] = evaluation.mean_return
            metrics["eval/success"] = evaluation.success
        return metrics

    @property
    def env_steps(self) -> int:
        """Steps of all environments together."""
        return self.state.collector.steps * self.state.collector.size

    def _conclude(self, stopped: str, evaluation: Evaluation | None) -> Result:
        from amago_core.plots import plot_run

        if evaluation is None and stopped != "interrupted":
            self.reporter.note(f"already complete: {self._stopped_because(stopped)}")
            evaluation = self._last_evaluation()
        if evaluation is not None:
            self.folder.write_evaluation(evaluation)
        plot_run(self.folder, evaluation)
        return Result(
            run=self.folder.path,
            evaluation=evaluation,
            updates=self.state.learner.updates,
            env_steps=self.env_steps,
            seconds=self.state.seconds,
            cpu_seconds=self.state.cpu_seconds,
            peak_bytes=peak_memory(),
            stopped=stopped,
        )

    def _stopped_because(self, stopped: str) -> str:
        training = self.spec.training
        if stopped == "rounds":
            return f"training.rounds={training.rounds} is reached; a larger one goes on"
        limit = training.stop.return_ if stopped == "return" else training.stop.seconds
        return f"training.stop.{stopped}={limit:g} is reached; null or a larger one goes on"

    def _last_evaluation(self) -> Evaluation:
        """Return what the last round came to; evaluate anew only if that was never or over-written."""
        stored = self.folder.read_evaluation()
        if stored is not None and stored.mean_return == self.state.mean_return:
            return stored
        return self.evaluator(self.parts.agent)


class _Clock:
    """Wall and processor seconds since it was last asked."""

    def __init__(self) -> None:
        self._before = (0.0, 0.0)

    def lap(self) -> tuple[float, float]:
        now = (time.perf_counter(), time.process_time())
        taken = (now[0] - self._before[0], now[1] - self._before[1])
        self._before = now
        return taken


def peak_memory() -> int:
    """Return the most bytes of memory this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def by_discount(metrics: Mapping[str, torch.Tensor], discounts: Sequence[float]) -> dict[str, float]:
    """Return metrics as numbers; one per discount gets the discount behind its name: ``q/0.99``."""
    numbers: dict[str, float] = {}
    for name, metric in metrics.items():
        if metric.dim() == 0:
            numbers[name] = float(metric)
        else:
            of_discount = zip(discounts, metric.tolist(), strict=True)
            numbers |= {f"{name}/{discount:g}": number for discount, number in of_discount}
    return numbers


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
