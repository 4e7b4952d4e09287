"""The table of parts that ``amago check`` prints: shapes and parameter counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from torch import nn

from amago_core.compose.build import compose
from amago_core.environments import MakeEnvironment
from amago_registry.actions import CanonicalAction, action_width, choices

if TYPE_CHECKING:
    from amago_core.acting.task import Task
    from amago_core.compose.build import Composition
    from amago_core.spec import RunSpec


@dataclass(frozen=True)
class Row:
    """One part in the table of ``amago check``.

    Args:
        part: Key in the spec.
        use: Full name of the component.
        shape_in: Shape of its inputs, per timestep.
        shape_out: Shape of its outputs, per timestep.
        parameters: Number of trained parameters.
    """

    part: str
    use: str
    shape_in: str
    shape_out: str
    parameters: int


def describe(spec: RunSpec, environment: MakeEnvironment | None = None) -> list[Row]:
    """Build the networks of a spec, with new weights, and return a row per part; nothing is written."""
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
    """Return the rows of the environment and the dataset."""
    task, dataset, found = composition.task, composition.dataset, list[Row]()
    acted = f"action {_choices(task.acted)}"
    if task.make is not None:
        found.append(Row("environment", task.name, acted, observed, 0))
    if spec.dataset is not None and dataset is not None:
        seen = f"{observed}, {acted}, reward ()"
        found.append(Row("dataset", spec.dataset.use, dataset.describe(), seen, 0))
    return found


def context_note(spec: RunSpec, task: Task) -> str | None:
    """Return a note for the user if the context length is shorter than a trajectory; else None."""
    context, horizon = spec.agent.context_length, task.horizon
    if horizon is None or horizon <= context:
        return None
    return (
        f"agent.context_length is {context}, and a trajectory of {task.name} lasts up to {horizon} "
        "steps: the agent cannot learn from events that are further apart. To train on whole "
        f"trajectories: agent.context_length={horizon}"
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
