"""From a resolved spec to objects.

Shape suffixes: N = timesteps of a packed batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from amago_core.agent import Agent
from amago_core.environments import MakeEnvironment, is_supported, make_environments, step_budget
from amago_core.spaces import action_width, canonical_action, canonical_observation
from amago_registry.contexts import (
    ActorContext,
    BackboneContext,
    CriticContext,
    EncoderContext,
    EnvironmentContext,
    ObjectiveContext,
)
from amago_registry.errors import AmagoError, UnsupportedSpaceError
from amago_registry.layout import SequenceLayout

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


def compose_task(part: Part[Any] | None, seed: int, environment: MakeEnvironment | None = None) -> Task:
    """Return the task of a spec's ``environment``, or of a local function that makes one.

    Constructs one environment, to learn its spaces.

    Raises:
        AmagoError: If the environment cannot be constructed or its observations cannot be stored.
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
        task = Task(name, make, inner.observation_space, inner.action_space, step_budget(inner))
    finally:
        vector.close()
    if not is_supported(task.observation_space):
        raise UnsupportedSpaceError(
            f"environment {name} has observations of space {task.observation_space}; "
            "Box, Discrete and MultiBinary are supported, alone or in a flat Dict."
        )
    canonical_action(task.action_space)
    return task


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
    width, action_space, discounts = backbone.out_dim, task.acted, spec.discounts
    return Agent(
        encoder,
        backbone,
        spec.actor.build(ActorContext(in_dim=width, action_space=action_space, discounts=discounts)),
        spec.critic.build(CriticContext(in_dim=width, action_space=action_space, discounts=discounts)),
    )


def rehearse(agent: Agent, task: Task) -> None:
    """Send two timesteps through an agent in training mode, where it is.

    Parts that cannot run on this machine, or do not fit together, say so now and not after an hour of
    collecting. Nothing is committed.
    """
    device = agent.device
    layout = SequenceLayout.build([2], device=device)
    task.observed.seed(0)
    obs = {
        key: torch.from_numpy(np.stack([np.asarray(space.sample())] * 2)).to(device)
        for key, space in task.observed.items()
    }
    with torch.random.fork_rng(), torch.no_grad():
        agent.train()
        state_NE = agent.represent(
            {key: x.float() if x.dtype == torch.float64 else x for key, x in obs.items()},
            torch.zeros(2, action_width(task.acted), device=device),
            torch.zeros(2, device=device),
            layout,
        )
    if state_NE.shape != (2, agent.state_dim):
        raise AmagoError(
            f"backbone {type(agent.backbone).__name__} returned the shape {tuple(state_NE.shape)} "
            f"for two timesteps; its out_dim says {(2, agent.state_dim)}."
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
    task = compose_task(spec.environment, spec.seed, environment)
    with torch.random.fork_rng():
        agent = compose_agent(spec.agent, task)
        rehearse(agent, task)
        compose_objective(spec.agent, agent)
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
