"""From a resolved spec to objects.

Shape suffixes: N = timesteps of a packed batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from amago_core.agent import Agent
from amago_core.environments import MakeEnvironment, is_supported, make_environments, step_budget
from amago_core.packing import pack
from amago_core.replay import Slice
from amago_core.spaces import action_width, canonical_action, canonical_observation
from amago_registry.contexts import (
    ActorContext,
    BackboneContext,
    CriticContext,
    EncoderContext,
    EnvironmentContext,
    ExplorationContext,
    ObjectiveContext,
    RelabelerContext,
)
from amago_registry.errors import AmagoError, UnsupportedSpaceError
from amago_registry.protocols import Exploration, Objective, Relabeler

if TYPE_CHECKING:
    from amago_core.spec import AgentSpec, RunSpec
    from amago_registry.options import Part


@dataclass(frozen=True)
class Task:
    """An environment to act in.

    Args:
        name: What users call it.
        make: Makes a fresh environment.
        observation_space: As one environment declares it.
        action_space: As one environment declares it.
        horizon: Most steps a trajectory lasts; None if the environment does not say.
    """

    name: str
    make: MakeEnvironment
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    horizon: int | None

    @property
    def observed(self) -> spaces.Dict:
        """The observation space as the agent sees it."""
        return canonical_observation(self.observation_space)

    @property
    def acted(self) -> spaces.Discrete | spaces.Box:
        """The action space as the agent sees it."""
        return canonical_action(self.action_space)


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
        task: Where the agent is trained.
        evaluation_task: Where it is evaluated; the same object unless the spec says otherwise.
        agent: The networks, on the spec's device.
        objective: What trains them.
        exploration: Changes actions while collecting.
        relabeler: Rewrites sampled trajectories.
    """

    task: Task
    evaluation_task: Task
    agent: Agent
    objective: nn.Module
    exploration: Exploration
    relabeler: Relabeler


def compose(spec: RunSpec, environment: MakeEnvironment | None = None) -> Composition:
    """Build all parts of a spec; weights come from torch's global generator.

    Args:
        spec: The resolved spec.
        environment: Makes a local environment, in place of the spec's.

    Raises:
        AmagoError: If a part cannot be built, cannot run here, or does not fit the others.
    """
    device = device_of(spec)
    task = compose_task(spec.environment, spec.seed, environment)
    evaluation_task = task
    if spec.evaluation.environment is not None:
        evaluation_task = compose_task(spec.evaluation.environment, spec.seed)
        check_spaces(evaluation_task, task.observation_space, task.action_space, task.name)
    exploration = spec.exploration.build(
        ExplorationContext(
            action_space=task.acted,
            environments=spec.collector.environments,
            horizon=task.horizon,
        )
    )
    relabeler = spec.relabeler.build(RelabelerContext())
    agent = compose_agent(spec.agent, task).to(device)
    objective = compose_objective(spec.agent, agent).to(device)
    rehearse(agent, objective, task)
    return Composition(task, evaluation_task, agent, objective, exploration, relabeler)


def device_of(spec: RunSpec) -> torch.device:
    """Return where a spec's networks live.

    Raises:
        AmagoError: If it asks for CUDA where there is none.
    """
    if spec.running.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if spec.running.device == "cuda" and not torch.cuda.is_available():
        raise AmagoError(
            "running.device is cuda, and this torch finds no CUDA device; use auto or cpu."
        )
    return torch.device(spec.running.device)


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
    vector = make_environments(make, name, 1)
    try:
        inner = vector.envs[0]
        if inner.spec is not None:
            name = f"{name} ({inner.spec.id})"
        task = Task(name, make, inner.observation_space, inner.action_space, step_budget(inner))
        _check_supported(task)
        vector.reset(seed=[seed])
    finally:
        vector.close()
    return task


def _check_supported(task: Task) -> None:
    if not is_supported(task.observation_space):
        raise UnsupportedSpaceError(
            f"environment {task.name} has observations of space {task.observation_space}; "
            "Box, Discrete and MultiBinary are supported, alone or in a flat Dict."
        )
    try:
        canonical_action(task.action_space)
    except UnsupportedSpaceError as error:
        raise UnsupportedSpaceError(f"environment {task.name}: {error}") from None


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
    encoder = spec.encoder.build(
        EncoderContext(observation_space=task.observed, action_space=task.acted)
    )
    backbone = spec.backbone.build(
        BackboneContext(
            in_dim=encoder.out_dim,
            context_length=spec.context_length,
            build=lambda part, context: part.build(context),
        )
    )
    if not isinstance(getattr(backbone, "out_dim", None), int):
        raise AmagoError(
            f"backbone {spec.backbone.use} has no integer out_dim, the width of its vectors."
        )
    width, action_space, discounts = backbone.out_dim, task.acted, spec.discounts
    return Agent(
        encoder,
        backbone,
        spec.actor.build(ActorContext(in_dim=width, action_space=action_space, discounts=discounts)),
        spec.critic.build(CriticContext(in_dim=width, action_space=action_space, discounts=discounts)),
    )


def rehearse(agent: Agent, objective: nn.Module, task: Task) -> None:
    """Take one step and one loss with made-up timesteps, where the agent is.

    Parts that cannot run on this machine, or do not fit together, say so now and not after an hour of
    collecting. Nothing is committed; global random state is left as it was.

    Raises:
        AmagoError: If the backbone's vectors are not as wide as it says, and whatever the parts raise.
    """
    task.observed.seed(0)
    seen = {key: np.stack([np.asarray(space.sample())] * 2) for key, space in task.observed.items()}
    columns = {f"obs.{key}": values for key, values in seen.items()}
    columns["action"] = np.zeros((1, *(task.acted.shape or ())), task.acted.dtype)
    columns["reward"] = np.zeros(1, np.float32)
    columns["terminated"] = columns["truncated"] = np.zeros(1, bool)
    batch = pack([Slice(columns, time=0)], task.acted, agent.device)
    with torch.random.fork_rng(), torch.no_grad():
        agent.train()
        state_NE = agent.represent(batch.obs, batch.prev_action_NA, batch.prev_reward_N, batch.layout)
        if state_NE.shape != (2, agent.state_dim):
            raise AmagoError(
                f"backbone {type(agent.backbone).__name__} returned the shape {tuple(state_NE.shape)} "
                f"for two timesteps; its out_dim says {(2, agent.state_dim)}."
            )
        cast(Objective, objective).loss(state_NE, batch)
        agent.eval()
        time_B = torch.zeros(2, dtype=torch.int64, device=agent.device)
        agent.act(
            batch.obs,
            batch.prev_action_NA,
            batch.prev_reward_N,
            time_B,
            agent.initial_state(2),
            sample=True,
        )


def compose_objective(spec: AgentSpec, agent: Agent) -> nn.Module:
    """Build the objective that trains an agent."""
    objective: nn.Module = spec.objective.build(
        ObjectiveContext(
            in_dim=agent.state_dim,
            actor=agent.actor,
            critic=agent.critic,
            discounts=spec.discounts,
        )
    )
    return objective


def describe(spec: RunSpec, environment: MakeEnvironment | None = None) -> list[Row]:
    """Build the networks of a spec and return a row per part; nothing is trained or written."""
    with torch.random.fork_rng():
        composition = compose(spec, environment)
    task, agent = composition.task, composition.agent
    observed = ", ".join(f"{key} {_shape(space)}" for key, space in sorted(task.observed.items()))
    actions, discounts = action_width(task.acted), len(spec.agent.discounts)
    seen = f"{observed}, action ({actions},), reward ()"
    encoded, state = f"({agent.encoder.out_dim},)", f"({agent.state_dim},)"
    valued = f"{discounts} discounts"
    return [
        Row("environment", task.name, f"action {_shape(task.acted)}", observed, 0),
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


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shape(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Discrete):
        return f"{int(space.n)} choices"
    return str(tuple(int(size) for size in space.shape or ()))
