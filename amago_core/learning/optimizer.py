"""AdamW with weight decay, learning-rate factors per part, warm-up and schedule.

Source: decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101); cosine schedule of the
same authors (2017, arXiv:1608.03983), without restarts.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from amago_core.acting.agent import Agent

if TYPE_CHECKING:
    from amago_core.spec.schema import TrainingSpec


_NORM = re.compile(r"\w*Norm(\dd)?")

_PARAMETRIZED = re.compile(r"(?P<path>(.+\.)?)parametrizations\.(?P<name>\w+)\.original(?P<index>\d*)")


def build_optimizer(agent: Agent, spec: TrainingSpec) -> torch.optim.AdamW:
    """Return AdamW with two parameter groups for every part: with and without weight decay.

    A group has the name of its part (``part``) and that part's initial learning rate (``lr``), which is
    multiplied by :func:`rate_factor` at every update. Frozen parameters are in no group; one that two
    parts share is in a group of the first.

    Raises:
        ValueError: If nothing in the agent is trained.
    """
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in agent.named_parameters():
        if not parameter.requires_grad:
            continue
        part, decayed = name.partition(".")[0], is_decayed(agent, name)
        group = {
            "params": [],
            "part": part,
            "lr": spec.learning_rate * getattr(spec.learning_rate_factors, part),
            "weight_decay": spec.weight_decay if decayed else 0.0,
        }
        groups.setdefault((part, decayed), group)["params"].append(parameter)
    return torch.optim.AdamW(list(groups.values()), lr=spec.learning_rate, fused=True)


def is_decayed(module: nn.Module, name: str) -> bool:
    """Return whether weight decay applies to a parameter.

    It applies only to weights that mix features: those of linear, convolutional and recurrent layers
    and of ensembles of them. Biases, scales and norms have an operating point that is not 0; a row of
    an embedding would decay in every step but be trained only when its token is seen.

    Decided by name and shape, so that it works for modules of plugins too: a parameter decays if
    ``weight`` is a word of its last name, as everywhere in torch, it has two dimensions or more, and
    its module is neither an embedding nor one whose class, or a base of it, is called ``...Norm``. A
    part excludes a matrix from decay by giving it another name, such as ``scale``.

    The originals of torch's parametrizations count under the name of the parameter they compute:
    ``parametrizations.weight.original`` is a ``weight``. The magnitudes of ``weight_norm`` are scales.

    Args:
        module: Module that contains all parameters, such as an agent.
        name: As in ``module.named_parameters()``.
    """
    path, _, last = name.rpartition(".")
    if computed := _PARAMETRIZED.fullmatch(name):
        if computed["index"] == "0" and _is_weight_norm(module.get_submodule(path)):
            return False
        path, last = computed["path"].rstrip("."), computed["name"]
    owner = module.get_submodule(path)
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return False
    if any(_NORM.fullmatch(base.__name__) for base in type(owner).__mro__):
        return False
    return "weight" in last.split("_") and module.get_parameter(name).dim() >= 2


def _is_weight_norm(parametrizations: nn.Module) -> bool:
    """Return whether the originals are those of ``weight_norm``: magnitudes, then direction."""
    first = next(parametrizations.children(), None)
    return type(first).__name__ == "_WeightNorm"  # torch has no public name for it.


def rate_factor(spec: TrainingSpec, update: int) -> float:
    """Return the learning-rate factor of an update: warm-up times schedule.

    Depends only on its arguments, so a resumed run has the same learning rates as an uninterrupted one.
    With p = update / (rounds * updates_per_round), at most 1, the schedule is 1, or
    ``final + (1 - final) * s`` where s is ``1 - p`` (linear) or ``(1 + cos(pi p)) / 2`` (cosine): 1 at
    update 0, and ``final_rate`` for an update after the last.

    Args:
        spec: Warm-up, schedule and length of the run.
        update: Updates taken before this one, skipped ones included.
    """
    return min(1.0, (update + 1) / max(1, spec.warmup)) * _scheduled(spec, update)


def _scheduled(spec: TrainingSpec, update: int) -> float:
    progress = min(1.0, update / max(1, spec.rounds * spec.updates_per_round))
    match spec.schedule:
        case "constant":
            return 1.0
        case "linear":
            left = 1 - progress
        case "cosine":
            left = (1 + math.cos(math.pi * progress)) / 2
    return spec.final_rate + (1 - spec.final_rate) * left
