"""Laws of actors and critics, each on four discrete actions and on three continuous ones.

Shape suffixes: N = timesteps, E = state features, G = discounts, C = ensemble members,
A = actions (discrete) or action features (continuous).
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry.component import Component
from amago_registry.contexts import ActorContext, CriticContext
from amago_registry.protocols import (
    Actor,
    Critic,
    DiscreteDistribution,
    Distribution,
    Proposes,
    ReparameterizedDistribution,
)
from amago_registry.testing.building import (
    Law,
    build,
    require,
    require_close,
    require_finite_gradients,
    require_protocol,
    seeded,
)

ROWS = 6
IN_DIM = 5
DISCOUNTS = (0.5, 0.9, 0.99)
DISCRETE = spaces.Discrete(4)
CONTINUOUS = spaces.Box(-1.0, 1.0, (3,))
ACTION_SPACES: tuple[spaces.Space[Any], ...] = (DISCRETE, CONTINUOUS)
DOUBLE = torch.float64


def an_actor_offers_what_objectives_call(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """It is an ``Actor``; its policies are ``Distribution``s, with ``probs`` over discrete actions."""
    for space in ACTION_SPACES:
        _policy(_actor(component, space, device, dtype), space, component)


def samples_are_legal_and_likely(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Samples and modes have the space's shape and range, and finite log-probabilities ``(N, G)``."""
    for space in ACTION_SPACES:
        policy = _policy(_actor(component, space, device, dtype), space, component)
        with seeded(0):
            drawn = (policy.sample(), policy.mode())
        for action in drawn:
            _require_legal(action, space, component)
            log_prob = policy.log_prob(action)
            finite = log_prob.shape == (ROWS, len(DISCOUNTS)) and bool(log_prob.isfinite().all())
            require(finite, component, f"in {space}, log_prob of its own action is not finite (N, G).")


def probabilities_agree_with_log_prob(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Discrete: ``probs`` ``(N, G, A)`` sum to 1, and ``log_prob`` is the logarithm of each."""
    policy = _policy(_actor(component, DISCRETE, device, dtype), DISCRETE, component)
    probs, actions = policy.probs, int(DISCRETE.n)
    legal = probs.shape == (ROWS, len(DISCOUNTS), actions) and bool((probs >= 0).all())
    require(legal, component, f"probs have the shape {tuple(probs.shape)} and must be (N, G, A) >= 0.")
    total_NG = probs.sum(-1)
    require_close(total_NG, torch.ones_like(total_NG), component, "probabilities do not sum to 1.")
    for action in range(actions):
        likelihood_NG = policy.log_prob(torch.full_like(total_NG, action, dtype=torch.int64)).exp()
        sentence = f"log_prob of action {action} is not the logarithm of its probability."
        require_close(likelihood_NG, probs[..., action], component, sentence)


def reparameterised_samples_carry_gradients(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Continuous: what ``rsample`` draws, where it exists, is legal and passes finite gradients on."""
    actor = _actor(component, CONTINUOUS, device, dtype).train()
    policy = _policy(actor, CONTINUOUS, component)
    if not isinstance(policy, ReparameterizedDistribution):
        return
    with seeded(0):
        action = policy.rsample()
    _require_legal(action, CONTINUOUS, component)
    if action.requires_grad:
        torch.autograd.backward(action.sum())
    gradients = [weight.grad for weight in actor.parameters() if weight.grad is not None]
    require(any(bool(g.any()) for g in gradients), component, "no gradient comes through rsample.")
    finite = all(bool(g.isfinite().all()) for g in gradients)
    require(finite, component, "the gradient through rsample is not finite.")


def an_actor_learns_in_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The log-probability of a fixed action gives every parameter a finite gradient."""
    for space in ACTION_SPACES:
        actor = _actor(component, space, device, dtype).train()
        policy = _policy(actor, space, component)
        with seeded(0):
            action = policy.sample()
        policy.log_prob(action).sum().backward()
        require_finite_gradients(actor, component)


ACTOR_LAWS: tuple[Law, ...] = (
    an_actor_offers_what_objectives_call,
    samples_are_legal_and_likely,
    probabilities_agree_with_log_prob,
    reparameterised_samples_carry_gradients,
    an_actor_learns_in_every_parameter,
)
"""What every actor for discrete and continuous actions obeys."""


def a_critic_offers_what_objectives_call(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """It is a ``Critic``."""
    for space in ACTION_SPACES:
        _critic(component, space, device, dtype)


def values_have_a_place_per_member_and_discount(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``value`` is ``(N, C, G)``, of all actions ``(N, C, G, A)``; ``select`` picks one."""
    for space in ACTION_SPACES:
        critic, state = _critic(component, space, device, dtype), _states(device, dtype)
        prediction, value = _predict(critic, state, space)
        require(
            value.dim() == 3 and value.shape[::2] == (ROWS, len(DISCOUNTS)),
            component,
            f"in {space}, value has the shape {tuple(value.shape)}, not (N, C, G).",
        )
        if critic.enumerates:
            every = critic.value(critic.predict_all(state))
            for row, action in enumerate(_actions(space, state).tolist()):
                sentence = "select does not return the prediction of the action it was asked for."
                require_close(value[row], every[row, :, :, action], component, sentence)
        target = torch.ones(ROWS, len(DISCOUNTS), device=device, dtype=dtype)
        critic.observe(target)
        loss = critic.loss(prediction, target)
        require(
            loss.shape == value.shape and bool(loss.isfinite().all()),
            component,
            f"in {space}, loss has the shape {tuple(loss.shape)} and must be finite (N, C, G).",
        )


def a_critic_learns_in_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The loss gives every trained parameter a finite gradient."""
    for space in ACTION_SPACES:
        critic = _critic(component, space, device, dtype).train()
        prediction, _ = _predict(critic, _states(device, dtype), space)
        target = torch.ones(ROWS, len(DISCOUNTS), device=device, dtype=dtype)
        critic.observe(target)
        critic.loss(prediction, target).sum().backward()
        require_finite_gradients(critic, component)


def normalize_keeps_shape_and_order(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``normalize`` takes ``(..., G)`` to ``(..., G)``; within a discount, more stays more."""
    for space in ACTION_SPACES:
        critic = _critic(component, space, device, dtype)
        rising_NG = _targets(device, dtype)
        critic.observe(rising_NG)
        once_NG = critic.normalize(rising_NG)
        require(
            once_NG.shape == rising_NG.shape,
            component,
            f"normalize turns {tuple(rising_NG.shape)} into the shape {tuple(once_NG.shape)}.",
        )
        require(bool((once_NG.diff(dim=0) > 0).all()), component, "normalize changes which is more.")
        # As many members as discounts: whoever takes the wrong axis for G meets no error there.
        repeat = (-1, len(DISCOUNTS), -1)
        require_close(
            critic.normalize(rising_NG[:, None].expand(repeat)),
            once_NG[:, None].expand(repeat),
            component,
            "normalize makes of (N, C, G) something else than of (N, G): G is always the last axis.",
        )


def statistics_wait_for_a_commit(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """What ``observe`` proposes counts at once in ``normalize``, and is saved only by ``commit``."""
    for space in ACTION_SPACES:
        critic, target_NG = _critic(component, space, device, dtype), _targets(device, dtype)
        saved = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
        critic.observe(target_NG)
        changed = [n for n, t in critic.state_dict().items() if not torch.equal(t, saved[n])]
        require(not changed, component, f"observe changed {', '.join(changed)} before commit().")
        proposed_NG = critic.normalize(target_NG)
        _commit(critic)
        sentence = "commit() changes what normalize returns: proposals must count at once."
        require_close(critic.normalize(target_NG), proposed_NG, component, sentence)


def values_outlive_new_statistics(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Neither ``observe`` nor ``commit`` changes a value: of a prediction made before, or made anew."""
    for space in ACTION_SPACES:
        critic, state = _critic(component, space, device, dtype), _states(device, dtype)
        prediction, before = _predict(critic, state, space)
        critic.observe(_targets(device, dtype))
        observed = _predict(critic, state, space)[1], critic.value(prediction)
        _commit(critic)
        committed = _predict(critic, state, space)[1], critic.value(prediction)
        for when, values in (("observe", observed), ("commit()", committed)):
            for value in values:
                sentence = f"{when} changes predicted values."
                require_close(value, before, component, sentence)


CRITIC_LAWS: tuple[Law, ...] = (
    a_critic_offers_what_objectives_call,
    values_have_a_place_per_member_and_discount,
    a_critic_learns_in_every_parameter,
    normalize_keeps_shape_and_order,
    statistics_wait_for_a_commit,
    values_outlive_new_statistics,
)
"""What every critic for discrete and continuous actions obeys."""


def _actor(component: Component, space: spaces.Space[Any], device: str, dtype: torch.dtype) -> Any:
    context = ActorContext(in_dim=IN_DIM, action_space=space, discounts=DISCOUNTS)
    actor = build(component, context, device=device, dtype=dtype)
    require_protocol(actor, Actor, component)
    return actor


def _policy(actor: Any, space: spaces.Space[Any], component: Component) -> Any:
    like = next(actor.parameters())
    policy = actor(_states(like.device, like.dtype))
    discrete = isinstance(space, spaces.Discrete)
    require_protocol(policy, DiscreteDistribution if discrete else Distribution, component)
    return policy


def _critic(component: Component, space: spaces.Space[Any], device: str, dtype: torch.dtype) -> Any:
    context = CriticContext(in_dim=IN_DIM, action_space=space, discounts=DISCOUNTS)
    critic = build(component, context, device=device, dtype=dtype)
    require_protocol(critic, Critic, component)
    return critic


def _commit(critic: nn.Module) -> None:
    """Commit as the engine does: every module that proposes, however deep."""
    for module in critic.modules():
        if isinstance(module, Proposes):
            module.commit()


def _targets(device: str, dtype: torch.dtype) -> Tensor:
    """Targets ``(N, G)`` that rise from row to row, on a scale of its own for each discount."""
    rising_N1 = torch.linspace(-10, 50, ROWS, device=device, dtype=dtype)[:, None]
    return rising_N1 * 10.0 ** torch.arange(len(DISCOUNTS), device=device)


def _states(device: str | torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, IN_DIM, generator=generator, dtype=DOUBLE).to(device, dtype)


def _actions(space: spaces.Space[Any], state_NE: Tensor) -> Tensor:
    """Fixed actions: indices ``(N,)``, or ``(N, G, A)`` within +-0.9."""
    row_N = torch.arange(ROWS, device=state_NE.device)
    if isinstance(space, spaces.Discrete):
        return row_N % int(space.n)
    return torch.sin(row_N.to(state_NE)).mul(0.9)[:, None, None].expand(-1, len(DISCOUNTS), 3)


def _predict(critic: Any, state_NE: Tensor, space: spaces.Space[Any]) -> tuple[Tensor, Tensor]:
    action = _actions(space, state_NE)
    if critic.enumerates:
        prediction = critic.select(critic.predict_all(state_NE), action)
    else:
        prediction = critic.predict(state_NE, action)
    return prediction, critic.value(prediction)


def _require_legal(action: Tensor, space: spaces.Space[Any], component: Component) -> None:
    shape = (ROWS, len(DISCOUNTS))
    if isinstance(space, spaces.Discrete):
        legal = action.shape == shape and bool(((action >= 0) & (action < int(space.n))).all())
    else:
        legal = action.shape == (*shape, 3) and bool((action.abs() <= 1).all())
    require(legal, component, f"in {space}, it draws actions outside the space or of another shape.")
