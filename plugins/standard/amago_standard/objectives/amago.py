"""AMAGO's actor-critic objective (Grigsby et al., 2024, arXiv:2310.09971) and its multi-task form.

The multi-task form (AMAGO-2; Grigsby et al., 2024, arXiv:2411.11188) has the same terms with other
weights, on top of a classification critic, so that nothing in the actor's loss scales with the return.

Shape suffixes: N = timesteps of a packed batch, M = transitions, E = state features, C = ensemble
members, G = discounts, A = actions (discrete) or action features (continuous), K = sampled actions.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from gymnasium import spaces
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
from amago_standard.objectives.policies import entropy_of, policy_at, under_all_discounts


class _PolicyValue(NamedTuple):
    """The critics' values of the policy's actions.

    Args:
        v_MCKG: Value of each sampled action in units of return, or K = 1 exact expectation; with
            gradients to the actor alone.
        same_MKG: True where the sampled action is the stored one; None where that cannot be.
    """

    v_MCKG: Tensor
    same_MKG: Tensor | None


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
        # Which terms there are; as booleans, because torch.compile takes the coefficients for symbols.
        self._trains_critic = options.critic_coef > 0
        self._has_policy_gradient = options.online_coef > 0
        self._imitates = options.offline_coef > 0
        self._filters = self._imitates and self.filter is not None
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
        actor, critic = self._online
        state_ME = state_NE.index_select(0, batch.rows_M)
        policy = policy_at(actor, state_ME, batch, batch.rows_M)
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        target_MG = self._target(state_NE, batch) if self._trains_critic else None
        if target_MG is not None:
            critic.observe(target_MG)
            metrics |= _ranges("target", target_MG)
        every, prediction = self._predict(state_ME, batch)
        q_MCG = None if prediction is None else critic.value(prediction).detach()
        if prediction is not None and q_MCG is not None:
            metrics |= _ranges("q", q_MCG.flatten(0, 1))
            if target_MG is not None:
                terms["critic"] = critic.loss(prediction, target_MG).mean()
        value = self._policy_value(state_ME, policy, every, batch)
        if value is not None and self._has_policy_gradient:
            terms["online"] = -critic.normalize(value.v_MCKG.mean(2)).amin(1).mean()
        if self._imitates:
            terms["offline"], acceptance = self._imitate(policy, q_MCG, value, batch)
            metrics |= acceptance
        loss = self._sum_up(terms)
        metrics |= {f"loss/{name}": term.detach() for name, term in terms.items()}
        return loss, {**metrics, "loss": loss.detach(), **entropy_of(policy)}

    def after_step(self) -> None:
        """Move the target networks."""
        for target, online in zip((self.target_actor, self.target_critic), self._online, strict=True):
            move_towards(target, cast(nn.Module, online), self.options.tau)

    @torch.no_grad()
    def _target(self, state_NE: Tensor, batch: Batch) -> Tensor:
        """Return TD targets ``(M, G)`` in units of return."""
        options, critic, next_M = self.options, self.target_critic, batch.rows_M + 1
        next_state_ME = state_NE.index_select(0, next_M)
        policy = policy_at(self.target_actor, next_state_ME, batch, next_M)
        if critic.enumerates:
            q_MCGA = critic.value(critic.predict_all(next_state_ME))
            value_MCG = (policy.probs[:, None] * q_MCGA).sum(-1)
        else:
            action = self._sample(policy, options.target_actions)
            value_MCG = critic.value(critic.predict(next_state_ME, action)).mean(2)
        pessimistic = self._has_policy_gradient
        value_MG = reduce_ensemble(value_MCG, options.target_members, pessimistic=pessimistic)
        # The next transition is of the same sequence where its timestep is the one after this.
        follows_M = next_M[:-1] == batch.rows_M[1:]
        continues_M = torch.cat([follows_M, follows_M.new_zeros(1)])
        return n_step_target(
            batch.reward_M * options.reward_scale,
            batch.terminated_M,
            value_MG,
            self.discount_G,
            steps=options.n_step,
            continues_M=continues_M,
        )

    def _predict(self, state_ME: Tensor, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Return predictions of all actions, if the critic enumerates them, and of the stored ones.

        None for those that no term reads; with gradients only if the critics are trained.
        """
        critic = self._online[1]
        with torch.set_grad_enabled(self._trains_critic):
            if critic.enumerates and (
                self._trains_critic or self._filters or self._has_policy_gradient
            ):
                every = critic.predict_all(state_ME)
                return every, critic.select(every, batch.action)
            if self._trains_critic or self._filters:
                action_MA = action_vector(batch.action, self.action_space)
                return None, critic.predict(
                    state_ME, under_all_discounts(action_MA, len(self.discount_G))
                )
        return None, None

    def _policy_value(
        self, state_ME: Tensor, policy: Any, every: Tensor | None, batch: Batch
    ) -> _PolicyValue | None:
        """Return the policy's value; None if no term reads it."""
        critic = self._online[1]
        if not (self._has_policy_gradient or self._filters):
            return None
        if every is not None:
            # Detached: the policy gradient must not reach the critics or the backbone through them.
            v_MCG = (policy.probs[:, None] * critic.value(every).detach()).sum(-1)
            return _PolicyValue(v_MCG[:, :, None], None)
        count = self.options.advantage_actions
        if self._has_policy_gradient:
            action_MKGA = torch.stack([policy.rsample() for _ in range(count)], dim=1)
        else:
            action_MKGA = self._sample(policy, count)
        with torch.set_grad_enabled(self._has_policy_gradient), frozen(cast(nn.Module, critic)):
            v_MCKG = critic.value(critic.predict(state_ME.detach(), action_MKGA))
        if isinstance(self.action_space, spaces.Box):
            return _PolicyValue(v_MCKG, None)
        stored_MA = action_vector(batch.action, self.action_space)
        return _PolicyValue(v_MCKG, (action_MKGA.detach() == stored_MA[:, None, None]).all(-1))

    def _imitate(
        self, policy: Any, q_MCG: Tensor | None, value: _PolicyValue | None, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of filtered behaviour cloning, and metrics of the filter."""
        log_prob_MG = policy.log_prob(under_all_discounts(batch.action, len(self.discount_G)))
        if self.filter is None or q_MCG is None or value is None:
            return -log_prob_MG.mean(), {}
        advantage_MG = self._advantage(q_MCG, value)
        weight_MG = self.filter(advantage_MG)
        accepted = {"accepted": (advantage_MG > 0).float().mean(0)}
        if self.options.filter.kind != "binary":
            accepted["imitation_weight"] = weight_MG.mean(0)
        return -(weight_MG * log_prob_MG).mean(), accepted

    def _advantage(self, q_MCG: Tensor, value: _PolicyValue) -> Tensor:
        """Return advantages ``(M, G)`` of the stored actions, in the critic's learning scale."""
        normalize = self._online[1].normalize
        q_MC1G, v_MCKG = normalize(q_MCG)[:, :, None], normalize(value.v_MCKG.detach())
        if value.same_MKG is not None:
            # The advantage over the same action is 0; two kernels would round it to a random sign.
            v_MCKG = torch.where(value.same_MKG[:, None], q_MC1G, v_MCKG)
        return (q_MC1G - v_MCKG).mean((1, 2))

    def _sample(self, policy: Any, count: int) -> Tensor:
        """Return action vectors ``(M, K, G, A)`` without gradients."""
        with torch.no_grad():
            drawn = [action_vector(policy.sample(), self.action_space) for _ in range(count)]
        return torch.stack(drawn, dim=1)

    def _sum_up(self, terms: dict[str, Tensor]) -> Tensor:
        options = self.options
        weights = {
            "critic": options.critic_coef,
            "online": options.online_coef,
            "offline": options.offline_coef,
        }
        return cast(Tensor, sum(weights[name] * term for name, term in terms.items()))


def _ranges(name: str, value_XG: Tensor) -> dict[str, Tensor]:
    """Return mean, least and greatest per discount."""
    least_G, most_G = value_XG.detach().aminmax(dim=0)
    return {name: value_XG.detach().mean(0), f"{name}_min": least_G, f"{name}_max": most_G}


def _check_fit(context: ObjectiveContext, options: AmagoOptions) -> None:
    """Check that the actor's distribution has what the critic and the policy gradient need.

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
            f"the distribution of actor {actor} has no samples that carry gradients, which "
            "agent.objective.online_coef > 0 needs: set agent.objective.online_coef=0 or choose "
            "another distribution, such as agent.actor.distribution=tanh-gaussian."
        )
