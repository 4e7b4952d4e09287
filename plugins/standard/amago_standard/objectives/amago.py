"""The base objective (AMAGO; Grigsby et al., 2024, arXiv:2310.09971) and its multi-task form.

The multi-task form (AMAGO-2; Grigsby et al., 2024, arXiv:2411.11188) has the same terms with other
weights, on top of a classification critic, so that nothing in the actor's loss scales with the return.

Shape suffixes: N = timesteps of a packed batch, M = transitions, E = state features, C = ensemble
members, G = discounts, A = actions (discrete) or action features (continuous), K = sampled actions.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from amago_registry.actions import action_vector
from amago_registry.contexts import ObjectiveContext
from amago_registry.errors import AmagoError
from amago_registry.protocols import Actor, Batch, Critic
from amago_standard.layers.targets import (
    frozen,
    move_towards,
    n_step_target,
    reduce_ensemble,
    target_copy,
)
from amago_standard.objectives.filters import make_filter
from amago_standard.objectives.options import AmagoOptions


class _Estimates(NamedTuple):
    """What the critics say of the stored actions and of the policy, per transition.

    Args:
        prediction: Of the stored actions, with gradients.
        q_MCG: Its value, in units of return, without.
        v_MCG: The policy's value, in units of return, with gradients to the actor alone.
    """

    prediction: Tensor
    q_MCG: Tensor
    v_MCG: Tensor


class AmagoObjective(nn.Module):
    """Ensemble Q-learning, a policy gradient through the critics, and filtered behaviour cloning.

    Every timestep and every discount counts alike. Gradients of all three terms reach the backbone,
    those of the policy gradient only by way of the actor. Targets come from slowly moving copies of
    the actor and critics on top of the *current* backbone. A term whose coefficient is 0 is not
    computed.

    Args:
        context: The actor and critic to train, and their discounts; supplied by the composer.
        options: Weights of the terms; see :class:`AmagoOptions`.

    Raises:
        AmagoError: If the actor's distributions lack what the critic or the policy gradient needs.
    """

    discount_G: Tensor

    def __init__(self, context: ObjectiveContext, options: AmagoOptions) -> None:
        super().__init__()
        self.options, self.action_space = options, context.action_space
        self.filter = make_filter(options.filter)
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
        """Return the scalar loss and detached metrics: scalars, or one number per discount."""
        options, (actor, critic) = self.options, self._online
        state_ME = state_NE[batch.rows_M]
        policy = actor(state_ME, _mask(batch, batch.rows_M))
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        target_MG = None
        if options.critic_coef > 0:
            target_MG = self._target(state_NE, batch)
            critic.observe(target_MG)
            metrics |= _ranges("target", target_MG)
        estimates = self._estimate(state_ME, policy, batch) if self._asks_critic else None
        if estimates is not None:
            metrics |= _ranges("q", estimates.q_MCG.flatten(0, 1))
            if target_MG is not None:
                terms["critic"] = critic.loss(estimates.prediction, target_MG).mean()
            if options.online_coef > 0:
                terms["online"] = -critic.normalize(estimates.v_MCG).amin(1).mean()
        if options.offline_coef > 0:
            terms["offline"], acceptance = self._imitate(policy, estimates, batch)
            metrics |= acceptance
        return _sum_up(terms, options, metrics, policy)

    def after_step(self) -> None:
        """Move the target networks."""
        for target, online in zip((self.target_actor, self.target_critic), self._online, strict=True):
            move_towards(target, cast(nn.Module, online), self.options.tau)

    @property
    def _filters(self) -> bool:
        return self.options.offline_coef > 0 and self.filter is not None

    @property
    def _asks_critic(self) -> bool:
        return self.options.critic_coef > 0 or self.options.online_coef > 0 or self._filters

    @torch.no_grad()
    def _target(self, state_NE: Tensor, batch: Batch) -> Tensor:
        """Return TD targets ``(M, G)`` in units of return."""
        options, critic, next_M = self.options, self.target_critic, batch.rows_M + 1
        next_state_ME = state_NE[next_M]
        policy = self.target_actor(next_state_ME, _mask(batch, next_M))
        if critic.enumerates:
            q_MCGA = critic.value(critic.predict_all(next_state_ME))
            value_MCG = (policy.probs[:, None] * q_MCGA).sum(-1)
        else:
            action = self._sample(policy, options.target_actions)
            value_MCG = critic.value(critic.predict(next_state_ME, action)).mean(2)
        value_MG = reduce_ensemble(
            value_MCG, options.target_members, pessimistic=options.online_coef > 0
        )
        # The next transition is that of the same sequence where its timestep is the one after this.
        continues_M = torch.cat(
            [next_M[:-1] == batch.rows_M[1:], next_M.new_zeros(1, dtype=torch.bool)]
        )
        return n_step_target(
            batch.reward_M * options.reward_scale,
            batch.terminated_M,
            value_MG,
            self.discount_G,
            steps=options.n_step,
            continues_M=continues_M,
        )

    def _estimate(self, state_ME: Tensor, policy: Any, batch: Batch) -> _Estimates:
        options, (_, critic) = self.options, self._online
        if critic.enumerates:
            every = critic.predict_all(state_ME)
            prediction = critic.select(every, batch.action)
            # Detached, the values of all actions are exactly what the policy gradient may see.
            v_MCG = (policy.probs[:, None] * critic.value(every).detach()).sum(-1)
        else:
            prediction = critic.predict(
                state_ME, self._repeat(action_vector(batch.action, self.action_space))
            )
            count = options.advantage_actions
            if options.online_coef > 0:
                action = torch.stack([policy.rsample() for _ in range(count)], dim=1)
            else:
                action = self._sample(policy, count)
            with torch.set_grad_enabled(options.online_coef > 0), frozen(cast(nn.Module, critic)):
                v_MCG = critic.value(critic.predict(state_ME.detach(), action)).mean(2)
        return _Estimates(prediction, critic.value(prediction).detach(), v_MCG)

    def _imitate(
        self, policy: Any, estimates: _Estimates | None, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of filtered behaviour cloning, and how much was imitated."""
        log_prob_MG = policy.log_prob(self._repeat(batch.action))
        if self.filter is None or estimates is None:
            return -log_prob_MG.mean(), {}
        normalize = self._online[1].normalize
        q_MCG, v_MCG = normalize(estimates.q_MCG), normalize(estimates.v_MCG.detach())
        advantage_MG = q_MCG.mean(1) - v_MCG.mean(1)
        weight_MG = self.filter(advantage_MG)
        accepted = {"accepted": (advantage_MG > 0).float().mean(0)}
        if self.options.filter.kind != "binary":
            accepted["imitation_weight"] = weight_MG.mean(0)
        return -(weight_MG * log_prob_MG).mean(), accepted

    def _sample(self, policy: Any, count: int) -> Tensor:
        """Return action vectors ``(M, K, G, A)`` without gradients."""
        with torch.no_grad():
            drawn = [action_vector(policy.sample(), self.action_space) for _ in range(count)]
        return torch.stack(drawn, dim=1)

    def _repeat(self, action: Tensor) -> Tensor:
        """Return actions ``(M, ...)`` under every discount: ``(M, G, ...)``."""
        return action[:, None].expand(-1, len(self.discount_G), *action.shape[1:])


def _mask(batch: Batch, rows_M: Tensor) -> Tensor | None:
    return None if batch.action_mask_NA is None else batch.action_mask_NA[rows_M]


def _ranges(name: str, value_XG: Tensor) -> dict[str, Tensor]:
    """Return mean, least and greatest per discount."""
    least_G, most_G = value_XG.detach().aminmax(dim=0)
    return {name: value_XG.detach().mean(0), f"{name}_min": least_G, f"{name}_max": most_G}


def _sum_up(
    terms: dict[str, Tensor], options: AmagoOptions, metrics: dict[str, Tensor], policy: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    weights = {
        "critic": options.critic_coef,
        "online": options.online_coef,
        "offline": options.offline_coef,
    }
    loss = cast(Tensor, sum(weights[name] * term for name, term in terms.items()))
    metrics |= {f"loss/{name}": term.detach() for name, term in terms.items()}
    metrics["loss"] = loss.detach()
    with torch.no_grad():
        entropy_MG = policy.entropy()
    if entropy_MG is not None:
        metrics["entropy"] = entropy_MG.mean(0)
    return loss, metrics


def _check_fit(context: ObjectiveContext, options: AmagoOptions) -> None:
    """Refuse an actor whose distribution lacks what the critic or the policy gradient needs.

    Raises:
        AmagoError: Naming both parts and what to change.
    """
    actor, critic = type(context.actor).__name__, type(context.critic).__name__
    if not (options.critic_coef or options.online_coef or options.offline_coef):
        raise AmagoError(
            "agent.objective has no term left: set one of critic_coef, online_coef and offline_coef."
        )
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
