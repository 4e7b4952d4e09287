"""Laws of actors and critics, each on four discrete actions and on three continuous ones.

Shape suffixes: N = timesteps, E = state features, G = discounts, C = ensemble members,
A = actions (discrete) or action features (continuous).
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry.component import Component
from amago_registry.contexts import ActorContext, CriticContext
from amago_registry.testing.building import (
    Law,
    build,
    require,
    require_close,
    require_finite_gradients,
    seeded,
)

ROWS = 6
IN_DIM = 5
DISCOUNTS = (0.5, 0.9, 0.99)
ACTION_SPACES: tuple[spaces.Space[Any], ...] = (
    spaces.Discrete(4),
    spaces.Box(-1.0, 1.0, (3,)),
)
DOUBLE = torch.float64


def samples_are_legal_and_likely(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Samples and modes have the space's shape and range, and finite log-probabilities ``(N, G)``."""
    for space in ACTION_SPACES:
        policy = _actor(component, space, device, dtype)(_states(device, dtype))
        with seeded(0):
            drawn = (policy.sample(), policy.mode())
        for action in drawn:
            _require_legal(action, space, component)
            log_prob = policy.log_prob(action)
            finite = log_prob.shape == (ROWS, len(DISCOUNTS)) and bool(log_prob.isfinite().all())
            require(finite, component, f"in {space}, log_prob of its own action is not finite (N, G).")


def an_actor_learns_in_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The log-probability of a fixed action gives every parameter a finite gradient."""
    for space in ACTION_SPACES:
        actor = _actor(component, space, device, dtype).train()
        policy = actor(_states(device, dtype))
        with seeded(0):
            action = policy.sample()
        policy.log_prob(action).sum().backward()
        require_finite_gradients(actor, component)


ACTOR_LAWS: tuple[Law, ...] = (samples_are_legal_and_likely, an_actor_learns_in_every_parameter)
"""What every actor for discrete and continuous actions obeys."""


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


def statistics_wait_for_a_commit(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``observe`` leaves every saved bit and every value as it was; so does ``commit`` for values."""
    for space in ACTION_SPACES:
        critic, state = _critic(component, space, device, dtype), _states(device, dtype)
        saved = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
        _, before = _predict(critic, state, space)
        critic.observe(torch.full((ROWS, len(DISCOUNTS)), 50.0, device=device, dtype=dtype))
        changed = [n for n, t in critic.state_dict().items() if not torch.equal(t, saved[n])]
        require(not changed, component, f"observe changed {', '.join(changed)} before commit().")
        if hasattr(critic, "commit"):
            critic.commit()
        _, after = _predict(critic, state, space)
        require_close(after, before, component, "new statistics change predicted values.")


CRITIC_LAWS: tuple[Law, ...] = (
    values_have_a_place_per_member_and_discount,
    a_critic_learns_in_every_parameter,
    statistics_wait_for_a_commit,
)
"""What every critic for discrete and continuous actions obeys."""


def _actor(component: Component, space: spaces.Space[Any], device: str, dtype: torch.dtype) -> Any:
    context = ActorContext(in_dim=IN_DIM, action_space=space, discounts=DISCOUNTS)
    return build(component, context, device=device, dtype=dtype)


def _critic(component: Component, space: spaces.Space[Any], device: str, dtype: torch.dtype) -> Any:
    context = CriticContext(in_dim=IN_DIM, action_space=space, discounts=DISCOUNTS)
    return build(component, context, device=device, dtype=dtype)


def _states(device: str, dtype: torch.dtype) -> Tensor:
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
