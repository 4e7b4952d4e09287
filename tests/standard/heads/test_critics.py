"""Critics: the laws, and the networks against loops over rows, members, discounts and actions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch.nn.functional import leaky_relu

from amago_registry import Component, CriticContext, UnsupportedSpaceError
from amago_registry.actions import action_width
from amago_registry.testing import CRITIC_LAWS, Law, with_options
from amago_standard.heads import EnsembleCritic
from amago_standard.heads.options import EnsembleCriticOptions
from amago_standard.hooks import amago_register_critics

DISCOUNTS = (0.5, 0.9, 0.99)
CRITICS = {component.name: component for component in amago_register_critics()}
VARIANTS = {
    **CRITICS,
    "ensemble of one action": with_options(CRITICS["ensemble"], enumerate_actions=False),
    "two-hot of all actions": with_options(CRITICS["two-hot"], enumerate_actions=True),
    "two-hot in symlog": with_options(CRITICS["two-hot"], expectation="symlog"),
    "hl-gauss in symlog": with_options(CRITICS["hl-gauss"], expectation="symlog"),
    "hl-gauss without hidden layers": with_options(CRITICS["hl-gauss"], hidden_dims=[]),
}
SPACES = [
    spaces.Discrete(4),
    spaces.Box(-1, 1, (2,)),
    spaces.MultiBinary(3),
    spaces.MultiDiscrete([3, 2]),
]


@pytest.mark.parametrize("law", CRITIC_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", VARIANTS.values(), ids=VARIANTS)
def test_critic_obeys(component: Component, law: Law) -> None:
    law(component)


def critic(space: spaces.Space[Any], **options: Any) -> EnsembleCritic:
    torch.manual_seed(0)
    context = CriticContext(in_dim=5, action_space=space, discounts=DISCOUNTS)
    chosen = EnsembleCriticOptions(**{"members": 2, "hidden_dims": (8, 7), **options})
    return EnsembleCritic(context, chosen).double()


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


def test_select_picks_all_outputs_of_an_action() -> None:
    prediction = torch.arange(12.0).view(2, 1, 1, 3, 2)
    chosen = critic(spaces.Discrete(4)).select(prediction, torch.tensor([2, 0]))
    assert chosen.tolist() == [[[[4.0, 5.0]]], [[[6.0, 7.0]]]]


@pytest.mark.parametrize("hidden_dims", [(8, 7), (8,), ()])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_values_are_a_perceptron_on_state_action_and_horizon(
    space: spaces.Space[Any], hidden_dims: tuple[int, ...]
) -> None:
    module = critic(space, hidden_dims=hidden_dims, enumerate_actions=False)
    state = torch.randn(4, 5).double()
    action = 2 * torch.rand(4, 2, 3, action_width(space)).double() - 1
    action[0, 0, 0] = 1.0
    together = module.predict(state, action)
    assert together.shape == (4, 2, 2, 3)
    for n in range(4):
        for c in range(2):
            for k in range(2):
                for g, discount in enumerate(DISCOUNTS):
                    horizon = torch.tensor([math.log1p(1 / (1 - discount))], dtype=torch.float64)
                    edge = 0.999 if isinstance(space, spaces.Box) else 1.0
                    given = torch.cat([action[n, k, g].clamp(-edge, edge), horizon])
                    net = module.net
                    y = state[n] @ net.state.weight[c] + net.state.bias[c, 0]
                    y = y + given @ net.action.weight[c]
                    for layer in net.rest.layers if net.rest is not None else ():
                        y = leaky_relu(y) @ layer.weight[c] + layer.bias[c, 0]
                    assert together[n, c, k, g].item() == pytest.approx(y.item(), abs=1e-6)


@pytest.mark.parametrize("shape", [(4, 1, 2), (4, 6, 1, 2)], ids=["one action", "several"])
def test_one_action_for_all_discounts_is_valued_as_if_it_were_repeated(shape: tuple[int, ...]) -> None:
    module, state = critic(spaces.Box(-1, 1, (2,))), torch.randn(4, 5).double()
    action = 2 * torch.rand(shape).double() - 1
    expanded = action.expand(*shape[:-2], 3, 2)
    values, gradients = [], []
    for given in (expanded.contiguous(), expanded, action):
        module.zero_grad()
        values.append(module.predict(state, given))
        values[-1].square().sum().backward()
        gradients.append([weight.grad.clone() for weight in module.parameters()])
    for value, gradient in zip(values[1:], gradients[1:], strict=True):
        torch.testing.assert_close(value, values[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-9, atol=1e-12)


def test_the_two_halves_of_the_first_layer_start_as_one_layer() -> None:
    net = critic(spaces.Box(-1, 1, (2,)), hidden_dims=(400,)).net
    bound = 1 / math.sqrt(5 + 2 + 1)
    assert net.action.bias is None
    for weight in (net.state.weight, net.action.weight):
        assert 0.95 * bound < weight.abs().max().item() <= bound


@pytest.mark.parametrize("enumerate_actions", [True, False])
@pytest.mark.parametrize("member", [0, 1])
def test_a_member_has_weights_of_its_own(member: int, enumerate_actions: bool) -> None:
    module = critic(spaces.Discrete(4), enumerate_actions=enumerate_actions)
    state = torch.randn(6, 5).double()
    prediction = (
        module.predict_all(state)
        if enumerate_actions
        else module.predict(state, torch.eye(4)[:3].double().expand(6, 3, 4))
    )
    prediction[:, member].sum().backward()
    for weight in module.parameters():
        assert weight.grad[member].any()
        assert not weight.grad[1 - member].any()


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


def test_the_scalar_critic_reports_mean_and_spread_of_every_discount() -> None:
    module = critic(spaces.Discrete(4), popart_rate=1.0)
    module.observe(torch.tensor([[1.0, 20.0, 300.0], [3.0, 20.0, 500.0]]).double())
    reported = {name: round(metric.item(), 6) for name, metric in module.metrics().items()}
    assert reported == {
        "popart_mean/0.5": 2.0,
        "popart_mean/0.9": 20.0,
        "popart_mean/0.99": 400.0,
        "popart_std/0.5": 1.0,
        "popart_std/0.9": 0.01,
        "popart_std/0.99": 100.0,
    }


@pytest.mark.parametrize("component", CRITICS.values(), ids=CRITICS)
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_critics_leave_half_precision_before_values(
    space: spaces.Space[Any], component: Component
) -> None:
    context = CriticContext(in_dim=5, action_space=space, discounts=DISCOUNTS)
    module, state = component.load()(context, component.options()), torch.randn(3, 5)
    target = torch.ones(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = (
            module.select(module.predict_all(state), torch.tensor([0, 1, 2]))
            if module.enumerates
            else module.predict(state, torch.zeros(3, 3, action_width(space)))
        )
        module.observe(target)
        results = [prediction, module.value(prediction), module.loss(prediction, target)]
    assert [result.dtype for result in results] == [torch.float32] * 3


@pytest.mark.parametrize("component", CRITICS.values(), ids=CRITICS)
@pytest.mark.parametrize("space", [spaces.Discrete(3, start=1), spaces.Box(-1, 1, (2, 2))], ids=str)
def test_a_space_that_is_not_canonical_is_refused(
    space: spaces.Space[Any], component: Component
) -> None:
    context = CriticContext(in_dim=5, action_space=space, discounts=DISCOUNTS)
    with pytest.raises(UnsupportedSpaceError) as caught:
        component.load()(context, component.options())
    assert str(caught.value) == (
        f"parts do not take the action space {space}; they take Discrete and MultiDiscrete that count "
        "from 0, MultiBinary and Box, all but Discrete with one axis."
    )


@pytest.mark.parametrize(
    "space", [spaces.Discrete(2), spaces.MultiDiscrete([2]), spaces.MultiBinary(1)]
)
def test_a_straight_through_choice_keeps_its_gradient(space: spaces.Space[Any]) -> None:
    """A clip at 0.999 would leave only the gradients of what was not chosen."""
    module = critic(space, enumerate_actions=False)
    action = torch.ones(1, 3, action_width(space)).double().requires_grad_()
    module.predict(torch.randn(1, 5).double(), action).sum().backward()
    assert action.grad is not None
    assert bool((action.grad != 0).all())


def test_a_continuous_action_at_the_border_is_not_pulled_beyond_it() -> None:
    module = critic(spaces.Box(-1.0, 1.0, (2,)))
    action = torch.ones(1, 3, 2).double().requires_grad_()
    module.predict(torch.randn(1, 5).double(), action).sum().backward()
    assert action.grad is not None
    assert not action.grad.any()
