"""Evaluate the trained agent of a run on new tasks, and write the result into its folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amago_core.acting.evaluation_result import Evaluation
from amago_core.acting.evaluator import FRESH_STREAM, Evaluator
from amago_core.compose.networks import device_of
from amago_core.compose.tasks import check_spaces, compose_task
from amago_core.environments import MakeEnvironment
from amago_core.run_folder.evaluation_spec import evaluation_spec
from amago_core.run_folder.weights import NEWEST, Weights, weights_of
from amago_core.system.atomic_files import sync_folder, write_file
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.run_folder.run_dir import RunDir


_log = logging.getLogger(__name__)

RESULTS = "evaluations"
"""Subfolder of a run with the results of evaluations after training."""


@dataclass(frozen=True)
class Evaluated:
    """An evaluation after training, and the file it was written to.

    Args:
        evaluation: The result.
        checkpoint: Folder of the evaluated checkpoint.
        round: Its training rounds.
        update: Its updates.
        file: The file of this result, in the run's ``evaluations/``.
    """

    evaluation: Evaluation
    checkpoint: str
    round: int
    update: int
    file: Path


def evaluate_run(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    environment: MakeEnvironment | None = None,
    checkpoint: str | int | Path = NEWEST,
) -> Evaluation:
    """Evaluate a run's agent on tasks on which it was neither trained nor evaluated before.

    The result is also written into the run's folder, as ``evaluations/001.json`` and so on, with the
    adaptation curve beside it. The last evaluation of training stays in ``evaluation.json``.

    Args:
        run: Folder of the run.
        overrides: Changes to its spec, such as ``evaluation.episodes=500``.
        environment: Makes the environment to evaluate in, instead of the one that the run names;
            required if the run was trained on a local one.
        checkpoint: Which checkpoint: ``newest``, ``best``, the number of a round, or a folder.

    Raises:
        AmagoError: If the folder holds no run or no such checkpoint, an override would change the
            agent, the environment's spaces are not the agent's, or a plugin is missing.
    """
    return evaluate_checkpoint(
        run, overrides, environment=environment, checkpoint=checkpoint
    ).evaluation


def evaluate_checkpoint(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    environment: MakeEnvironment | None = None,
    checkpoint: str | int | Path = NEWEST,
) -> Evaluated:
    """Evaluate as :func:`evaluate_run` does; also return the checkpoint and the result's file.

    Raises:
        AmagoError: As :func:`evaluate_run` does.
    """
    from amago_core.compose.make_collector import environments_of
    from amago_core.run_folder.load_agent import rebuild_agent
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.run_folder.spaces_json import read_spaces

    folder = RunDir(Path(run))
    folder.check()
    spec = evaluation_spec(folder, overrides)
    part = spec.evaluation.environment or spec.environment
    if part is None and environment is None:
        raise AmagoError(_no_environment(folder, offline=spec.training.steps_per_round == 0))
    task = compose_task(part, spec.seed, environment)
    check_spaces(task, *read_spaces(folder.spaces), trained_on="the environment it was trained on")
    weights = weights_of(folder, checkpoint)
    agent = rebuild_agent(folder, weights).to(device_of(spec))
    evaluator = Evaluator(
        task,
        episodes=spec.evaluation.episodes,
        environments=spec.collector.environments,
        sample=spec.evaluation.sample,
        seed=spec.seed,
        stream=FRESH_STREAM,
        step_limit=spec.evaluation.step_limit,
        make_many=lambda count: environments_of(spec, task, count),
        max_restarts=spec.collector.max_restarts,
        note=_log.warning,
    )
    try:
        evaluation = evaluator(agent)
    finally:
        evaluator.close()
    return _write(folder, evaluation, weights, task.name, overrides)


def _write(
    folder: RunDir, evaluation: Evaluation, weights: Weights, task: str, overrides: Sequence[str]
) -> Evaluated:
    """Write a result into ``evaluations/`` under the next free number."""
    from amago_core.run_folder.plots import plot_adaptation

    source: dict[str, Any] = {
        "checkpoint": weights.source,
        "round": weights.round,
        "update": weights.update,
    }
    record = {
        **source,
        "environment": task,
        "overrides": list(overrides),
        "evaluation": asdict(evaluation),
    }
    data, results = json.dumps(record, indent=1).encode(), folder.path / RESULTS
    try:
        results.mkdir(exist_ok=True)
        for number in count(1):
            file = results / f"{number:03}.json"
            try:
                write_file(file, data)
                break
            except FileExistsError:
                continue
        sync_folder(results)
        if len(evaluation.shared_attempts) > 1:
            plot_adaptation(evaluation, file.with_suffix(".png"))
    except OSError as error:
        raise AmagoError(
            f"the evaluation finished with a mean return of {evaluation.mean_return:g}, but cannot be "
            f"written to {results}: {error.strerror or error}."
        ) from error
    return Evaluated(evaluation, **source, file=file)


def _no_environment(folder: RunDir, *, offline: bool) -> str:
    listed = "to list them, type: amago components environment"
    if offline:
        return (
            f"{folder.path} was trained on recordings, without an environment. To evaluate it in one: "
            f"amago evaluate {folder.path} evaluation.environment=NAME; {listed}"
        )
    return (
        f"{folder.path} was trained on a local environment, of which only the spaces are stored. "
        f"In Python: amago_core.evaluate({str(folder.path)!r}, environment=make). "
        f"On an installed one: amago evaluate {folder.path} environment=NAME; {listed}"
    )
