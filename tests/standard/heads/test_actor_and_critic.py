"""Heads: the laws, and the networks against loops over rows, members, discounts and actions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch.nn.functional import leaky_relu

from amago_registry import ActorContext, Component, CriticContext, UnsupportedSpaceError
from amago_registry.testing import ACTOR_LAWS, CRITIC_LAWS, Law
from amago_standard.heads import EnsembleCritic, MLPActor
from amago_standard.heads.options import EnsembleCriticOptions, MLPActorOptions
from amago_standard.hooks import amago_register_actors, amago_register_critics

DISCOUNTS = (0.5, 0.9, 0.99)
ACTORS = {component.name: component for component in amago_register_actors()}
CRITICS = {component.name: component for component in amago_register_critics()}


@pytest.mark.parametrize("law", ACTOR_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", ACTORS.values(), ids=ACTORS)
def test_actor_obeys(component: Component, law: Law) -> None:
    law(component)


@pytest.mark.parametrize("law", CRITIC_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", CRITICS.values(), ids=CRITICS)
def test_critic_obeys(component: Component, law: Law) -> None:
    law(component)


def actor(space: spaces.Space[Any], **options: Any) -> MLPActor:
    torch.manual_seed(0)
    context = ActorContext(in_dim=5, action_space=space, discounts=DISCOUNTS)
    return MLPActor(context, MLPActorOptions(hidden_dims=(8,), **options))


def critic(space: spaces.Space[Any], hidden_dims: tuple[int, ...] = (8, 7)) -> EnsembleCritic:
    torch.manual_seed(0)
    context = CriticContext(in_dim=5, action_space=space, discounts=DISCOUNTS)
    return EnsembleCritic(context, EnsembleCriticOptions(members=2, hidden_dims=hidden_dims)).double()


def test_each_discount_has_its_own_outputs_in_order() -> None:
    module, state = actor(spaces.Discrete(4)), torch.randn(6, 5)
    probs = module(state).probs
    for g in range(3):
        logits = module.net(state)[:, 4 * g : 4 * g + 4]
        expected = logits.softmax(-1).clamp(0.001, 0.99)
        torch.testing.assert_close(probs[:, g], expected / expected.sum(-1, keepdim=True))


@pytest.mark.parametrize(("actions", "floor"), [(4, 0.001), (100, 0.0005), (1000, 0.00005)])
def test_the_floor_shrinks_with_many_actions(actions: int, floor: float) -> None:
    assert actor(spaces.Discrete(actions)).floor == pytest.approx(floor)


def test_the_log_deviation_stays_between_minus_five_and_two() -> None:
    module = actor(spaces.Box(-1, 1, (2,)))
    policy = module(1e6 * torch.randn(50, 5))
    assert policy.log_std.min().item() == -5.0
    assert policy.log_std.max().item() == 2.0
    torch.nn.init.zeros_(module.net[-1].weight)
    torch.nn.init.zeros_(module.net[-1].bias)
    assert module(torch.randn(1, 5)).log_std.unique().item() == -1.5


def test_discrete_values_are_those_of_each_member_alone() -> None:
    module, state = critic(spaces.Discrete(4)), torch.randn(6, 5).double()
    every = module.predict_all(state)
    assert every.shape == (6, 2, 3, 4)
    for member in range(2):
        y = state
        for index, layer in enumerate(module.net.layers):
            y = (leaky_relu(y) if index else y) @ layer.weight[member] + layer.bias[member, 0]
        torch.testing.assert_close(every[:, member], y.view(6, 3, 4), rtol=1e-12, atol=1e-12)


def test_select_picks_one_action_per_timestep() -> None:
    prediction = torch.arange(24.0).view(2, 1, 3, 4)
    chosen = critic(spaces.Discrete(4)).select(prediction, torch.tensor([1, 3]))
    assert chosen.tolist() == [[[1.0, 5.0, 9.0]], [[15.0, 19.0, 23.0]]]


@pytest.mark.parametrize("hidden_dims", [(8, 7), (8,), ()])
def test_continuous_values_are_a_perceptron_on_state_action_and_horizon(
    hidden_dims: tuple[int, ...],
) -> None:
    module = critic(spaces.Box(-1, 1, (2,)), hidden_dims)
    state, action = torch.randn(4, 5).double(), 2 * torch.rand(4, 3, 2).double() - 1
    action[0, 0] = torch.tensor([1.0, -1.0])
    together = module.predict(state, action)
    assert together.shape == (4, 2, 3)
    for n in range(4):
        for c in range(2):
            for g, discount in enumerate(DISCOUNTS):
                horizon = torch.tensor([math.log1p(1 / (1 - discount))], dtype=torch.float64)
                given = torch.cat([action[n, g].clamp(-0.999, 0.999), horizon])
                net = module.net
                y = state[n] @ net.state.weight[c] + net.state.bias[c, 0]
                y = y + given @ net.action.weight[c]
                for layer in net.rest.layers if net.rest is not None else ():
                    y = leaky_relu(y) @ layer.weight[c] + layer.bias[c, 0]
                assert together[n, c, g].item() == pytest.approx(y.item(), abs=1e-6)


def test_the_two_halves_of_the_first_layer_start_as_one_layer() -> None:
    net = critic(spaces.Box(-1, 1, (2,)), (400,)).net
    bound = 1 / math.sqrt(5 + 2 + 1)
    assert net.action.bias is None
    for weight in (net.state.weight, net.action.weight):
        assert 0.95 * bound < weight.abs().max().item() <= bound


def test_the_loss_is_the_squared_error_in_the_units_of_the_targets_spread() -> None:
    module = critic(spaces.Discrete(4))
    target = torch.tensor([[1.0, 20.0, 300.0], [3.0, -20.0, 500.0]]).double()
    module.observe(target)
    raw = torch.randn(2, 2, 3).double()
    loss, spread = module.loss(raw, target), module.popart.std_G
    for n in range(2):
        for c in range(2):
            for g in range(3):
                error = (10 * raw[n, c, g] - target[n, g]) / spread[g]
                assert loss[n, c, g].item() == pytest.approx(error.item() ** 2)


@pytest.mark.parametrize("part", [MLPActor, EnsembleCritic])
def test_an_action_space_that_no_head_takes_is_refused(part: Any) -> None:
    context = (ActorContext if part is MLPActor else CriticContext)(
        in_dim=5, action_space=spaces.MultiBinary(3), discounts=DISCOUNTS
    )
    options = MLPActorOptions() if part is MLPActor else EnsembleCriticOptions()
    with pytest.raises(UnsupportedSpaceError) as caught:
        part(context, options)
    assert str(caught.value) == (
        "no actor or critic of amago-standard takes the action space MultiBinary(3); "
        "they take Discrete and a Box with one axis."
    )


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.Box(-1, 1, (2,))], ids=str)
def test_heads_leave_half_precision_before_probabilities_and_values(space: spaces.Space[Any]) -> None:
    state, policy_of, value_of = torch.randn(3, 5), actor(space), critic(space).float()
    with torch.autocast("cpu", torch.bfloat16):
        policy = policy_of(state)
        prediction = (
            value_of.predict_all(state)
            if value_of.enumerates
            else value_of.predict(state, torch.zeros(3, 3, 2))
        )
    assert prediction.dtype == torch.float32
    assert policy.log_prob(policy.sample()).dtype == torch.float32
