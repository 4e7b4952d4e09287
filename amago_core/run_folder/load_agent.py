"""Load a trained agent: rebuild the networks of a run from its folder, and load their weights."""

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


_MAX_SHOWN = 3

_PARTS = ("encoder", "backbone", "actor", "critic")

_FACTOR, _NUMBERS, _TENSORS, _BUFFERED = 16, 1 << 24, 1000, 1 << 28
"""Limits for an agent that is built to report what differs: _FACTOR times the checkpoint's numbers and
tensors, plus these constants."""


class WrongWeightsError(AmagoError):
    """Weights that do not fit the agent that the run's spec describes."""


def load_agent(folder: RunDir, checkpoint: str | int | Path = NEWEST) -> Agent:
    """Return the agent of a run's checkpoint, in evaluation mode on the CPU.

    Only the plugins of its encoder, backbone, actor and critic are needed; those of its objective,
    environment, exploration and trackers are not imported and need not be installed.

    Args:
        folder: The run.
        checkpoint: Which checkpoint; see :func:`amago_core.load`.

    Raises:
        AmagoError: If a file or plugin is missing, a file is damaged, or the weights do not fit.
    """
    folder.check()
    return rebuild_agent(folder, weights_of(folder, checkpoint))


def rebuild_agent(folder: RunDir, weights: Weights) -> Agent:
    """Return the agent of a run with weights that were already read; see :func:`load_agent`.

    Raises:
        AmagoError: As :func:`load_agent` does.
    """
    spec = _agent_spec(folder)
    observation_space, action_space = read_spaces(folder.spaces)
    task = Task("the run's environment", None, observation_space, action_space, None)
    with torch.random.fork_rng(), _limit_size(weights, folder):
        agent = compose_agent(spec, task)
    _load_weights(agent, weights, folder)
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
def _limit_size(weights: Weights, folder: RunDir) -> Iterator[None]:
    """Raise while an agent is built that is far larger than the weights of its checkpoint.

    One line of an untrusted spec can describe more memory or more layers than any machine has. An agent
    that is only somewhat larger is built and compared, because that error names the tensors.
    """
    stored = sum(tensor.numel() for tensor in weights.tensors.values())
    this_thread, numbers, count, buffered = threading.get_ident(), 0, 0, 0

    def raise_too_large() -> None:
        raise WrongWeightsError(
            f"{folder.spec} describes an agent far larger than the {stored:,} numbers that the "
            f"checkpoint {weights.source} holds. {_advice(folder)}"
        )

    def parameter(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        nonlocal numbers, count
        if tensor is not None and threading.get_ident() == this_thread:
            numbers, count = numbers + tensor.numel(), count + 1
            if (
                numbers > _FACTOR * stored + _NUMBERS
                or count > _FACTOR * len(weights.tensors) + _TENSORS
            ):
                raise_too_large()

    def buffer(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        nonlocal buffered  # Buffers that are not in the checkpoint may be large.
        if tensor is not None and threading.get_ident() == this_thread:
            buffered += tensor.numel()
            if buffered > _FACTOR * stored + _BUFFERED:
                raise_too_large()

    hooks = [
        register_module_parameter_registration_hook(parameter),
        register_module_buffer_registration_hook(buffer),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _load_weights(agent: Agent, weights: Weights, folder: RunDir) -> None:
    """Load weights, which must match the agent exactly."""
    here, there = agent.state_dict(), weights.tensors
    mismatches = {name: _mismatch(here.get(name), there.get(name)) for name in (*here, *sorted(there))}
    lines = _by_part({name: why for name, why in mismatches.items() if why})
    if lines:
        raise WrongWeightsError(
            f"{folder.spec} does not describe the agent in the checkpoint {weights.source}:\n"
            + "".join(f"  {line}\n" for line in lines)
            + _advice(folder)
        )
    for name, _ in agent.named_parameters():
        if not torch.isfinite(there[name]).all():
            raise WrongWeightsError(
                f"the checkpoint {weights.source} holds weights that are not finite, in agent.{name}."
            )
    agent.load_state_dict(there)


def _mismatch(here: Tensor | None, there: Tensor | None) -> str:
    if here is None:
        return "is only in the checkpoint"
    if there is None:
        return "is only in the spec"
    if here.shape != there.shape:
        return f"is {tuple(there.shape)} in the checkpoint, {tuple(here.shape)} in the spec"
    if here.dtype != there.dtype:
        return f"is {there.dtype} in the checkpoint, {here.dtype} in the spec"
    return ""


def _by_part(mismatches: Mapping[str, str]) -> list[str]:
    """Return a line for each part whose tensors differ, and one for tensors of no part."""
    lines: dict[str, list[str]] = {}
    for name, why in mismatches.items():
        part, _, inner = name.partition(".")
        key, shown = (f"agent.{part}", inner) if part in _PARTS else ("in no part", name)
        lines.setdefault(key, []).append(f"{shown:.60} {why}")
    return [f"{key}: {_shorten(whys)}" for key, whys in lines.items()]


def _shorten(whys: Sequence[str]) -> str:
    more = len(whys) - _MAX_SHOWN
    return "; ".join([*whys[:_MAX_SHOWN], f"and {more} more"] if more > 0 else whys)


def _advice(folder: RunDir) -> str:
    return f"Restore the {folder.spec.name} and {folder.spaces.name} that it was trained with."
