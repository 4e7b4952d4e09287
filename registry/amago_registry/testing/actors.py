"""Laws of actors (policy heads), run in every action space that the actor supports.

Shape suffixes: N = timesteps, E = state features, G = discounts, A = features of an action vector,
J = all actions of a space, X = axes of the action space, R = draws.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
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
from amago_registry.testing.heads import (
    ACTION_SPACES,
    DISCOUNTS,
    DOUBLE,
    ROWS,
    gradients,
    heads,
    states,
    with_moved_weights,
)

MANY = spaces.Discrete(300)
"""A space with more actions than a uint8 has values."""

DRAWS = 50

COPIES = 100
"""Copies of every timestep in a batch of counted samples."""

BATCHES = 20
"""Batches of counted samples."""

P_VALUE = 1e-9
"""Probability that a correct sampler fails the test of its frequencies."""

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
    """Samples and modes are legal stored actions; ``log_prob`` is finite, also at a box's corners."""
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
        sentence = f"probs have the shape {tuple(probs.shape)}; expected (N, G, A), all at least 0."
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
    """MultiDiscrete and MultiBinary: likelihoods sum to 1 (``log_prob`` may be a mean over bits)."""
    for space, actor in _actors(component, device, dtype):
        if not isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            continue
        total_NG = _likelihoods(_policy(actor, space, component), space, component).sum(-1)
        sentence = f"in {space}, the likelihoods of all actions do not sum to 1."
        require_close(total_NG, torch.ones_like(total_NG), component, sentence)


def the_mode_is_the_likeliest_action(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """In a discrete space, no action has a higher ``log_prob`` than the mode."""
    for space, actor in _finite(component, device, dtype):
        policy = _policy(actor, space, component)
        likelihood_NGJ = _likelihoods(policy, space, component)
        mode = policy.mode()
        _require_stored(mode, space, component)
        mode_NG = likelihood_NGJ.gather(-1, _index(mode, space)[..., None]).squeeze(-1)
        sentence = f"in {space}, the mode is not the most likely action."
        require_close(mode_NG, likelihood_NGJ.amax(-1), component, sentence)


def entropy_is_that_of_the_probabilities(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """``entropy`` is None, or finite ``(N, G)``; in a discrete space it is ``-sum(p log p)``, in nats.

    With a mask too, where 0 log 0 is 0.
    """
    for space, actor in _actors(component, device, dtype):
        _require_entropy(_policy(actor, space, component), space, component, f"in {space}")
    for space, actor in _maskable(component, device, dtype):
        masked = _policy(actor, space, component, _mask(space, device))
        _require_entropy(masked, space, component, f"in {space} with a mask")


def masked_actions_are_never_taken(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """Masked actions are never sampled nor the mode; probability 0, finite log-probability."""
    for space, actor in _maskable(component, device, dtype):
        mask_NA = _mask(space, device)
        policy = _policy(actor, space, component, mask_NA)
        with seeded(0):
            drawn = [policy.mode(), *(policy.sample() for _ in range(DRAWS))]
        for action in drawn:
            taken_NGA = action_vector(action, space).bool()
            allowed = not bool((taken_NGA & ~mask_NA[:, None]).any())
            require(allowed, component, f"in {space}, sample or mode returns masked actions.")
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
    """A mask that is all False, or all True, gives the same policy as no mask."""
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
    """``rsample``, if it exists, returns action vectors with finite gradients."""
    for space, actor in _reparameterised(component, device, dtype):
        with seeded(0):
            action_NGA = _policy(actor.train(), space, component).rsample()
        _require_vector(action_NGA, space, component)
        found = gradients(_weighted_sum(action_NGA), actor)
        some = any(bool(gradient.any()) for gradient in found)
        require(some, component, f"in {space}, no gradient flows through rsample.")
        finite = all(bool(gradient.isfinite().all()) for gradient in found)
        require(finite, component, f"in {space}, the gradient through rsample is not finite.")


def straight_through_gradients_are_those_of_the_probabilities(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """In a discrete space, ``rsample`` has the gradient of the probability of each feature."""
    for space, actor in _reparameterised(component, device, dtype):
        if isinstance(space, spaces.Box):
            continue
        policy = _policy(actor.train(), space, component)
        probability_NGJ = _probabilities(policy, space, component)
        probability_NGA = probability_NGJ @ _vectors(space, device).to(probability_NGJ.dtype)
        with seeded(0):
            actual = gradients(_weighted_sum(policy.rsample()), actor)
        expected = gradients(_weighted_sum(probability_NGA), actor)
        sentence = f"in {space}, the gradient through rsample is not that of the probabilities."
        for ours, theirs in zip(actual, expected, strict=True):
            require_close(ours, theirs, component, sentence)


def actions_are_drawn_as_often_as_they_are_likely(
    component: Component, *, device: str = "cpu", dtype: torch.dtype = DOUBLE
) -> None:
    """In a discrete space, ``sample`` and ``rsample`` draw actions with their probabilities."""
    for space, actor in _finite(component, device, dtype):
        probability_NGJ = _probabilities(_policy(actor, space, component), space, component)
        policy = _policy(actor, space, component, copies=COPIES)
        for name, draw in _samplers(policy, space).items():
            with seeded(0):
                index_RNG = torch.cat([_indices(draw(), space, component) for _ in range(BATCHES)])
            sentence = f"in {space}, {name} does not draw actions with their probabilities"
            _require_frequencies(index_RNG, probability_NGJ.detach(), component, sentence)


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
    the_mode_is_the_likeliest_action,
    entropy_is_that_of_the_probabilities,
    masked_actions_are_never_taken,
    a_mask_that_allows_nothing_allows_everything,
    reparameterised_samples_carry_gradients,
    straight_through_gradients_are_those_of_the_probabilities,
    actions_are_drawn_as_often_as_they_are_likely,
    an_actor_learns_in_every_parameter,
)
"""The laws that every actor must pass, in each action space that it supports."""


def _actors(component: Component, device: str, dtype: torch.dtype) -> Actors:
    """Return the actor for every action space that it supports, with noise added to its weights."""
    tried = (*ACTION_SPACES, MANY)
    return with_moved_weights(
        heads(component, ActorContext, Actor, device=device, dtype=dtype, action_spaces=tried)
    )


def _finite(component: Component, device: str, dtype: torch.dtype) -> Actors:
    actors = _actors(component, device, dtype)
    return [(space, actor) for space, actor in actors if not isinstance(space, spaces.Box)]


def _maskable(component: Component, device: str, dtype: torch.dtype) -> Actors:
    actors = _actors(component, device, dtype)
    return [(space, actor) for space, actor in actors if _takes_mask(actor, space)]


def _takes_mask(actor: Any, space: spaces.Space[Any]) -> bool:
    """Return whether the actor accepts a mask; if not, it raises an error where there are masks."""
    if not choices(space):
        return False
    call = actor.forward if isinstance(actor, nn.Module) else actor
    try:
        inspect.signature(call).bind("state", "mask")
    except TypeError:
        return False
    return True


def _reparameterised(component: Component, device: str, dtype: torch.dtype) -> Actors:
    return [
        (space, actor)
        for space, actor in _actors(component, device, dtype)
        if isinstance(_policy(actor, space, component), ReparameterizedDistribution)
    ]


def _policy(
    actor: Any,
    space: spaces.Space[Any],
    component: Component,
    mask_NA: Tensor | None = None,
    copies: int = 1,
) -> Any:
    """Return the policy of every timestep, or of a number of copies of all timesteps."""
    like = next(actor.parameters())
    state_NE = states(like.device, like.dtype).repeat(copies, 1)
    policy = actor(state_NE) if mask_NA is None else actor(state_NE, mask_NA)
    discrete = isinstance(space, spaces.Discrete)
    require_protocol(policy, DiscreteDistribution if discrete else Distribution, component)
    return policy


def _mask(space: spaces.Space[Any], device: str) -> Tensor:
    """Return a mask ``(N, A)`` without every third action, different ones in every row."""
    row_N1 = torch.arange(ROWS, device=device)[:, None]
    return (torch.arange(action_width(space), device=device) + row_N1) % 3 != 0


def _every_action(space: spaces.Space[Any]) -> Tensor:
    """Return all actions of a discrete space in stored form, ``(J,)`` or ``(J, X)``."""
    values = choices(space) or (2,) * action_width(space)
    action_JX = torch.tensor(list(product(*map(range, values))))
    return action_JX[:, 0] if isinstance(space, spaces.Discrete) else action_JX


def _vectors(space: spaces.Space[Any], device: str) -> Tensor:
    """Return all actions of a discrete space as vectors ``(J, A)``."""
    return action_vector(_every_action(space), space).to(device)


def _likelihoods(policy: Any, space: spaces.Space[Any], component: Component) -> Tensor:
    """Return likelihoods ``(N, G, J)`` of all actions of a discrete space."""
    like, log_probs = policy.mode(), []
    for action in _every_action(space).to(like.device):
        log_probs.append(policy.log_prob(action.expand_as(like)))
        _require_finite(log_probs[-1], space, component)
    log_prob_NGJ = torch.stack(log_probs, -1)
    sums = log_prob_NGJ.exp().sum(-1)
    if isinstance(space, spaces.MultiBinary) and not torch.allclose(sums, torch.ones_like(sums)):
        log_prob_NGJ = action_width(space) * log_prob_NGJ  # It was a mean over bits.
    return log_prob_NGJ.exp()


def _probabilities(policy: Any, space: spaces.Space[Any], component: Component) -> Tensor:
    """Return ``probs`` if the policy has them, else :func:`_likelihoods`."""
    if isinstance(policy, DiscreteDistribution):
        return policy.probs
    return _likelihoods(policy, space, component)


def _index(action: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Return the indices of stored actions in :func:`_every_action`."""
    if isinstance(space, spaces.Discrete):
        return action.long()
    index = torch.zeros_like(action[..., 0], dtype=torch.long)
    for axis, n in enumerate(choices(space) or (2,) * action.shape[-1]):
        index = index * n + action[..., axis].long()
    return index


def _samplers(policy: Any, space: spaces.Space[Any]) -> dict[str, Callable[[], Tensor]]:
    """Return the methods that draw actions of a discrete space, in stored form."""
    draws: dict[str, Callable[[], Tensor]] = {"sample": policy.sample}
    if isinstance(policy, ReparameterizedDistribution):
        draws["rsample"] = lambda: _stored(policy.rsample(), space)
    return draws


def _indices(action: Tensor, space: spaces.Space[Any], component: Component) -> Tensor:
    """Return the indices of drawn actions, ``(COPIES, N, G)``."""
    _require_stored(action, space, component, ROWS * COPIES)
    return _index(action, space).view(COPIES, ROWS, -1)


def _stored(vector: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Return action vectors of a discrete space in stored form."""
    if isinstance(space, spaces.MultiBinary):
        return (vector > 0.5).long()
    factors = [factor.argmax(-1) for factor in torch.split(vector, list(choices(space)), -1)]
    return factors[0] if isinstance(space, spaces.Discrete) else torch.stack(factors, -1)


def _require_frequencies(
    index_RNG: Tensor, probability_NGJ: Tensor, component: Component, sentence: str
) -> None:
    """Require that counts of draws agree with the probabilities (a test with Bernstein's inequality).

    Counts are tested per timestep, and summed over timesteps: if there are many actions, each is drawn
    too seldom at one timestep. A sum of R independent draws deviates from its expectation by more than
    t with a probability of at most ``2 exp(-t^2 / (2 (variance + t / 3)))``.
    """
    index_NGR = index_RNG.movedim(0, -1)
    ones_NGR = torch.ones_like(index_NGR, dtype=probability_NGJ.dtype)
    count_NGJ = torch.zeros_like(probability_NGJ).scatter_add_(-1, index_NGR, ones_NGR)
    expected_NGJ = len(index_RNG) * probability_NGJ
    alone = count_NGJ, expected_NGJ, expected_NGJ * (1 - probability_NGJ)
    rare = math.log(2 / P_VALUE)
    for count, expected, variance in (alone, tuple(each.sum(0) for each in alone)):
        allowed = rare / 3 + (rare**2 / 9 + 2 * rare * variance).sqrt()
        worst = ((count - expected).abs() - allowed).argmax()
        times, mean = count.flatten()[worst].item(), expected.flatten()[worst].item()
        within = abs(times - mean) <= allowed.flatten()[worst].item()
        counted = f"{times:.0f} times instead of about {mean:.0f}"
        require(within, component, f"{sentence}; one was drawn {counted}.")


def _weighted_sum(action_NGA: Tensor) -> Tensor:
    """Return a randomly weighted sum of all features: a plain sum of one-hots is constant."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(action_NGA.shape, generator=generator, dtype=DOUBLE)
    return (weight.to(action_NGA) * action_NGA).sum()


def _require_entropy(policy: Any, space: spaces.Space[Any], component: Component, where: str) -> None:
    entropy_NG = policy.entropy()
    if entropy_NG is None:
        return
    legal = entropy_NG.shape == (ROWS, len(DISCOUNTS)) and bool(entropy_NG.isfinite().all())
    require(legal, component, f"{where}, entropy is neither None nor finite of shape (N, G).")
    if isinstance(space, spaces.Box):
        return
    expected_NG = torch.special.entr(_probabilities(policy, space, component)).sum(-1)
    sentence = f"{where}, entropy is not -sum(p log p) of the probabilities."
    require_close(entropy_NG, expected_NG, component, sentence)


def _require_finite(log_prob: Tensor, space: spaces.Space[Any], component: Component) -> None:
    finite = log_prob.shape == (ROWS, len(DISCOUNTS)) and bool(log_prob.isfinite().all())
    sentence = f"in {space}, log_prob of a legal action is not finite of shape (N, G)."
    require(finite, component, sentence)


def _require_stored(
    action: Tensor, space: spaces.Space[Any], component: Component, rows: int = ROWS
) -> None:
    """Require legal actions in stored form: indices, bits, or numbers in [-1, 1]."""
    shape = (rows, len(DISCOUNTS), *(space.shape or ()))
    low, high = 0 * action, torch.ones_like(action)
    if isinstance(space, spaces.Box):
        low = -high
    elif choices(space):
        last = torch.tensor(choices(space), device=action.device) - 1
        high = last[0] if isinstance(space, spaces.Discrete) else last
    legal = action.shape == shape and bool(((action >= low) & (action <= high)).all())
    whole = isinstance(space, spaces.Box) or torch.equal(action, action.long().to(action.dtype))
    sentence = f"in {space}, it draws actions outside the space or of the wrong shape."
    require(legal and whole, component, sentence)


def _require_vector(action_NGA: Tensor, space: spaces.Space[Any], component: Component) -> None:
    """Require action vectors: concatenated one-hots, bits, or numbers in [-1, 1]."""
    legal = action_NGA.shape == (ROWS, len(DISCOUNTS), action_width(space))
    if legal and isinstance(space, spaces.Box):
        legal = bool((action_NGA.abs() <= 1).all())
    elif legal:
        every_JA = _vectors(space, str(action_NGA.device)).to(action_NGA.dtype)
        gap_NGJ = (action_NGA[..., None, :] - every_JA).abs().amax(-1)
        legal = bool((gap_NGJ.amin(-1) <= TOLERANCE[action_NGA.dtype]).all())
    require(legal, component, f"in {space}, rsample returns values that are not action vectors.")
