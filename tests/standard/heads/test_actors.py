"""Actors: laws, distribution families, and their networks."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.nn.functional import leaky_relu, softplus

from amago_registry import ActorContext, Component, UnsupportedSpaceError
from amago_registry.testing import ACTOR_LAWS, Law, with_options
from amago_standard.heads import MLPActor, ResidualMLPActor
from amago_standard.heads.distributions import (
    Bernoulli,
    ClippedCategorical,
    FactoredCategorical,
    GaussianMixture,
    ShiftedBeta,
    TanhGaussian,
)
from amago_standard.heads.options import MLPActorOptions, ResidualMLPActorOptions
from amago_standard.hooks import amago_register_actors

DISCOUNTS = (0.5, 0.9, 0.99)
ACTORS = {component.name: component for component in amago_register_actors()}
FAMILIES = ["tanh-gaussian", "beta", "gaussian-mixture"]
BOX = spaces.Box(-1, 1, (2,))
SPACES = [
    spaces.Discrete(4),
    BOX,
    spaces.MultiBinary(3),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiDiscrete([3, 3]),
]


@pytest.mark.parametrize("law", ACTOR_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", ACTORS.values(), ids=ACTORS)
def test_actor_obeys(component: Component, family: str, law: Law) -> None:
    law(with_options(component, distribution=family))


def context(space: spaces.Space[Any]) -> ActorContext:
    return ActorContext(in_dim=5, action_space=space, discounts=DISCOUNTS)


def actor(space: spaces.Space[Any], **options: Any) -> MLPActor:
    torch.manual_seed(0)
    return MLPActor(context(space), MLPActorOptions(hidden_dims=(8,), **options))


@pytest.mark.parametrize(
    ("space", "family", "distribution"),
    [
        (spaces.Discrete(4), "beta", ClippedCategorical),
        (spaces.MultiDiscrete([3, 2]), "beta", FactoredCategorical),
        (spaces.MultiBinary(3), "beta", Bernoulli),
        (BOX, "tanh-gaussian", TanhGaussian),
        (BOX, "beta", ShiftedBeta),
        (BOX, "gaussian-mixture", GaussianMixture),
    ],
    ids=str,
)
def test_the_option_chooses_for_boxes_and_the_space_chooses_otherwise(
    space: spaces.Space[Any], family: str, distribution: type
) -> None:
    assert type(actor(space, distribution=family)(torch.randn(2, 5))) is distribution


def test_each_discount_has_its_own_outputs_in_order() -> None:
    module, state = actor(spaces.Discrete(4)), torch.randn(6, 5)
    probs = module(state).probs
    for g in range(3):
        logits = module.net(state)[:, 4 * g : 4 * g + 4]
        expected = logits.softmax(-1).clamp(0.001, 0.99)
        torch.testing.assert_close(probs[:, g], expected / expected.sum(-1, keepdim=True))


def test_probability_limits_are_those_of_the_options() -> None:
    module = actor(spaces.Discrete(4), min_probability=0.01, max_probability=0.9)
    probs = module(1e6 * torch.randn(50, 5)).probs
    assert probs.max().item() == pytest.approx(0.9 / 0.93)
    assert probs.min().item() == pytest.approx(0.01 / 0.93)


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 2])], ids=str)
def test_a_mask_counts_under_every_discount_of_its_own_timestep(space: spaces.Space[Any]) -> None:
    mask = torch.tensor([[True, False, False, True], [False, True, True, False]])
    policy = actor(space)(torch.randn(2, 5), mask)
    action = policy.mode()
    wanted = [[0, 3], [1, 2]] if isinstance(space, spaces.Discrete) else [[[0, 1]], [[1, 0]]]
    for n in range(2):
        for g in range(3):
            assert action[n, g].tolist() in wanted[n]


def test_the_log_deviation_stays_between_minus_five_and_two() -> None:
    module = actor(BOX)
    policy = module(1e6 * torch.randn(50, 5))
    assert policy.log_std.min().item() == -5.0
    assert policy.log_std.max().item() == 2.0
    torch.nn.init.zeros_(module.net[-1].weight)
    torch.nn.init.zeros_(module.net[-1].bias)
    assert module(torch.randn(1, 5)).log_std.unique().item() == -1.5


def test_both_parameters_of_a_beta_are_above_one() -> None:
    module, state = actor(BOX, distribution="beta"), torch.randn(6, 5)
    policy, raw = module(state), module.net(state)
    for g in range(3):
        own = raw[:, 4 * g : 4 * g + 4]
        torch.testing.assert_close(policy.alpha[:, g], 1 + softplus(own[:, :2]))
        torch.testing.assert_close(policy.beta[:, g], 1 + softplus(own[:, 2:]))


def test_a_mixture_has_as_many_components_as_the_options_say() -> None:
    module = actor(BOX, distribution="gaussian-mixture", mixture_components=4)
    # For each of 3 discounts: 4 weights, and a mean and a deviation of each in 2 dimensions.
    assert module.net[-1].out_features == 3 * (4 + 2 * 4 * 2)
    with torch.no_grad():
        module.net[-1].weight.zero_()
        module.net[-1].bias.copy_(torch.tensor([0.0, 9, 0, 0, *range(16)] * 3) / 10)
    mode = module(torch.randn(1, 5)).mode()
    # The second component's mean: each has its mean first, then its deviation.
    torch.testing.assert_close(mode, torch.tensor([0.4, 0.5]).tanh().expand(1, 3, 2))


def test_a_residual_actor_adds_each_block_to_its_stream() -> None:
    torch.manual_seed(0)
    options = ResidualMLPActorOptions(width=8, blocks=2)
    module, state = ResidualMLPActor(context(spaces.Discrete(4)), options), torch.randn(6, 5)
    first, *blocks, norm, last = module.net
    assert len(blocks) == 2
    x = first(state)
    for block in blocks:
        before, up, _, down = block.inner
        x = x + down(leaky_relu(up(before(x))))
    logits = last(norm(x)).view(6, 3, 4)
    expected = ClippedCategorical(logits, 0.001, 0.99).probs
    torch.testing.assert_close(module(state).probs, expected)


def test_a_residual_actor_without_blocks_is_linear_but_for_its_norm() -> None:
    module = ResidualMLPActor(context(BOX), ResidualMLPActorOptions(width=8, blocks=0))
    assert [type(layer) for layer in module.net] == [nn.Linear, nn.LayerNorm, nn.Linear]


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("part", [MLPActor, ResidualMLPActor])
def test_a_copy_for_targets_gives_the_same_policy(part: Any, space: spaces.Space[Any]) -> None:
    options = MLPActorOptions() if part is MLPActor else ResidualMLPActorOptions()
    module, state = part(context(space), options), torch.randn(4, 5)
    copy = deepcopy(module)
    action = module(state).sample()
    torch.testing.assert_close(copy(state).log_prob(action), module(state).log_prob(action))


@pytest.mark.parametrize("part", [MLPActor, ResidualMLPActor])
def test_an_action_space_that_is_not_canonical_is_refused_with_those_that_are(part: Any) -> None:
    options = MLPActorOptions() if part is MLPActor else ResidualMLPActorOptions()
    with pytest.raises(UnsupportedSpaceError) as caught:
        part(context(spaces.Text(3)), options)
    assert str(caught.value) == (
        f"parts do not take the action space {spaces.Text(3)}; they take Discrete and MultiDiscrete "
        "that count from 0, MultiBinary and Box, all but Discrete with one axis."
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actors_leave_half_precision_before_probabilities(
    space: spaces.Space[Any], family: str
) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        policy = actor(space, distribution=family)(torch.randn(3, 5))
    assert policy.log_prob(policy.sample()).dtype == torch.float32
