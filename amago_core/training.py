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

from amago_core.checkpoints import Checkpoint, CheckpointStore
from amago_core.collector import Collector, Tasks
from amago_core.compose import Task, compose_agent, compose_objective, compose_task, rehearse
from amago_core.environments import EnvironmentFault, MakeEnvironment, make_environments
from amago_core.evaluation import Evaluation, evaluate_agent, evaluation_task
from amago_core.interruption import Interruption
from amago_core.learner import Learner
from amago_core.packing import pack
from amago_core.progress import Reporter, make_reporter
from amago_core.recording import Outcome
from amago_core.replay import Replay, ReplayWriter, Sampler
from amago_core.run_dir import RunDir
from amago_core.threads import thread_count
from amago_registry.contexts import ExplorationContext, RelabelerContext, TrackerContext
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.spec import RunSpec
    from amago_core.tensor_trees import TensorTree

TRAINING_STREAM = 0
Metrics = dict[str, float | int | str | None]


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Args:
        run: Its folder.
        evaluation: The last evaluation.
        updates: Optimiser steps.
        env_steps: Steps of all environments together.
        seconds: Wall time of training, earlier parts of a resumed run included.
        cpu_seconds: Processor time of the same.
        peak_bytes: Most memory this process held.
        stopped: Why it ended: ``rounds``, ``seconds``, ``return`` or ``interrupted``.
    """

    run: Path
    evaluation: Evaluation
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

    Nothing is written until the spec is valid and all its parts are built.

    Args:
        spec: A YAML file, its content, or a finished spec.
        overrides: Changes to it, such as ``agent.backbone=gru``.
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
    folder = RunDir(Path(run) if run is not None else Path("runs") / (spec.name or "run"))
    if resume:
        folder.check()
        _check_same(folder, spec, environment is not None)
    torch.set_num_threads(thread_count(spec.running.threads))
    torch.manual_seed(spec.seed)
    training = Training(spec, folder, environment, reporter or make_reporter())
    try:
        if not resume:
            folder.create(spec, training.task)
        return training.go(resume)
    finally:
        training.close()


def _device(spec: RunSpec) -> torch.device:
    if spec.running.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if spec.running.device == "cuda" and not torch.cuda.is_available():
        raise AmagoError(
            "running.device is cuda, and this torch finds no CUDA device; use auto or cpu."
        )
    return torch.device(spec.running.device)


def _check_same(folder: RunDir, spec: RunSpec, local: bool) -> None:
    """Refuse to go on under another spec; how long and how often things happen may change."""
    from amago_core.spec import load_spec
    from amago_core.spec.comparing import differences

    stored = load_spec(folder.spec, local_environment=local)
    free = ("training.rounds", "training.stop", "evaluation", "checkpoints", "trackers", "running")
    changed = [line for line in differences(stored, spec) if not line.startswith(free)]
    if changed:
        listed = "".join(f"\n  {line}" for line in changed)
        raise AmagoError(f"{folder.path} was trained with another spec; it cannot go on with:{listed}")


class Training:
    """One interleaved run.

    Args:
        spec: The resolved spec.
        folder: Where everything is stored.
        environment: Makes a local environment; None for the spec's.
        reporter: Shows progress.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunDir,
        environment: MakeEnvironment | None,
        reporter: Reporter,
    ) -> None:
        self.spec, self.folder, self.reporter = spec, folder, reporter
        self.task = compose_task(spec.environment, spec.seed, environment)
        self.evaluation_task = evaluation_task(spec, environment)
        _check_spaces(self.task, self.evaluation_task)
        device = _device(spec)
        self.agent = compose_agent(spec.agent, self.task).to(device)
        rehearse(self.agent, self.task)
        self.objective = compose_objective(spec.agent, self.agent).to(device)
        self.learner = Learner(self.agent, self.objective, spec.training)
        self.relabeler = spec.relabeler.build(RelabelerContext())
        self.collector = self._compose_collector()
        self.trackers = [part.build(TrackerContext(run_dir=folder.path)) for part in spec.trackers]
        self.store = CheckpointStore(folder.checkpoints, keep=spec.checkpoints.keep)
        self.round = 0
        self.seconds, self.cpu_seconds = 0.0, 0.0
        self._evaluation: Evaluation | None = None
        self._evaluated = 0

    def _compose_collector(self) -> Collector:
        spec, count = self.spec, self.spec.collector.environments
        exploration = spec.exploration.build(
            ExplorationContext(
                action_space=self.task.acted, environments=count, horizon=self.task.horizon
            )
        )
        return Collector(
            self.agent,
            make_environments(self.task.make, self.task.name, count),
            self.task.name,
            Tasks(spec.seed, TRAINING_STREAM, np.zeros(count, np.int64)),
            sample=spec.collector.sample,
            exploration=exploration,
            rng=np.random.default_rng([spec.seed, TRAINING_STREAM]),
        )

    def close(self) -> None:
        """Close the environments."""
        self.collector.environments.close()

    def go(self, resume: bool) -> Result:
        """Train until the spec says stop; plot and return what it came to."""
        checkpoint = self._restore() if resume else None
        self._open_replay(checkpoint.facts["stored"] if checkpoint is not None else 0)
        if checkpoint is None:
            self.collector.start()
            self._save()
        for tracker in self.trackers:
            tracker.start(self.round if resume else None)
        self.reporter.start(
            f"{self.spec.name} ({self.folder.path})", self.spec.training.rounds, self.round
        )
        try:
            stopped = self._rounds()
        finally:
            for tracker in self.trackers:
                tracker.finish()
            self.reporter.finish()
        return self._conclude(stopped)

    def _rounds(self) -> str:
        training = self.spec.training
        with Interruption(self._announce_stop) as interruption:
            stopped = self._reason_to_stop()
            while stopped is None and self.round < training.rounds:
                self._one_round(last=self.round + 1 == training.rounds)
                stopped = self._reason_to_stop()
                if interruption.requested:
                    stopped = "interrupted"
                last = stopped is not None or self.round == training.rounds
                if last or self.round % self.spec.checkpoints.every == 0:
                    self._save()
        return stopped or "rounds"

    def _announce_stop(self) -> None:
        self.reporter.note(
            "stopping after this round; what was learned is saved. Again to stop at once."
        )

    def _reason_to_stop(self) -> str | None:
        stop = self.spec.training.stop
        if stop.seconds is not None and self.seconds >= stop.seconds:
            return "seconds"
        evaluated_now = self._evaluation_due() and self._evaluation is not None
        if stop.return_ is not None and evaluated_now:
            assert self._evaluation is not None
            return "return" if self._evaluation.total >= stop.return_ else None
        return None

    def _evaluation_due(self) -> bool:
        every = self.spec.evaluation.every
        return every > 0 and self.round % every == 0

    def _one_round(self, *, last: bool) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        outcomes: list[Outcome] = []
        try:
            self._collect(outcomes)
        except EnvironmentFault:
            # Started trajectories cannot go on; the weights are those of the last round.
            self.writer.flush(self.learner.updates)
            self._save(acting=False)
            raise
        losses = self._update()
        self.round += 1
        evaluated, fault = self._try_to_evaluate() if last or self._evaluation_due() else (None, None)
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu
        self._record(self._metrics(outcomes, losses, evaluated))
        if fault is not None:
            self._save()
            raise fault

    def _record(self, metrics: Metrics) -> None:
        for tracker in self.trackers:
            tracker.record(metrics)
        self.reporter.round(metrics)

    def _try_to_evaluate(self) -> tuple[Evaluation | None, EnvironmentFault | None]:
        try:
            return self._evaluate(), None
        except EnvironmentFault as fault:
            return None, fault

    def _collect(self, outcomes: list[Outcome]) -> None:
        steps, done = self.spec.training.steps_per_round, 0
        while done < steps:
            chunk = min(32, steps - done)
            self.collector.run(chunk, self.writer.append, outcomes)
            done += chunk
            self.reporter.tick("collecting", done, steps)
        self.writer.flush(self.learner.updates)
        self.replay.refresh()

    def _update(self) -> dict[str, float]:
        count = self.spec.training.updates_per_round
        if not self.replay.visible():
            return {}
        sums: dict[str, torch.Tensor] = {}
        for done in range(count):
            slices = self.sampler.sample(self.learner.updates, self.spec.training.batch)
            metrics = self.learner.update(pack(slices, self.task.acted, self.agent.device))
            sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
            self.reporter.tick("updating", done + 1, count)
        return {name: float(total) / count for name, total in sums.items()}

    def _evaluate(self) -> Evaluation:
        self.reporter.tick("evaluating", 0, 1)
        self._evaluated = self.round
        self._evaluation = evaluate_agent(
            self.agent,
            self.evaluation_task,
            episodes=self.spec.evaluation.episodes,
            environments=self.spec.collector.environments,
            sample=self.spec.evaluation.sample,
            seed=self.spec.seed,
        )
        return self._evaluation

    @property
    def env_steps(self) -> int:
        """Steps of all environments together."""
        return self.collector.steps * self.collector.size

    def _metrics(
        self, outcomes: Sequence[Outcome], losses: Mapping[str, float], evaluated: Evaluation | None
    ) -> Metrics:
        metrics: Metrics = {
            "round": self.round,
            "update": self.learner.updates,
            "env_steps": self.env_steps,
            "trajectories": self.writer.stored,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "peak_bytes": peak_memory(),
            "return": _mean([outcome.total for outcome in outcomes]),
            "success": _mean([o.success for o in outcomes if o.success is not None]),
            "length": _mean([outcome.length for outcome in outcomes]),
            "skipped": self.learner.skipped,
            "learning_rate": self.learner.learning_rate,
        }
        # JSON has no NaN; a loss that is not finite is recorded as missing.
        metrics |= {name: value if np.isfinite(value) else None for name, value in losses.items()}
        if evaluated is not None:
            metrics["eval/return"] = evaluated.total
            metrics["eval/success"] = evaluated.success
        return metrics

    def _open_replay(self, stored: int) -> None:
        """Open the replay at a checkpoint's number of trajectories; later ones are set aside."""
        Replay(self.folder.replay, self.spec.replay.capacity).set_aside(after=stored)
        self.writer = ReplayWriter(self.folder.replay)
        self.replay = Replay(self.folder.replay, self.spec.replay.capacity)
        self.replay.refresh()
        self.replay.visible(limit=stored)  # Refuses to go on if any of them is missing.
        self.sampler = Sampler(
            self.replay, self.spec.seed, self.spec.agent.context_length, self.relabeler
        )

    def _save(self, *, acting: bool = True) -> None:
        learned, learner_facts = self.learner.state()
        tensors: dict[str, TensorTree] = {"model": dict(self.agent.state_dict()), "learner": learned}
        facts: dict[str, Any] = {
            "learner": learner_facts,
            "stored": self.writer.stored,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        acted, facts["collector"] = self.collector.state()
        if acting:
            tensors["acting"] = acted
        self.store.save(self.round, self.learner.updates, tensors, facts)
        self._evict()
        if not acting:
            self.reporter.note(f"what was trained so far is saved in {self.folder.path}")

    def _evict(self) -> None:
        oldest = min((kept.facts["stored"] for kept in self.store.kept()), default=0)
        self.replay.evict(before=oldest - self.spec.replay.capacity)

    def _restore(self) -> Checkpoint | None:
        checkpoint, damaged = self.store.survey()
        for reason in damaged:
            self.reporter.note(f"skipped a damaged checkpoint: {reason}")
        if checkpoint is None:
            self.reporter.note("there is no whole checkpoint to go on from: training begins anew")
            return None
        tensors, facts = self.store.load(checkpoint)
        self.agent.load_state_dict(tensors["model"])
        self.round = checkpoint.round
        self.seconds, self.cpu_seconds = facts["seconds"], facts["cpu_seconds"]
        self._restore_collector(tensors, facts["collector"])
        # Last, because it restores torch's generator, which building parts may have used.
        self.learner.load_state(tensors["learner"], facts["learner"])
        self.reporter.note(f"going on after round {self.round}, update {self.learner.updates}")
        return checkpoint

    def _restore_collector(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        if "acting" not in tensors:
            self.collector.restart(facts)
        elif not self.collector.load_state(tensors["acting"], facts):
            self.reporter.note(
                f"environment {self.task.name} did not replay to where it was: it is not reproducible "
                "from its seed, so new trajectories begin and this run is not bit-exact"
            )

    def _conclude(self, stopped: str) -> Result:
        from amago_core.plots import plot_run

        if self._evaluation is None or (self._evaluated < self.round and stopped != "interrupted"):
            self._evaluation = self._evaluate()
        self.folder.write_evaluation(self._evaluation)
        plot_run(self.folder, self._evaluation)
        return Result(
            run=self.folder.path,
            evaluation=self._evaluation,
            updates=self.learner.updates,
            env_steps=self.env_steps,
            seconds=self.seconds,
            cpu_seconds=self.cpu_seconds,
            peak_bytes=peak_memory(),
            stopped=stopped,
        )


def peak_memory() -> int:
    """Return the most bytes of memory this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _check_spaces(training: Task, evaluation: Task) -> None:
    """Refuse to evaluate on what the agent cannot see or do."""
    pairs = (
        ("observations", training.observation_space, evaluation.observation_space),
        ("actions", training.action_space, evaluation.action_space),
    )
    for what, trained, evaluated in pairs:
        if trained != evaluated:
            raise AmagoError(
                f"evaluation.environment {evaluation.name} has other {what} than {training.name}: "
                f"{evaluated} instead of {trained}."
            )
