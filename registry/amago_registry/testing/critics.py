"""Laws of critics, run in every action space that the critic supports.

Shape suffixes: N = timesteps, E = state features, G = discounts, C = ensemble members,
K = actions per timestep, A = features of an action vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry.actions import action_vector, choices
from amago_registry.component import Component
from amago_registry.contexts import CriticContext
from amago_registry.protocols import Critic, Proposes
from amago_registry.testing.building import Law, require, require_close, require_finite_gradients
from amago_registry.testing.heads import (
    DISCOUNTS,
    DOUBLE,
    ROWS,
    gradients,
    heads,
    states,
    with_moved_weights,
)

SEVERAL = 3
"""Actions per timestep."""

FAR = 100.0
"""A target far from the initial values of every critic."""

STEP = 1e-3
"""Length of a small gradient step."""

Critics = list[tuple[spaces.Space[Any], Any]]


def a_critic_offers_what_objectives_call(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """It is a ``Critic``."""
    _critics(component, device, dtype)


def values_have_a_place_per_member_and_discount(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``value`` is ``(N, C, G)``, or ``(N, C, G, A)`` of all actions; ``select`` selects one."""
    state = states(device, dtype)
    for space, critic in _critics(component, device, dtype):
        prediction, value = _predict(critic, state, space)
        require(
            value.dim() == 3 and value.shape[::2] == (ROWS, len(DISCOUNTS)),
            component,
            f"in {space}, value has the shape {tuple(value.shape)}, not (N, C, G).",
        )
        if critic.enumerates:
            every = critic.value(critic.predict_all(state))
            for row, action in enumerate(_actions(space, state).tolist()):
                sentence = "select does not return the prediction of the given action."
                require_close(value[row], every[row, :, :, action], component, sentence)
        target = torch.ones(ROWS, len(DISCOUNTS), device=device, dtype=dtype)
        critic.observe(target)
        loss = critic.loss(prediction, target)
        require(
            loss.shape == value.shape and bool(loss.isfinite().all()),
            component,
            f"in {space}, loss has the shape {tuple(loss.shape)}; expected finite (N, C, G).",
        )


def several_actions_are_valued_as_each_alone(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Predictions ``(N, C, K, G, ...)`` of actions ``(N, K, G, A)`` equal those of K separate calls."""
    state = states(device, dtype)
    for space, critic in _critics(component, device, dtype):
        if critic.enumerates:
            continue
        action = _several_actions(space, state)
        together = critic.predict(state, action)
        for k in range(SEVERAL):
            alone = critic.predict(state, action[:, k])
            sentence = (
                f"in {space}, predictions of several actions at once differ from those of each alone."
            )
            shape = f"The prediction has the shape {tuple(together.shape)}, not (N, C, K, G, ...)."
            legal = together.dim() > 3 and together.shape[2] == SEVERAL
            require(legal, component, f"{sentence} {shape}")
            require_close(together[:, :, k], alone, component, sentence)
            require_close(critic.value(together)[:, :, k], critic.value(alone), component, sentence)


def a_critic_learns_in_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The loss gives every trained parameter a finite gradient."""
    for space, critic in _critics(component, device, dtype):
        critic.train()
        prediction, _ = _predict(critic, states(device, dtype), space)
        target = torch.ones(ROWS, len(DISCOUNTS), device=device, dtype=dtype)
        critic.observe(target)
        critic.loss(prediction, target).sum().backward()
        require_finite_gradients(critic, component)


def a_step_down_the_loss_moves_the_value_towards_the_target(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A gradient step towards a high target gives higher values than one towards a low target.

    The two steps are compared with each other and not with the value before: the first steps of a
    classification critic may mainly lower the logits of classes that are wrong for both. The weights
    are the initial ones.
    """
    for space, critic in heads(component, CriticContext, Critic, device=device, dtype=dtype):
        for g, approach in enumerate(_approaches(critic, space, component)):
            sentence = f"in {space}, a small gradient step does not move values towards the target"
            require(bool(approach > 0), component, f"{sentence}, under discount {DISCOUNTS[g]}.")


def normalize_keeps_shape_and_order(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``normalize`` keeps the shape ``(..., G)``, and the order of values within a discount."""
    for _, critic in _critics(component, device, dtype):
        rising_NG = _targets(device, dtype)
        critic.observe(rising_NG)
        once_NG = critic.normalize(rising_NG)
        require(
            once_NG.shape == rising_NG.shape,
            component,
            f"normalize returns the shape {tuple(once_NG.shape)} instead of {tuple(rising_NG.shape)}.",
        )
        require(
            bool((once_NG.diff(dim=0) > 0).all()),
            component,
            "normalize does not keep the order of values.",
        )
        # As many members as discounts: using the wrong axis as G raises no error.
        repeat = (-1, len(DISCOUNTS), -1)
        require_close(
            critic.normalize(rising_NG[:, None].expand(repeat)),
            once_NG[:, None].expand(repeat),
            component,
            "normalize differs between (N, C, G) and (N, G): G is always the last axis.",
        )


def statistics_wait_for_a_commit(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Statistics from ``observe`` apply to ``normalize`` at once; only ``commit`` saves them."""
    target_NG = _targets(device, dtype)
    for _, critic in _critics(component, device, dtype):
        saved = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
        critic.observe(target_NG)
        changed = [n for n, t in critic.state_dict().items() if not torch.equal(t, saved[n])]
        require(not changed, component, f"observe changed {', '.join(changed)} before commit().")
        proposed_NG = critic.normalize(target_NG)
        _commit(critic)
        sentence = (
            "commit() changes the result of normalize: observed statistics must take effect at once."
        )
        require_close(critic.normalize(target_NG), proposed_NG, component, sentence)


def what_is_forgotten_leaves_no_trace(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``forget``, called after a skipped update, discards the statistics from ``observe``."""
    target_NG = _targets(device, dtype)
    for _, critic in _critics(component, device, dtype):
        saved = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
        before_NG = critic.normalize(target_NG)
        critic.observe(target_NG)
        _forget(critic)
        sentence = (
            "forget() keeps statistics: the result of normalize differs from that before observe."
        )
        require_close(critic.normalize(target_NG), before_NG, component, sentence)
        _commit(critic)
        changed = [n for n, t in critic.state_dict().items() if not torch.equal(t, saved[n])]
        require(not changed, component, f"commit() after forget() changed {', '.join(changed)}.")


def values_outlive_new_statistics(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Neither ``observe`` nor ``commit`` changes values, of earlier or of new predictions."""
    state = states(device, dtype)
    for space, critic in _critics(component, device, dtype):
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
    several_actions_are_valued_as_each_alone,
    a_critic_learns_in_every_parameter,
    a_step_down_the_loss_moves_the_value_towards_the_target,
    normalize_keeps_shape_and_order,
    statistics_wait_for_a_commit,
    what_is_forgotten_leaves_no_trace,
    values_outlive_new_statistics,
)
"""The laws that every critic must pass, in every action space that it supports."""


def _critics(component: Component, device: str, dtype: torch.dtype) -> Critics:
    """Return the critic for every action space that it supports, with noise added to its weights."""
    return with_moved_weights(heads(component, CriticContext, Critic, device=device, dtype=dtype))


def _approaches(critic: Any, space: spaces.Space[Any], component: Component) -> Iterator[Tensor]:
    """Yield for every discount the difference of values after steps towards high and low targets.

    Rows and members may share weights, so only their sum must move. Neighboring rows and discounts have
    targets of opposite sign: a critic that confuses them moves values in the wrong direction.
    """
    like = next(critic.parameters())
    state_NE = states(like.device, like.dtype)
    odd_NG = (torch.arange(ROWS)[:, None] + torch.arange(len(DISCOUNTS))) % 2
    up_NG = (1 - 2 * odd_NG).to(state_NE)
    critic.observe(FAR * up_NG)
    prediction, value = _predict(critic, state_NE, space)
    above, below = (critic.loss(prediction, sign * FAR * up_NG) for sign in (1, -1))
    shaped = above.shape == below.shape == value.shape and above.requires_grad and below.requires_grad
    require(shaped, component, f"in {space}, loss has no gradient, or another shape than value.")
    pairs = [
        [gradients(loss_NCG[..., g].sum(), critic) for loss_NCG in (above, below)]
        for g in range(len(DISCOUNTS))
    ]  # Computed before the first step, which changes the weights in place.
    for g, pair in enumerate(pairs):
        rate = STEP / max(_length(gradient) for gradient in pair)
        values = []
        for gradient in pair:
            with _stepped(critic, gradient, rate):
                values.append(_predict(critic, state_NE, space)[1])
        yield (up_NG[:, None] * (values[0] - values[1]))[..., g].sum()


def _length(gradient: list[Tensor]) -> float:
    """Return the norm of a gradient, or 1 if it is zero."""
    return sum(part.square().sum().item() for part in gradient) ** 0.5 or 1.0


@contextmanager
def _stepped(critic: nn.Module, gradient: list[Tensor], rate: float) -> Iterator[None]:
    """Apply a gradient step to the critic's weights in the context; restore them after."""
    weights = [weight for weight in critic.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, part in zip(weights, gradient, strict=True):
            weight.sub_(rate * part)
        yield
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)


def _commit(critic: nn.Module) -> None:
    """Call ``commit`` as the engine does: on every nested module that proposes statistics."""
    for module in critic.modules():
        if isinstance(module, Proposes):
            module.commit()


def _forget(critic: nn.Module) -> None:
    """Call ``forget`` as the engine does after a skipped update."""
    for module in critic.modules():
        if isinstance(module, Proposes):
            module.forget()


def _targets(device: str, dtype: torch.dtype) -> Tensor:
    """Return targets ``(N, G)`` that increase with the row, on a different scale per discount."""
    rising_N1 = torch.linspace(-10, 50, ROWS, device=device, dtype=dtype)[:, None]
    return rising_N1 * 10.0 ** torch.arange(len(DISCOUNTS), device=device)


def _actions(space: spaces.Space[Any], state_NE: Tensor) -> Tensor:
    """Return fixed stored actions: indices ``(N,)``, or ``(N, axes)``."""
    row_N = torch.arange(ROWS, device=state_NE.device)
    if isinstance(space, spaces.Discrete):
        return row_N % int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return torch.stack([row_N % n for n in choices(space)], -1)
    axis_X = torch.arange(3, device=state_NE.device)
    if isinstance(space, spaces.MultiBinary):
        return (row_N[:, None] + axis_X) % 2
    return torch.sin(row_N[:, None] + 2 * axis_X).mul(0.9).to(state_NE)


def _several_actions(space: spaces.Space[Any], state_NE: Tensor) -> Tensor:
    """Return action vectors ``(N, K, G, A)``, from another row for every action and discount."""
    vector_NA = action_vector(_actions(space, state_NE), space).to(state_NE)
    per_discount = [
        torch.stack([vector_NA.roll(k + 2 * g, 0) for g in range(len(DISCOUNTS))], 1)
        for k in range(SEVERAL)
    ]
    return torch.stack(per_discount, 1)


def _predict(critic: Any, state_NE: Tensor, space: spaces.Space[Any]) -> tuple[Tensor, Tensor]:
    action = _actions(space, state_NE)
    if critic.enumerates:
        prediction = critic.select(critic.predict_all(state_NE), action)
    else:
        vector_NA = action_vector(action, space).to(state_NE)
        prediction = critic.predict(state_NE, vector_NA[:, None].expand(-1, len(DISCOUNTS), -1))
    return prediction, critic.value(prediction)
