"""Build the networks of an agent from a spec, and choose their device.

Also imported to load a trained agent, so nothing here needs an environment or a replay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from amago_core.acting.action_masks import check_takes_mask
from amago_core.acting.agent import Agent
from amago_core.acting.task import Task
from amago_core.compose.part import build_part
from amago_core.spec import RunSpec
from amago_registry.contexts import (
    ActorContext,
    BackboneContext,
    CriticContext,
    EncoderContext,
    ObjectiveContext,
)
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.spec import AgentSpec
    from amago_registry.options import Part


def device_of(spec: RunSpec) -> torch.device:
    """Return the device of a spec's networks.

    Raises:
        AmagoError: If the spec sets cuda and there is no CUDA device.
    """
    setting = spec.running.device
    if setting == "cuda" and not torch.cuda.is_available():
        raise AmagoError(
            "running.device is cuda, and this torch finds no CUDA device; use auto or cpu."
        )
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(found if setting == "auto" else setting)


def check_precision(spec: RunSpec, device: torch.device) -> None:
    """Raise if the device does not support the spec's precision.

    Raises:
        AmagoError: If the spec sets bf16 and the device is not CUDA.
    """
    if spec.running.precision == "bf16" and device.type != "cuda":
        on_cpu = spec.running.device == "cpu"
        why = "running.device is cpu" if on_cpu else "this torch finds no CUDA device"
        raise AmagoError(
            f"running.precision is bf16, which needs a CUDA device, and {why}: write "
            "running.precision=fp32."
        )


def compose_agent(spec: AgentSpec, task: Task) -> Agent:
    """Build the networks of an agent for a task; weights are drawn from torch's global generator."""
    seen = EncoderContext(observation_space=task.observed, action_space=task.acted)
    encoder = build_part("encoder", spec.encoder, seen)
    sequences = BackboneContext(
        in_dim=_width("encoder", spec.encoder, encoder),
        context_length=spec.context_length,
        build=lambda part, context: part.build(context),
    )
    backbone = build_part("backbone", spec.backbone, sequences)
    width = _width("backbone", spec.backbone, backbone)
    heads: dict[str, Any] = {"in_dim": width, "action_space": task.acted, "discounts": spec.discounts}
    actor = build_part("actor", spec.actor, ActorContext(**heads))
    if task.masked:
        call = ("state_NE", "action_mask_NA")
        check_takes_mask(actor, "actor", spec.actor.use, call, task.name)
    critic = build_part("critic", spec.critic, CriticContext(**heads))
    return Agent(encoder, backbone, actor, critic, masked=task.masked)


def compose_objective(spec: AgentSpec, agent: Agent, task: Task) -> nn.Module:
    """Build the objective, the loss that trains an agent."""
    context = ObjectiveContext(
        in_dim=agent.state_dim,
        actor=agent.actor,
        critic=agent.critic,
        action_space=task.acted,
        discounts=spec.discounts,
    )
    objective: nn.Module = build_part("objective", spec.objective, context)
    return objective


def _width(kind: str, part: Part[Any], built: Any) -> int:
    out_dim = getattr(built, "out_dim", None)
    if not isinstance(out_dim, int):
        raise AmagoError(
            f"the {kind} {part.use} has no integer out_dim, the width of its output vectors."
        )
    return out_dim
