"""Imitation of every stored action; what the other objectives are compared with on offline data.

Shape suffixes: N = timesteps of a packed batch, M = transitions, E = state features, G = discounts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amago_registry.contexts import ObjectiveContext
from amago_registry.protocols import Actor, Batch
from amago_standard.objectives.options import BehaviorCloningOptions


class BehaviorCloning(nn.Module):
    """Raises the likelihood of what the recorded policy did; critics are neither asked nor trained.

    Args:
        context: The actor to train; supplied by the composer.
        options: None.
    """

    def __init__(self, context: ObjectiveContext, options: BehaviorCloningOptions) -> None:
        super().__init__()
        del options
        self._actor: tuple[Actor] = (context.actor,)  # In a tuple: it stays the agent's.
        self.discounts = len(context.discounts)

    def loss(self, state_NE: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative log-likelihood per transition and head, and detached metrics."""
        mask_NA, rows_M = batch.action_mask_NA, batch.rows_M
        policy = self._actor[0](state_NE[rows_M], None if mask_NA is None else mask_NA[rows_M])
        action = batch.action[:, None].expand(-1, self.discounts, *batch.action.shape[1:])
        loss = -policy.log_prob(action).mean()
        metrics = {"loss": loss.detach()}
        with torch.no_grad():
            entropy_MG = policy.entropy()
        if entropy_MG is not None:
            metrics["entropy"] = entropy_MG.mean(0)
        return loss, metrics

    def after_step(self) -> None:
        """Do nothing: there are no targets."""
