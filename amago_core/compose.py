"""From a resolved spec to objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from torch import nn

from amago_core.agent import Agent
from amago_core.blaming import blaming
from amago_core.environments import MakeEnvironment, make_checked, make_environments, step_budget
from amago_core.initializing import Initialization, read_weights, take_over
from amago_core.learning_data import check_learning_data
from amago_core.masks import check_mask, check_takes_mask, shows_mask
from amago_core.rehearsal import rehearse, rehearse_dataset
from amago_registry.actions import CanonicalAction, action_width, choices
from amago_registry.contexts import (
    ActorContext,
    BackboneContext,
    CriticContext,
    DatasetContext,
    EncoderContext,
    EnvironmentContext,
    ExplorationContext,
    ObjectiveContext,
)
from amago_registry.errors import AmagoError, DatasetError, UnsupportedSpaceError
from amago_registry.protocols import Dataset, Exploration, Relabeler
from amago_registry.spaces import canonical_action, canonical_observation, check_observation
from amago_registry.trajectories import OBSERVATION

if TYPE_CHECKING:
    from amago_core.loading.relabeling import Offer
    from amago_core.spec import AgentSpec, RunSpec
    from amago_registry.options import Part


@dataclass(frozen=True)
class Task:
    """An environment to act in, or what a dataset was recorded in.

    Args:
        name: What users call it.
        make: Makes a fresh environment; None where a dataset is all there is.
        observation_space: As one environment declares it, or the dataset.
        action_space: As one environment declares it, or the dataset.
        horizon: Most steps a trajectory lasts; None if the environment does not say.
        offer: What other goals would have led to, for relabelers; None if the environment cannot say.
        recorded_space: What is recorded beside observations; None if that is not known.
    """

    name: str
    make: MakeEnvironment | None
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    horizon: int | None
    offer: Offer | None = None
    recorded_space: spaces.Dict | None = None

    @property
    def observed(self) -> spaces.Dict:
        """The observation space as the agent sees it."""
        return canonical_observation(self.observation_space)

    @property
    def acted(self) -> CanonicalAction:
        """The action space as the agent sees it."""
        return canonical_action(self.action_space)

    @property
    def columns(self) -> dict[str, tuple[int, ...]] | None:
        """Names of what is seen and recorded, and the shape of one timestep; None if not known."""
        if self.recorded_space is None:
            return None
        seen = {f"{OBSERVATION}{key}": leaf for key, leaf in self.observed.items()}
        return {name: leaf.shape or () for name, leaf in {**seen, **self.recorded_space}.items()}

    @property
    def masked(self) -> bool:
        """Whether observations show which actions may be taken."""
        return shows_mask(self.observed, self.acted)


@dataclass(frozen=True)
class Row:
    """One part in the table of ``amago check``.

    Args:
        part: Key in the spec.
        use: Full name of the component.
        shape_in: What it takes, per timestep.
        shape_out: What it gives, per timestep.
        parameters: Trained numbers.
    """

    part: str
    use: str
    shape_in: str
    shape_out: str
    parameters: int


@dataclass(frozen=True)
class Composition:
    """Everything a spec names, built and shown to fit together; nothing is started or written.

    Args:
        task: Where the agent is trained, or what its dataset was recorded in.
        evaluation_task: Where it is evaluated; the same object unless the spec says otherwise, None
            where there is no environment.
        agent: The networks, on the spec's device.
        objective: What trains them.
        exploration: Changes actions while collecting; None where nothing is collected.
        relabeler: Rewrites sampled trajectories.
        dataset: Trajectories recorded elsewhere; None where the spec names none.
        initialization: What the agent took over from another run; None if its weights are new.
    """

    task: Task
    evaluation_task: Task | None
    agent: Agent
    objective: nn.Module
    exploration: Exploration | None
    relabeler: Relabeler
    dataset: Dataset | None
    initialization: Initialization | None


def compose(
    spec: RunSpec, environment: MakeEnvironment | None = None, *, initialize: bool = True
) -> Composition:
    """Build all parts of a spec; weights come from torch's global generator.

    Args:
        spec: The resolved spec.
        environment: Makes a local environment, in place of the spec's.
        initialize: Whether to take over the weights that ``init_from`` names.

    Raises:
        AmagoError: If a part cannot be built, cannot run here, or does not fit the others.
    """
    device = device_of(spec)
    check_precision(spec, device)
    check_learning_data(spec, acts=spec.environment is not None or environment is not None)
    weights = read_weights(spec.init_from) if initialize and spec.init_from else None
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
    check_pieces(spec, relabeler)
    agent = compose_agent(spec.agent, task).to(device)
    # Before the objective is composed: its targets begin as copies of the actor and critic.
    taken = None if weights is None else take_over(agent, weights, spec.name)
    objective = compose_objective(spec.agent, agent, task).to(device)
    rehearse(agent, objective, task, spec.agent, half=spec.running.precision == "bf16")
    return Composition(task, evaluation_task, agent, objective, exploration, relabeler, dataset, taken)


def _check_vector_form(task: Task | None) -> None:
    if task is not None and task.make is not None:
        make_environments(task.make, task.name, 1, "native").close()


def device_of(spec: RunSpec) -> torch.device:
    """Return where a spec's networks live.

    Raises:
        AmagoError: If it asks for CUDA where there is none.
    """
    asked = spec.running.device
    if asked == "cuda" and not torch.cuda.is_available():
        raise AmagoError(
            "running.device is cuda, and this torch finds no CUDA device; use auto or cpu."
        )
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(found if asked == "auto" else asked)


def check_precision(spec: RunSpec, device: torch.device) -> None:
    """Refuse to train in a precision that the device is not for.

    Raises:
        AmagoError: If bf16 is asked for where there is no CUDA.
    """
    if spec.running.precision == "bf16" and device.type != "cuda":
        on_cpu = spec.running.device == "cpu"
        why = "running.device is cpu" if on_cpu else "this torch finds no CUDA device"
        raise AmagoError(
            f"running.precision is bf16, which needs a CUDA device, and {why}: write "
            "running.precision=fp32."
        )


def compose_source(
    spec: RunSpec, environment: MakeEnvironment | None = None
) -> tuple[Task, Dataset | None]:
    """Return the task that is learned, and the dataset that is learned from, where the spec has one.

    Without an environment, the task is the one that the dataset was recorded in.

    Raises:
        AmagoError: If either cannot be used, or they do not fit together.
    """
    acts = spec.environment is not None or environment is not None
    task = compose_task(spec.environment, spec.seed, environment) if acts or not spec.dataset else None
    if spec.dataset is None:
        assert task is not None
        return task, None
    dataset = compose_dataset(spec, task)
    use = spec.dataset.use
    with blaming("dataset", use, "asking for its spaces"):
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
                f"the dataset {use} is not of environment {task.name}: its {what} are {given}, those "
                f"of the environment {trained}."
            )
    rehearse_dataset(dataset, use, task)
    return task, dataset


def compose_dataset(spec: RunSpec, task: Task | None) -> Dataset:
    """Build the spec's dataset, for a task where there is one."""
    assert spec.dataset is not None
    context = DatasetContext(
        context_length=spec.agent.context_length,
        observation_space=None if task is None else task.observation_space,
        action_space=None if task is None else task.action_space,
        build=lambda part, context: _build("dataset", part, context),
    )
    dataset: Dataset = _build("dataset", spec.dataset, context)
    return dataset


def compose_relabeler(spec: RunSpec, task: Task) -> Relabeler:
    """Build what rewrites sampled trajectories of a task."""
    from amago_core.loading.relabeling import build_relabeler
    from amago_core.loading.watched import Forms

    name = "" if task.make is None else task.name
    forms = Forms(task.observed, task.acted)
    columns = None if spec.dataset is not None else task.columns  # A dataset may have others.
    return build_relabeler(spec.relabeler, forms, task.offer, name, columns)


def compose_task(part: Part[Any] | None, seed: int, environment: MakeEnvironment | None = None) -> Task:
    """Return the task of a spec's ``environment``, or of a local function that makes one.

    Constructs one environment and resets it once, to learn its spaces and see it work.

    Raises:
        AmagoError: If the environment cannot be used; the message names it.
    """
    if environment is not None:
        name, make = getattr(environment, "__name__", "local"), environment
    elif part is not None:
        name, make = part.use, part.build(EnvironmentContext(seed=seed)).make
    else:
        raise AmagoError("this spec has no environment: write environment: {use: some-name}.")
    from amago_core.loading.relabeling import offered

    (inner,) = make_checked(make, name, 1)
    try:
        if inner.spec is not None:
            name = f"{name} ({inner.spec.id})"
        seen, acted = inner.observation_space, inner.action_space
        offer, recorded = offered(make, name), inner.recorded_space
        task = Task(name, make, seen, acted, step_budget(inner), offer, recorded)
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
    """Refuse to evaluate an agent on what it cannot see or do.

    Raises:
        AmagoError: Naming both environments and both spaces.
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


def compose_agent(spec: AgentSpec, task: Task) -> Agent:
    """Build the networks of an agent for a task; weights come from torch's global generator."""
    seen = EncoderContext(observation_space=task.observed, action_space=task.acted)
    encoder = _build("encoder", spec.encoder, seen)
    sequences = BackboneContext(
        in_dim=_width("encoder", spec.encoder, encoder),
        context_length=spec.context_length,
        build=lambda part, context: part.build(context),
    )
    backbone = _build("backbone", spec.backbone, sequences)
    width = _width("backbone", spec.backbone, backbone)
    heads: dict[str, Any] = {"in_dim": width, "action_space": task.acted, "discounts": spec.discounts}
    actor = _build("actor", spec.actor, ActorContext(**heads))
    if task.masked:
        call = ("state_NE", "action_mask_NA")
        check_takes_mask(actor, "actor", spec.actor.use, call, task.name)
    critic = _build("critic", spec.critic, CriticContext(**heads))
    return Agent(encoder, backbone, actor, critic, masked=task.masked)


def check_pieces(spec: RunSpec, relabeler: Relabeler) -> None:
    """Refuse to store pieces for a relabeler, which must see how a trajectory went on.

    Raises:
        AmagoError: Saying which of the two to give up.
    """
    if spec.collector.piece_length is not None and not relabeler.identity:
        raise AmagoError(
            f"the relabeler {spec.relabeler.use} rewrites whole trajectories, and "
            f"collector.piece_length={spec.collector.piece_length} stores pieces: write "
            "collector.piece_length=null or relabeler=none."
        )


def compose_exploration(spec: RunSpec, task: Task) -> Exploration:
    """Build what changes actions while collecting."""
    context = ExplorationContext(
        action_space=task.acted,
        environments=spec.collector.environments,
        horizon=task.horizon,
    )
    exploration: Exploration = _build("exploration", spec.exploration, context)
    if task.masked:
        call = ("action", "time_B", "step", "rng", "action_mask_BA")
        check_takes_mask(exploration, "exploration", spec.exploration.use, call, task.name)
    return exploration


def _build(kind: str, part: Part[Any], context: Any) -> Any:
    with blaming(kind, part.use, "building it"):
        return part.build(context)


def _width(kind: str, part: Part[Any], built: Any) -> int:
    out_dim = getattr(built, "out_dim", None)
    if not isinstance(out_dim, int):
        raise AmagoError(f"the {kind} {part.use} has no integer out_dim, the width of its vectors.")
    return out_dim


def compose_objective(spec: AgentSpec, agent: Agent, task: Task) -> nn.Module:
    """Build the objective that trains an agent."""
    context = ObjectiveContext(
        in_dim=agent.state_dim,
        actor=agent.actor,
        critic=agent.critic,
        action_space=task.acted,
        discounts=spec.discounts,
    )
    objective: nn.Module = _build("objective", spec.objective, context)
    return objective


def describe(spec: RunSpec, environment: MakeEnvironment | None = None) -> list[Row]:
    """Build the networks of a spec and return a row per part; nothing is trained or written."""
    with torch.random.fork_rng():
        return rows(spec, compose(spec, environment))


def rows(spec: RunSpec, composition: Composition) -> list[Row]:
    """Return a row for each part of a composed spec."""
    task, agent = composition.task, composition.agent
    observed = ", ".join(f"{key} {_shape(space)}" for key, space in sorted(task.observed.items()))
    actions, discounts = action_width(task.acted), len(spec.agent.discounts)
    seen = f"{observed}, action ({actions},), reward ()"
    encoded, state = f"({agent.encoder.out_dim},)", f"({agent.state_dim},)"
    valued = f"{discounts} discounts"
    return [
        *_sources(spec, composition, observed),
        Row("agent.encoder", spec.agent.encoder.use, seen, encoded, _count(agent.encoder)),
        Row("agent.backbone", spec.agent.backbone.use, encoded, state, _count(agent.backbone)),
        Row(
            "agent.actor",
            spec.agent.actor.use,
            state,
            f"{valued} x {actions} actions",
            _count(agent.actor),
        ),
        Row("agent.critic", spec.agent.critic.use, state, f"{valued} of return", _count(agent.critic)),
        Row("agent.objective", spec.agent.objective.use, state, "loss", 0),
    ]


def _sources(spec: RunSpec, composition: Composition, observed: str) -> list[Row]:
    """Return rows for what is learned from."""
    task, dataset, found = composition.task, composition.dataset, list[Row]()
    acted = f"action {_choices(task.acted)}"
    if task.make is not None:
        found.append(Row("environment", task.name, acted, observed, 0))
    if spec.dataset is not None and dataset is not None:
        seen = f"{observed}, {acted}, reward ()"
        found.append(Row("dataset", spec.dataset.use, dataset.describe(), seen, 0))
    return found


def context_note(spec: RunSpec, task: Task) -> str | None:
    """Return what to tell a user whose agent learns from pieces of trajectories, or None."""
    context, horizon = spec.agent.context_length, task.horizon
    if horizon is None or horizon <= context:
        return None
    return (
        f"agent.context_length is {context}, and a trajectory of {task.name} lasts up to {horizon} "
        "steps: nothing is learned from what lies further apart. Whole trajectories: "
        f"agent.context_length={horizon}"
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _choices(space: CanonicalAction) -> str:
    factors = choices(space)
    return f"{' x '.join(map(str, factors))} choices" if factors else _shape(space)


def _shape(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Discrete):
        return f"{int(space.n)} choices"
    return str(tuple(int(size) for size in space.shape or ()))
