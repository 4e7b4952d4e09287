"""TD targets and target networks.

Shape suffixes: M = transitions, C = ensemble members, G = discounts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import combinations
from typing import TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def target_copy(module: ModuleT) -> ModuleT:
    """Return a target network: an equal copy without gradients, in evaluation mode."""
    return deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def move_towards(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Polyak update: move the target's parameters the share ``tau`` towards the online ones.

    Buffers are statistics, not weights: they are copied.
    """
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)
    for old, new in zip(target.buffers(), online.buffers(), strict=True):
        old.copy_(new)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Freeze a module's parameters inside the context; gradients still reach its inputs."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def reduce_ensemble(value_MCG: Tensor, members: int, *, pessimistic: bool) -> Tensor:
    """Return ``(M, G)``: minimum or mean of ``members`` critics, redrawn for every entry.

    Drawn without replacement (REDQ; Chen et al., 2021, arXiv:2101.05982); all if there are no more.
    """
    rows, ensemble, discounts = value_MCG.shape
    if members < ensemble:
        # Not torch.combinations: on a GPU it waits for the device.
        every = list(combinations(range(ensemble), members))
        subsets = torch.tensor(every, device=value_MCG.device)
        drawn_MG = torch.randint(len(subsets), (rows, discounts), device=value_MCG.device)
        value_MCG = value_MCG.gather(1, subsets[drawn_MG].transpose(1, 2))
    return value_MCG.amin(1) if pessimistic else value_MCG.mean(1)


def n_step_target(
    reward_M: Tensor,
    terminated_M: Tensor,
    next_value_MG: Tensor,
    discount_G: Tensor,
    *,
    steps: int = 1,
    continues_M: Tensor | None = None,
) -> Tensor:
    """Return n-step targets ``(M, G)``; a truncation bootstraps, a termination does not.

    ``y = r + gamma (1 - terminated) V'`` for one step. Of n steps, all but the last put the target of
    the next transition, with one step less, in the place of ``V'``, as long as the sequence continues:
    so rewards add up until n are summed, the task ends, or the sequence does.

    Args:
        reward_M: Rewards after the actions.
        terminated_M: True where the task ended after the action.
        next_value_MG: Values of the states after.
        discount_G: Discounts.
        steps: n.
        continues_M: True where the next row is the next transition of the same sequence; needed for
            more than one step.
    """
    alive_M1 = 1 - terminated_M.to(reward_M.dtype)[:, None]
    weight_MG = discount_G * alive_M1
    target_MG = torch.addcmul(reward_M[:, None], weight_MG, next_value_MG)
    for _ in range(steps - 1):
        assert continues_M is not None
        ahead_MG = torch.where(continues_M[:, None], target_MG.roll(-1, 0), next_value_MG)
        target_MG = torch.addcmul(reward_M[:, None], weight_MG, ahead_MG)
    return target_MG
