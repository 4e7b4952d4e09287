"""Build all parts of a resolved spec and check that they fit together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from amago_core.acting.action_masks import check_takes_mask
from amago_core.acting.agent import Agent
from amago_core.acting.task import Task
from amago_core.compose.dry_run import dry_run
from amago_core.compose.networks import check_precision, compose_agent, compose_objective, device_of
from amago_core.compose.part import build_part
from amago_core.compose.tasks import check_spaces, compose_source, compose_task
from amago_core.environments import MakeEnvironment, make_environments
from amago_core.learning.checked_parts import TrajectoryChecker
from amago_core.learning.relabeling import build_relabeler, goal_oracle_of
from amago_core.spec import RunSpec
from amago_core.spec.checks import check_learning_data
from amago_registry.contexts import ExplorationContext
from amago_registry.errors import AmagoError
from amago_registry.protocols import Dataset, Exploration, Relabeler


@dataclass(frozen=True)
class Composition:
    """The parts of a spec, built and checked against each other; nothing is started or written.

    Args:
        task: The task to train on: the environment's, or the one its dataset was recorded in.
        evaluation_task: The task to evaluate on; the same object unless the spec names another
            environment, None without an environment.
        agent: The networks, on the spec's device.
        objective: The loss that trains the agent, with its target networks.
        exploration: Changes actions while collecting; None where nothing is collected.
        relabeler: Rewrites sampled trajectories.
        dataset: Recorded trajectories to learn from; None where the spec names none.
    """

    task: Task
    evaluation_task: Task | None
    agent: Agent
    objective: nn.Module
    exploration: Exploration | None
    relabeler: Relabeler
    dataset: Dataset | None


def compose(
    spec: RunSpec,
    environment: MakeEnvironment | None = None,
    prepare: Callable[[Agent], None] | None = None,
) -> Composition:
    """Build all parts of a spec; weights come from torch's global generator.

    Args:
        spec: The resolved spec.
        environment: Makes a local environment, in place of the spec's.
        prepare: Called with the agent before the objective is built, to load other weights. The
            objective's target networks begin as copies of the actor and critic.

    Raises:
        AmagoError: If a part cannot be built, cannot run on this machine, or does not fit the others.
    """
    device = device_of(spec)
    check_precision(spec, device)
    check_learning_data(spec, acts=spec.environment is not None or environment is not None)
    task, dataset = compose_source(spec, environment)
    evaluation_task = task if task.make is not None else None
    if spec.evaluation.environment is not None:
        evaluation_task = compose_task(spec.evaluation.environment, spec.seed)
        check_spaces(evaluation_task, task.observation_space, task.action_space, task.name)
    exploration = compose_exploration(spec, task) if spec.training.steps_per_round else None
    if spec.collector.vectorization == "native":
        _check_vector_form(task)
        if evaluation_task is not task:
            _check_vector_form(evaluation_task)
    relabeler = compose_relabeler(spec, task)
    check_segments(spec, relabeler)
    agent = compose_agent(spec.agent, task).to(device)
    if prepare is not None:
        prepare(agent)
    objective = compose_objective(spec.agent, agent, task).to(device)
    dry_run(agent, objective, task, spec.agent, bf16=spec.running.precision == "bf16")
    return Composition(task, evaluation_task, agent, objective, exploration, relabeler, dataset)


def _check_vector_form(task: Task | None) -> None:
    if task is not None and task.make is not None:
        make_environments(task.make, task.name, 1, "native").close()


def compose_relabeler(spec: RunSpec, task: Task) -> Relabeler:
    """Build the relabeler, which rewrites sampled trajectories of a task."""
    name = "" if task.make is None else task.name
    checker = TrajectoryChecker(task.observed, task.acted)
    columns = None if spec.dataset is not None else task.columns  # A dataset may have other columns.
    return build_relabeler(spec.relabeler, checker, goal_oracle_of(task), name, columns)


def check_segments(spec: RunSpec, relabeler: Relabeler) -> None:
    """Raise if the collector stores segments and the relabeler needs whole trajectories.

    Raises:
        AmagoError: If both are set; the message says how to switch either off.
    """
    if spec.collector.segment_length is not None and not relabeler.identity:
        raise AmagoError(
            f"the relabeler {spec.relabeler.use} rewrites whole trajectories, and "
            f"collector.segment_length={spec.collector.segment_length} stores segments: write "
            "collector.segment_length=null or relabeler=none."
        )


def compose_exploration(spec: RunSpec, task: Task) -> Exploration:
    """Build the exploration, which changes actions while collecting."""
    context = ExplorationContext(
        action_space=task.acted,
        environments=spec.collector.environments,
        horizon=task.horizon,
    )
    exploration: Exploration = build_part("exploration", spec.exploration, context)
    if task.masked:
        call = ("action", "time_B", "step", "rng", "action_mask_BA")
        check_takes_mask(exploration, "exploration", spec.exploration.use, call, task.name)
    return exploration
