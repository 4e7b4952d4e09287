"""Laws of actors, each on every kind of action space that the actor takes.

Shape suffixes: N = timesteps, E = state features, G = discounts, A = features of an action vector,
J = all actions of a space, X = axes of the action space.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry.actions import action_vector, action_width, choices
from amago_registry.component import Component
from amago_registry.contexts import ActorContext
from amago_registry.protocols import (
    Actor,
    DiscreteDistribution,
    Distribution,
    ReparameterizedDistribution,
)
from amago_registry.testing.building import (
    TOLERANCE,
    Law,
    require,
    require_close,
    require_finite_gradients,
    require_protocol,
    seeded,
)
from amago_registry.testing.heads import ACTION_SPACES, DISCOUNTS, DOUBLE, ROWS, heads, states

MANY = spaces.Discrete(300)
"""More actions than a byte counts."""

DRAWS = 50

Actors = list[tuple[spaces.Space[Any], Any]]


def an_actor_offers_what_objectives_call(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """It is an ``Actor``; its policies are ``Distribution``s, with ``probs`` over discrete actions."""
    for space, actor in _actors(component, device, dtype):
        _policy(actor, space, component)


def samples_are_legal_and_likely(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Samples and modes are stored actions; they and a box's corners have finite log-probabilities."""
    for space, actor in _actors(component, device, dtype):
        policy = _policy(actor, space, component)
        with seeded(0):
            drawn = [policy.sample(), policy.mode()]
        for action in drawn:
            _require_stored(action, space, component)
        if isinstance(space, spaces.Box):
            drawn += [torch.ones_like(drawn[0]), -torch.ones_like(drawn[0])]
        for action in drawn:
            _require_finite(policy.log_prob(action), space, component)


def probabilities_agree_with_log_prob(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Discrete: ``probs`` ``(N, G, A)`` sum to 1, and ``log_prob`` is the logarithm of each."""
    for space, actor in _actors(component, device, dtype):
        if not isinstance(space, spaces.Discrete):
            continue
        policy = _policy(actor, space, component)
        probs, shape = policy.probs, (ROWS, len(DISCOUNTS), int(space.n))
        legal = probs.shape == shape and bool((probs >= 0).all())
        sentence = f"probs have the shape {tuple(probs.shape)} and must be (N, G, A) >= 0."
        require(legal, component, sentence)
        total_NG = probs.sum(-1)
        sentence = "probabilities do not sum to 1."
        require_close(total_NG, torch.ones_like(total_NG), component, sentence)
        likelihood_NGJ = _likelihoods(policy, space, component)
        for action in range(int(space.n)):
            sentence = f"log_prob of action {action} is not the logarithm of its probability."
            require_close(likelihood_NGJ[..., action], probs[..., action], component, sentence)


def likelihoods_of_all_actions_add_up_to_one(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """MultiDiscrete and MultiBinary: so they do, where bits may be averaged instead of summed."""
    for space, actor in _actors(component, device, dtype):
        if not isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            continue
        total_NG = _likelihoods(_policy(actor, space, component), space, component).sum(-1)
        sentence = f"in {space}, the likelihoods of all actions do not sum to 1."
        require_close(total_NG, torch.ones_like(total_NG), component, sentence)


def masked_actions_are_never_taken(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """They are neither drawn nor the mode, have probability 0, and a finite log-probability."""
    for space, actor in _maskable(component, device, dtype):
        mask_NA = _mask(space, device)
        policy = _policy(actor, space, component, mask_NA)
        with seeded(0):
            drawn = [policy.mode(), *(policy.sample() for _ in range(DRAWS))]
        for action in drawn:
            taken_NGA = action_vector(action, space).bool()
            allowed = not bool((taken_NGA & ~mask_NA[:, None]).any())
            require(allowed, component, f"in {space}, it takes actions that are masked.")
        if isinstance(policy, DiscreteDistribution):
            mass = policy.probs.masked_fill(mask_NA[:, None], 0.0)
            require(not bool(mass.any()), component, "masked actions have a probability above 0.")
        possible_NJ = (_vectors(space, device).bool() <= mask_NA[:, None]).all(-1)
        total_NG = (_likelihoods(policy, space, component) * possible_NJ[:, None]).sum(-1)
        sentence = f"in {space}, the likelihoods of the allowed actions do not sum to 1."
        require_close(total_NG, torch.ones_like(total_NG), component, sentence)


def a_mask_that_allows_nothing_allows_everything(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """A timestep whose mask is all False, or all True, has the policy it has without a mask."""
    for space, actor in _maskable(component, device, dtype):
        without = _likelihoods(_policy(actor, space, component), space, component)
        mask_NA = _mask(space, device)
        mask_NA[0], mask_NA[1] = False, True
        masked = _likelihoods(_policy(actor, space, component, mask_NA), space, component)
        for row, allows in enumerate(("nothing", "everything")):
            sentence = f"in {space}, a mask that allows {allows} changes the policy."
            require_close(masked[row], without[row], component, sentence)


def reparameterised_samples_carry_gradients(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """What ``rsample`` draws, where it exists, is an action vector and passes finite gradients on."""
    for space, actor in _reparameterised(component, device, dtype):
        with seeded(0):
            action_NGA = _policy(actor.train(), space, component).rsample()
        _require_vector(action_NGA, space, component)
        gradients = _gradients(_weighed(action_NGA), actor)
        some = any(bool(gradient.any()) for gradient in gradients)
        require(some, component, f"in {space}, no gradient comes through rsample.")
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        require(finite, component, f"in {space}, the gradient through rsample is not finite.")


def straight_through_gradients_are_those_of_the_probabilities(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Where actions are discrete, ``rsample`` has the gradient of the probability of each feature."""
    for space, actor in _reparameterised(component, device, dtype):
        if isinstance(space, spaces.Box):
            continue
        policy = _policy(actor.train(), space, component)
        likelihood_NGJ = _likelihoods(policy, space, component)
        if isinstance(policy, DiscreteDistribution):
            likelihood_NGJ = policy.probs
        probability_NGA = likelihood_NGJ @ _vectors(space, device).to(likelihood_NGJ.dtype)
        with seeded(0):
            actual = _gradients(_weighed(policy.rsample()), actor)
        expected = _gradients(_weighed(probability_NGA), actor)
        sentence = f"in {space}, the gradient through rsample is not that of the probabilities."
        for ours, theirs in zip(actual, expected, strict=True):
            require_close(ours, theirs, component, sentence)


def an_actor_learns_in_every_parameter(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """The log-probability of a fixed action gives every parameter a finite gradient."""
    for space, actor in _actors(component, device, dtype):
        policy = _policy(actor.train(), space, component)
        with seeded(0):
            action = policy.sample()
        policy.log_prob(action).sum().backward()
        require_finite_gradients(actor, component)


ACTOR_LAWS: tuple[Law, ...] = (
    an_actor_offers_what_objectives_call,
    samples_are_legal_and_likely,
    probabilities_agree_with_log_prob,
    likelihoods_of_all_actions_add_up_to_one,
    masked_actions_are_never_taken,
    a_mask_that_allows_nothing_allows_everything,
    reparameterised_samples_carry_gradients,
    straight_through_gradients_are_those_of_the_probabilities,
    an_actor_learns_in_every_parameter,
)
"""What every actor obeys, in each action space that it does not refuse as unsupported."""


def _actors(component: Component, device: str, dtype: torch.dtype) -> Actors:
    tried = (*ACTION_SPACES, MANY)
    return heads(component, ActorContext, Actor, device=device, dtype=dtype, action_spaces=tried)


def _maskable(component: Component, device: str, dtype: torch.dtype) -> Actors:
    return [(space, actor) for space, actor in _actors(component, device, dtype) if choices(space)]


def _reparameterised(component: Component, device: str, dtype: torch.dtype) -> Actors:
    return [
        (space, actor)
        for space, actor in _actors(component, device, dtype)
        if isinstance(_policy(actor, space, component), ReparameterizedDistribution)
    ]


def _policy(
    actor: Any, space: spaces.Space[Any], component: Component, mask_NA: Tensor | None = None
) -> Any:
    like = next(actor.parameters())
    state_NE = states(like.device, like.dtype)
    policy = actor(state_NE) if mask_NA is None else actor(state_NE, mask_NA)
    discrete = isinstance(space, spaces.Discrete)
    require_protocol(policy, DiscreteDistribution if discrete else Distribution, component)
    return policy


def _mask(space: spaces.Space[Any], device: str) -> Tensor:
    """A mask ``(N, A)`` that forbids every third action, other ones in every row."""
    row_N1 = torch.arange(ROWS, device=device)[:, None]
    return (torch.arange(action_width(space), device=device) + row_N1) % 3 != 0


def _every_action(space: spaces.Space[Any]) -> Tensor:
    """All actions of a finite space in stored form, ``(J,)`` or ``(J, X)``."""
    values = choices(space) or (2,) * action_width(space)
    action_JX = torch.tensor(list(product(*map(range, values))))
    return action_JX[:, 0] if isinstance(space, spaces.Discrete) else action_JX


def _vectors(space: spaces.Space[Any], device: str) -> Tensor:
    """All actions of a finite space as vectors ``(J, A)``."""
    return action_vector(_every_action(space), space).to(device)


def _likelihoods(policy: Any, space: spaces.Space[Any], component: Component) -> Tensor:
    """Likelihoods ``(N, G, J)`` of all actions of a finite space."""
    like, log_probs = policy.mode(), []
    for action in _every_action(space).to(like.device):
        log_probs.append(policy.log_prob(action.expand_as(like)))
        _require_finite(log_probs[-1], space, component)
    log_prob_NGJ = torch.stack(log_probs, -1)
    sums = log_prob_NGJ.exp().sum(-1)
    if isinstance(space, spaces.MultiBinary) and not torch.allclose(sums, torch.ones_like(sums)):
        log_prob_NGJ = action_width(space) * log_prob_NGJ  # Of a mean over bits.
    return log_prob_NGJ.exp()


def _weighed(action_NGA: Tensor) -> Tensor:
    """A number to which every feature counts differently: the features of one-hots sum to 1."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(action_NGA.shape, generator=generator, dtype=DOUBLE)
    return (weight.to(action_NGA) * action_NGA).sum()


def _gradients(value: Tensor, actor: nn.Module) -> list[Tensor]:
    """Gradients of ``value``, zeros where none arrives."""
    weights = [weight for weight in actor.parameters() if weight.requires_grad]
    if not value.requires_grad:
        return [torch.zeros_like(weight) for weight in weights]
    found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


def _require_finite(log_prob: Tensor, space: spaces.Space[Any], component: Component) -> None:
    finite = log_prob.shape == (ROWS, len(DISCOUNTS)) and bool(log_prob.isfinite().all())
    require(finite, component, f"in {space}, log_prob of an action of the space is not finite (N, G).")


def _require_stored(action: Tensor, space: spaces.Space[Any], component: Component) -> None:
    """Require an action as it is stored: indices, bits, or numbers in [-1, 1]."""
    shape = (ROWS, len(DISCOUNTS), *(space.shape or ()))
    low, high = 0 * action, torch.ones_like(action)
    if isinstance(space, spaces.Box):
        low = -high
    elif choices(space):
        last = torch.tensor(choices(space), device=action.device) - 1
        high = last[0] if isinstance(space, spaces.Discrete) else last
    legal = action.shape == shape and bool(((action >= low) & (action <= high)).all())
    whole = isinstance(space, spaces.Box) or torch.equal(action, action.long().to(action.dtype))
    sentence = f"in {space}, it draws actions outside the space or of another shape."
    require(legal and whole, component, sentence)


def _require_vector(action_NGA: Tensor, space: spaces.Space[Any], component: Component) -> None:
    """Require action vectors: one-hots end to end, bits, or numbers in [-1, 1]."""
    legal = action_NGA.shape == (ROWS, len(DISCOUNTS), action_width(space))
    if legal and isinstance(space, spaces.Box):
        legal = bool((action_NGA.abs() <= 1).all())
    elif legal:
        every_JA = _vectors(space, str(action_NGA.device)).to(action_NGA.dtype)
        gap_NGJ = (action_NGA[..., None, :] - every_JA).abs().amax(-1)
        legal = bool((gap_NGJ.amin(-1) <= TOLERANCE[action_NGA.dtype]).all())
    require(legal, component, f"in {space}, rsample draws what is no action vector of the space.")
