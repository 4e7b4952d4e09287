"""Evaluating what a run has trained, on tasks it has never met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from amago_core.compose import check_spaces, compose_task, device_of
from amago_core.environments import MakeEnvironment
from amago_core.evaluation import FRESH_STREAM, Evaluation, Evaluator
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.run_dir import RunDir
    from amago_core.spec import RunSpec


def evaluate_run(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    environment: MakeEnvironment | None = None,
) -> Evaluation:
    """Evaluate the newest checkpoint of a run on tasks it has never been trained or evaluated on.

    Writes ``evaluation.json`` and the adaptation curve into the run's folder.

    Args:
        run: Folder of the run.
        overrides: Changes to its spec, such as ``evaluation.episodes=500``.
        environment: Makes the environment of a run that was trained on a local one.

    Raises:
        AmagoError: If the folder holds no run or no checkpoint, an override would change the agent, or
            the environment does not suit it.
    """
    from amago_core.embedding import load_agent
    from amago_core.plots import plot_adaptation
    from amago_core.run_dir import RunDir

    folder = RunDir(Path(run))
    folder.check()
    spec = _evaluated_spec(folder, overrides)
    part = spec.evaluation.environment or spec.environment
    local = environment if spec.evaluation.environment is None else None
    task = compose_task(part, spec.seed, local)
    check_spaces(task, *folder.read_spaces(), trained_on="the environment it was trained on")
    evaluator = Evaluator(
        task,
        episodes=spec.evaluation.episodes,
        environments=spec.collector.environments,
        sample=spec.evaluation.sample,
        seed=spec.seed,
        stream=FRESH_STREAM,
        step_limit=spec.evaluation.step_limit,
    )
    try:
        evaluation = evaluator(load_agent(folder).to(device_of(spec)))
    finally:
        evaluator.close()
    folder.write_evaluation(evaluation)
    if evaluation.attempts:
        plot_adaptation(evaluation, folder.adaptation)
    return evaluation


def _evaluated_spec(folder: RunDir, overrides: Sequence[str]) -> RunSpec:
    """Return a run's spec with overrides that say where, how long and on what to evaluate."""
    from amago_core.spec import load_spec
    from amago_core.spec.comparing import differences

    stored = load_spec(folder.spec, local_environment=True)
    spec = load_spec(folder.spec, overrides, local_environment=True)
    free = ("environment", "evaluation", "collector.environments", "running", "seed")
    fixed = [line for line in differences(stored, spec) if not line.startswith(free)]
    if fixed:
        listed = "".join(f"\n  {line}" for line in fixed)
        raise AmagoError(
            f"{folder.path} is trained; an evaluation cannot change{listed}\n"
            f"It can change {', '.join(free)}."
        )
    return spec
