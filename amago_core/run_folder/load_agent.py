"""The networks of a run, rebuilt from its folder alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from amago_core.acting.agent import Agent
from amago_core.acting.task import Task
from amago_core.compose.networks import compose_agent
from amago_core.run_folder.missing_plugins import check_plugins
from amago_core.run_folder.run_dir import RunDir
from amago_core.run_folder.spaces_json import read_spaces
from amago_core.run_folder.weights import NEWEST, Weights, weights_of
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.spec import AgentSpec


_NAMED = 3

_PARTS = ("encoder", "backbone", "actor", "critic")

_TIMES, _NUMBERS, _COUNT, _BUFFERED = 16, 1 << 24, 1000, 1 << 28
"""How much larger than what was stored an agent may be, and still be built to be compared."""


class WrongWeightsError(AmagoError):
    """Weights that are not those of the agent that the run's spec describes."""


def load_agent(folder: RunDir, checkpoint: str | int | Path = NEWEST) -> Agent:
    """Return the agent of a run's checkpoint, in evaluation mode on the CPU.

    Only the plugins of its encoder, backbone, actor and critic are needed; what trained it, collected
    for it or recorded it is neither imported nor looked for.

    Args:
        folder: The run.
        checkpoint: Which one; see :func:`amago_core.load`.

    Raises:
        AmagoError: If anything is missing, damaged, or does not belong together.
    """
    folder.check()
    return rebuild_agent(folder, weights_of(folder, checkpoint))


def rebuild_agent(folder: RunDir, weights: Weights) -> Agent:
    """Return the agent of a run with weights that were read already, as :func:`load_agent` does.

    Raises:
        AmagoError: As there.
    """
    spec = _agent_spec(folder)
    observation_space, action_space = read_spaces(folder.spaces)
    task = Task("the run's environment", None, observation_space, action_space, None)
    with torch.random.fork_rng(), _no_larger_than(weights, folder):
        agent = compose_agent(spec, task)
    _take_all(agent, weights, folder)
    return agent.eval()


def _agent_spec(folder: RunDir) -> AgentSpec:
    from amago_core.spec import load_spec
    from amago_core.spec.yaml_files import read_file

    agent = read_file(folder.spec).get("agent", {})
    if isinstance(agent, dict):
        agent = {key: value for key, value in agent.items() if key != "objective"}
    check_plugins(folder, {"agent": agent})
    return load_spec({"agent": agent}, local_environment=True, stored=True).agent


@contextmanager
def _no_larger_than(weights: Weights, folder: RunDir) -> Iterator[None]:
    """Stop building an agent that is far larger than what was stored.

    A spec of one line can ask for more memory than there is, and for more layers than can be built in
    a lifetime. What differs less than that is built and compared, which says more.
    """
    stored = sum(tensor.numel() for tensor in weights.tensors.values())
    builder, numbers, count, buffered = threading.get_ident(), 0, 0, 0

    def refuse() -> None:
        raise WrongWeightsError(
            f"{folder.spec} describes an agent far larger than the {stored:,} numbers that the "
            f"checkpoint {weights.source} holds. {_advice(folder)}"
        )

    def parameter(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        nonlocal numbers, count
        if tensor is not None and threading.get_ident() == builder:
            numbers, count = numbers + tensor.numel(), count + 1
            if numbers > _TIMES * stored + _NUMBERS or count > _TIMES * len(weights.tensors) + _COUNT:
                refuse()

    def buffer(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        nonlocal buffered  # Tables that are not stored may be large.
        if tensor is not None and threading.get_ident() == builder:
            buffered += tensor.numel()
            if buffered > _TIMES * stored + _BUFFERED:
                refuse()

    hooks = [
        register_module_parameter_registration_hook(parameter),
        register_module_buffer_registration_hook(buffer),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _take_all(agent: Agent, weights: Weights, folder: RunDir) -> None:
    """Load weights that must fit exactly."""
    here, there = agent.state_dict(), weights.tensors
    misfits = {name: _misfit(here.get(name), there.get(name)) for name in (*here, *sorted(there))}
    lines = _by_part({name: why for name, why in misfits.items() if why})
    if lines:
        raise WrongWeightsError(
            f"{folder.spec} describes another agent than the checkpoint {weights.source} holds:\n"
            + "".join(f"  {line}\n" for line in lines)
            + _advice(folder)
        )
    for name, _ in agent.named_parameters():
        if not torch.isfinite(there[name]).all():
            raise WrongWeightsError(
                f"the checkpoint {weights.source} holds weights that are not finite, in agent.{name}."
            )
    agent.load_state_dict(there)


def _misfit(here: Tensor | None, there: Tensor | None) -> str:
    if here is None:
        return "is in the checkpoint alone"
    if there is None:
        return "is not in the checkpoint"
    if here.shape != there.shape:
        return f"is {tuple(there.shape)} in the checkpoint, {tuple(here.shape)} by the spec"
    if here.dtype != there.dtype:
        return f"is {there.dtype} in the checkpoint, {here.dtype} by the spec"
    return ""


def _by_part(misfits: Mapping[str, str]) -> list[str]:
    """Return a line for each key of the spec that does not fit, and one for what no agent has."""
    lines: dict[str, list[str]] = {}
    for name, why in misfits.items():
        part, _, inner = name.partition(".")
        key, shown = (f"agent.{part}", inner) if part in _PARTS else ("in no agent", name)
        lines.setdefault(key, []).append(f"{shown:.60} {why}")
    return [f"{key}: {_some(whys)}" for key, whys in lines.items()]


def _some(whys: Sequence[str]) -> str:
    more = len(whys) - _NAMED
    return "; ".join([*whys[:_NAMED], f"and {more} more"] if more > 0 else whys)


def _advice(folder: RunDir) -> str:
    return f"Put back the {folder.spec.name} and {folder.spaces.name} that it was trained with."
