"""The base objective (AMAGO; Grigsby et al., 2024, arXiv:2310.09971).

Shape suffixes: N = timesteps of a packed batch, M = transitions, E = state features, C = ensemble
members, G = discounts, A = actions (discrete) or action features (continuous).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from amago_registry.contexts import ObjectiveContext
from amago_registry.errors import AmagoError
from amago_registry.protocols import Actor, Batch, Critic
from amago_standard.layers.targets import (
    frozen,
    move_towards,
    one_step_target,
    reduce_ensemble,
    target_copy,
)
from amago_standard.objectives.options import AmagoOptions


class AmagoObjective(nn.Module):
    """Ensemble Q-learning, a policy gradient through the critics, and filtered behaviour cloning.

    Every timestep and every discount counts alike. Gradients of all three terms reach the backbone,
    those of the policy gradient only by way of the actor. Targets come from slowly moving copies of
    the actor and critics on top of the *current* backbone.

    Args:
        context: The actor and critic to train, and their discounts; supplied by the composer.
        options: Weights of the terms; see :class:`AmagoOptions`.
    """

    discount_G: Tensor

    def __init__(self, context: ObjectiveContext, options: AmagoOptions) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("discount_G", torch.tensor(context.discounts), persistent=False)
        # In a tuple, so that the online networks stay the agent's and are saved once.
        self._online: tuple[Actor, Critic] = (context.actor, context.critic)
        _check_fit(context, options)
        self.target_actor = target_copy(context.actor)
        self.target_critic = target_copy(context.critic)

    def train(self, mode: bool = True) -> AmagoObjective:
        """Set the mode; targets always evaluate."""
        super().train(mode)
        self.target_actor.eval()
        self.target_critic.eval()
        return self

    def loss(self, state_NE: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss and detached scalar metrics."""
        actor, critic = self._online
        state_ME = state_NE[batch.rows_M]
        target_MG = self._target(state_NE[batch.rows_M + 1].detach(), batch)
        critic.observe(target_MG)
        policy = actor(state_ME)
        prediction, q_MCG, v_MCG = self._estimate(state_ME, policy, batch)
        critic_loss = critic.loss(prediction, target_MG).mean()
        value_MCG = critic.normalize(v_MCG)
        advantage_MG = critic.normalize(q_MCG).mean(1) - value_MCG.detach().mean(1)
        accepted_MG = (advantage_MG > 0).to(advantage_MG.dtype)
        online_loss = -value_MCG.amin(1).mean()
        offline_loss = -(accepted_MG * policy.log_prob(self._stored(batch))).mean()
        loss = (
            self.options.critic_coef * critic_loss
            + self.options.online_coef * online_loss
            + self.options.offline_coef * offline_loss
        )
        metrics = {
            "loss": loss,
            "loss/critic": critic_loss,
            "loss/online": online_loss,
            "loss/offline": offline_loss,
            "q": q_MCG[..., -1].mean(),
            "target": target_MG[:, -1].mean(),
            "target_std": target_MG[:, -1].std(correction=0),
            "accepted": accepted_MG.mean(),
        }
        with torch.no_grad():
            entropy_MG = policy.entropy()
        if entropy_MG is not None:
            metrics["entropy"] = entropy_MG[:, -1].mean()
        return loss, {name: metric.detach() for name, metric in metrics.items()}

    def after_step(self) -> None:
        """Move the target networks."""
        for target, online in zip((self.target_actor, self.target_critic), self._online, strict=True):
            move_towards(target, cast(nn.Module, online), self.options.tau)

    @torch.no_grad()
    def _target(self, next_state_ME: Tensor, batch: Batch) -> Tensor:
        critic = self.target_critic
        policy = self.target_actor(next_state_ME)
        if critic.enumerates:
            q_MCGA = critic.value(critic.predict_all(next_state_ME))
            value_MCG = (policy.probs[:, None] * q_MCGA).sum(-1)
        else:
            value_MCG = critic.value(critic.predict(next_state_ME, policy.sample()))
        value_MG = reduce_ensemble(
            value_MCG, self.options.target_members, pessimistic=self.options.online_coef > 0
        )
        reward_M = batch.reward_M * self.options.reward_scale
        return one_step_target(reward_M, batch.terminated_M, value_MG, self.discount_G)

    def _estimate(self, state_ME: Tensor, policy: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the prediction for the stored actions, their values, and those of the policy.

        Values ``(M, C, G)`` are in units of return. Only the policy's carry gradients, to the actor.
        """
        _, critic = self._online
        if critic.enumerates:
            every_MCGA = critic.predict_all(state_ME)
            prediction = critic.select(every_MCGA, batch.action)
            # Detached, the values of all actions are exactly what the policy gradient may see.
            v_MCG = (policy.probs[:, None] * critic.value(every_MCGA).detach()).sum(-1)
        else:
            prediction = critic.predict(state_ME, self._stored(batch))
            action_MGA = policy.rsample() if self.options.online_coef > 0 else policy.sample()
            with frozen(cast(nn.Module, critic)):
                v_MCG = critic.value(critic.predict(state_ME.detach(), action_MGA))
        return prediction, critic.value(prediction).detach(), v_MCG

    def _stored(self, batch: Batch) -> Tensor:
        """The batch's actions under every discount: ``(M, G)`` or ``(M, G, A)``."""
        action = batch.action[:, None]
        return action.expand(-1, len(self.discount_G), *action.shape[2:])


def _check_fit(context: ObjectiveContext, options: AmagoOptions) -> None:
    """Refuse an actor whose distribution lacks what the critic or the policy gradient needs.

    Raises:
        AmagoError: Naming both parts and what to change.
    """
    actor, critic = type(context.actor).__name__, type(context.critic).__name__
    like = next(context.actor.parameters())
    with torch.no_grad():
        policy = context.actor(like.new_zeros(1, context.in_dim))
    if context.critic.enumerates and not hasattr(policy, "probs"):
        raise AmagoError(
            f"critic {critic} values every discrete action, and actor {actor} gives no probabilities "
            "to weigh them by: choose another actor or critic."
        )
    if not context.critic.enumerates and options.online_coef > 0 and not hasattr(policy, "rsample"):
        raise AmagoError(
            f"actor {actor} has no samples that carry gradients, which agent.objective.online_coef > 0 "
            "needs: set agent.objective.online_coef=0 or choose another actor."
        )
