"""Build the environments and the dataset of a spec, and check them against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium import spaces

from amago_core.acting.action_masks import check_mask
from amago_core.acting.task import Task
from amago_core.compose.dry_run import dry_run_dataset
from amago_core.compose.part import build_part
from amago_core.environments import MakeEnvironment, make_checked, step_budget
from amago_core.errors import part_errors
from amago_core.learning.relabeling import find_with_goals
from amago_registry.contexts import DatasetContext, EnvironmentContext
from amago_registry.errors import AmagoError, DatasetError, UnsupportedSpaceError
from amago_registry.protocols import Dataset
from amago_registry.spaces import canonical_action, check_observation

if TYPE_CHECKING:
    from amago_core.spec import RunSpec
    from amago_registry.options import Part


def compose_source(
    spec: RunSpec, environment: MakeEnvironment | None = None
) -> tuple[Task, Dataset | None]:
    """Build the task to train on, and the dataset, which is None where the spec has none.

    Without an environment, the task has the spaces of the dataset.

    Raises:
        AmagoError: If either cannot be used, or their spaces differ.
    """
    acts = spec.environment is not None or environment is not None
    task = compose_task(spec.environment, spec.seed, environment) if acts or not spec.dataset else None
    if spec.dataset is None:
        assert task is not None
        return task, None
    dataset = compose_dataset(spec, task)
    use = spec.dataset.use
    with part_errors("dataset", use, "asking for its spaces"):
        seen, acted = dataset.observation_space, dataset.action_space
    if task is None:
        task = Task(f"the dataset {use}", None, seen, acted, None)
        _check_supported(task, f"dataset {use}")
    for what, trained, given in (
        ("observations", task.observation_space, seen),
        ("actions", task.action_space, acted),
    ):
        if trained != given:
            raise DatasetError(
                f"the dataset {use} does not fit environment {task.name}: its {what} are {given}, "
                f"those of the environment {trained}."
            )
    dry_run_dataset(dataset, use, task)
    return task, dataset


def compose_dataset(spec: RunSpec, task: Task | None) -> Dataset:
    """Build the spec's dataset, with the spaces of the task if there is one."""
    assert spec.dataset is not None
    context = DatasetContext(
        context_length=spec.agent.context_length,
        observation_space=None if task is None else task.observation_space,
        action_space=None if task is None else task.action_space,
        build=lambda part, context: build_part("dataset", part, context),
    )
    dataset: Dataset = build_part("dataset", spec.dataset, context)
    return dataset


def compose_task(part: Part[Any] | None, seed: int, environment: MakeEnvironment | None = None) -> Task:
    """Build the task of a spec's ``environment``, or of a local function that makes environments.

    Constructs one environment to read its spaces, and resets it once to check that it works.

    Raises:
        AmagoError: If the environment cannot be used; the message names it.
    """
    if environment is not None:
        name, make = getattr(environment, "__name__", "local"), environment
    elif part is not None:
        name, make = part.use, part.build(EnvironmentContext(seed=seed)).make
    else:
        raise AmagoError("this spec has no environment: write environment: {use: some-name}.")
    (inner,) = make_checked(make, name, 1)
    try:
        if inner.spec is not None:
            name = f"{name} ({inner.spec.id})"
        seen, acted = inner.observation_space, inner.action_space
        recorded, goals = inner.recorded_space, find_with_goals(make)
        task = Task(name, make, seen, acted, step_budget(inner), goals, recorded)
        _check_supported(task, f"environment {name}")
        inner.reset(seed=seed)
    finally:
        inner.close()
    return task


def _check_supported(task: Task, owner: str) -> None:
    try:
        check_observation(task.observation_space)
        check_mask(task.observed, canonical_action(task.action_space))
    except UnsupportedSpaceError as error:
        raise UnsupportedSpaceError(f"{owner}: {error}") from None


def check_spaces(
    task: Task,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    trained_on: str,
) -> None:
    """Raise unless a task has the spaces that an agent was trained on.

    Raises:
        AmagoError: If they differ; the message names both environments and both spaces.
    """
    for what, trained, evaluated in (
        ("observations", observation_space, task.observation_space),
        ("actions", action_space, task.action_space),
    ):
        if trained != evaluated:
            raise AmagoError(
                f"the agent cannot be evaluated on environment {task.name}: its {what} are "
                f"{evaluated}, those of {trained_on} are {trained}."
            )
