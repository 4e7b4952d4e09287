"""Behaviour cloning of every stored action: the baseline on offline data.

Shape suffixes: N = timesteps of a packed batch, E = state features, G = discounts.
"""

from __future__ import annotations

from torch import Tensor, nn

from amago_registry.contexts import ObjectiveContext
from amago_registry.protocols import Actor, Batch
from amago_standard.objectives.options import BehaviorCloningOptions
from amago_standard.objectives.policies import entropy_of, policy_at, under_all_discounts


class BehaviorCloning(nn.Module):
    """Behaviour cloning: maximises the likelihood of stored actions; critics are not used.

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
        state_ME = state_NE.index_select(0, batch.rows_M)
        policy = policy_at(self._actor[0], state_ME, batch, batch.rows_M)
        loss = -policy.log_prob(under_all_discounts(batch.action, self.discounts)).mean()
        return loss, {"loss/offline": loss.detach(), "loss": loss.detach(), **entropy_of(policy)}

    def after_step(self) -> None:
        """Do nothing: there are no targets."""
