"""Policy distributions and entropies of a batch, shared by the objectives.

Shape suffixes: N = timesteps of a packed batch, M = some of them, E = state features, G = discounts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amago_registry.actions import policy_of
from amago_registry.protocols import Actor, Batch


def policy_at(actor: Actor, state_ME: Tensor, batch: Batch, rows_M: Tensor) -> Any:
    """Return the policy's distribution at some rows of a batch, under the batch's action mask."""
    mask_NA = batch.action_mask_NA
    return policy_of(actor, state_ME, None if mask_NA is None else mask_NA.index_select(0, rows_M))


def under_all_discounts(action: Tensor, discounts: int) -> Tensor:
    """Return actions ``(M, ...)`` once for every discount: ``(M, G, ...)``, without a copy."""
    return action[:, None].expand(-1, discounts, *action.shape[1:])


@torch.no_grad()
def entropy_of(policy: Any) -> dict[str, Tensor]:
    """Return the mean entropy per discount as a metric, where it has a closed form."""
    entropy_MG = policy.entropy()
    return {} if entropy_MG is None else {"entropy": entropy_MG.mean(0)}
