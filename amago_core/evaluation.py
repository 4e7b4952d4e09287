"""How good an agent is: by task, and by attempt within a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from amago_core.agent import Agent
from amago_core.collector import Collector, Tasks
from amago_core.compose import Task, compose_task
from amago_core.environments import MakeEnvironment, make_environments
from amago_core.recording import Outcome

if TYPE_CHECKING:
    from amago_core.spec import RunSpec

EVALUATION_STREAM = 1
_CHUNK = 16


@dataclass(frozen=True)
class Attempt:
    """One attempt, over all tasks that came to it.

    Args:
        tasks: How many did.
        success: Mean outcome.
        total: Mean return of the attempt.
        standard_error: Of the mean return.
    """

    tasks: int
    success: float
    total: float
    standard_error: float


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Args:
        episodes: Tasks, one trajectory each.
        total: Mean return.
        standard_error: Of the mean return.
        success: Mean success; None where the environment says nothing of it.
        length: Mean steps.
        attempts: Outcome by attempt, first to last; empty for tasks without attempts.
    """

    episodes: int
    total: float
    standard_error: float
    success: float | None
    length: float
    attempts: tuple[Attempt, ...]

    @property
    def adaptation(self) -> tuple[float, float] | None:
        """Mean return per attempt over the first and over the last tenth of the attempts."""
        if len(self.attempts) < 2:
            return None
        tenth = max(1, len(self.attempts) // 10)
        totals = np.array([attempt.total for attempt in self.attempts])
        return float(totals[:tenth].mean()), float(totals[-tenth:].mean())


def summarize(outcomes: Sequence[Outcome]) -> Evaluation:
    """Return the result of one trajectory per task."""
    totals = np.array([outcome.total for outcome in outcomes])
    successes = [outcome.success for outcome in outcomes if outcome.success is not None]
    return Evaluation(
        episodes=len(outcomes),
        total=float(totals.mean()),
        standard_error=standard_error(totals),
        success=float(np.mean(successes)) if successes else None,
        length=float(np.mean([outcome.length for outcome in outcomes])),
        attempts=_by_attempt(outcomes),
    )


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean; 0 for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _by_attempt(outcomes: Sequence[Outcome]) -> tuple[Attempt, ...]:
    most = max(len(outcome.successes) for outcome in outcomes)
    if most < 2:
        return ()
    attempts = []
    for number in range(most):
        reached = [outcome for outcome in outcomes if len(outcome.successes) > number]
        success = np.mean([outcome.successes[number] for outcome in reached])
        totals = np.array([outcome.attempt_returns[number] for outcome in reached])
        attempt = Attempt(len(reached), float(success), float(totals.mean()), standard_error(totals))
        attempts.append(attempt)
    return tuple(attempts)


def evaluate_agent(
    agent: Agent, task: Task, *, episodes: int, environments: int, sample: bool, seed: int
) -> Evaluation:
    """Run an agent on the first ``episodes`` evaluation tasks of a seed, one trajectory each.

    The tasks are the same at every call. Global random state is left as it was.

    Args:
        agent: The agent; its weights are not changed.
        task: Where to act.
        episodes: Number of tasks.
        environments: Most environments side by side.
        sample: Draw from the policy instead of taking its mode.
        seed: Seed of the run.
    """
    count = min(environments, episodes)
    vector = make_environments(task.make, task.name, count)
    tasks = Tasks(seed, EVALUATION_STREAM, np.zeros(count, np.int64))
    collector = Collector(agent, vector, task.name, tasks, sample=sample)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return summarize(_first_outcomes(collector, episodes))
    finally:
        vector.close()


def _first_outcomes(collector: Collector, episodes: int) -> list[Outcome]:
    # Later tasks only fill environments that would idle; counting them would favour short ones.
    wanted = {collector.tasks.seed_of(number) for number in range(episodes)}
    outcomes: list[Outcome] = []
    collector.start()
    while wanted - {outcome.seed for outcome in outcomes}:
        collector.run(_CHUNK, None, outcomes)
    return [outcome for outcome in outcomes if outcome.seed in wanted]


def evaluation_task(spec: RunSpec, environment: MakeEnvironment | None = None) -> Task:
    """Return what a spec evaluates on: ``evaluation.environment``, else the training one."""
    part = spec.evaluation.environment
    if part is not None:
        return compose_task(part, spec.seed)
    return compose_task(spec.environment, spec.seed, environment)


def evaluate_run(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    environment: MakeEnvironment | None = None,
) -> Evaluation:
    """Evaluate the newest checkpoint of a run; write ``evaluation.json`` and the adaptation curve.

    Args:
        run: Folder of the run.
        overrides: Changes to its spec, such as ``evaluation.episodes=500``.
        environment: Makes the environment of a run that was trained on a local one.

    Raises:
        AmagoError: If the folder holds no run or no checkpoint.
    """
    from amago_core.embedding import load_agent
    from amago_core.plots import plot_adaptation
    from amago_core.run_dir import RunDir
    from amago_core.spec import load_spec

    folder = RunDir(Path(run))
    folder.check()
    spec = load_spec(folder.spec, overrides, local_environment=environment is not None)
    task = evaluation_task(spec, environment)
    evaluation = evaluate_agent(
        load_agent(folder),
        task,
        episodes=spec.evaluation.episodes,
        environments=spec.collector.environments,
        sample=spec.evaluation.sample,
        seed=spec.seed,
    )
    folder.write_evaluation(evaluation)
    if evaluation.attempts:
        plot_adaptation(evaluation, folder.adaptation)
    return evaluation
