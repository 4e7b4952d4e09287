"""Action distributions, against their formulas, torch's own and numerical integration."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import (
    Beta,
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.nn.functional import one_hot

from amago_standard.heads.distributions import (
    Bernoulli,
    ClippedCategorical,
    FactoredCategorical,
    GaussianMixture,
    ShiftedBeta,
    TanhGaussian,
)
from amago_standard.heads.distributions.drawing import draw

few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 1000)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_mask(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4


def clipped_row(logits: list[float], allowed: list[bool], floor: float, ceiling: float) -> list[float]:
    """The formula, for one row."""
    if not any(allowed):
        allowed = [True] * len(allowed)
    weights = [math.exp(x) if ok else 0.0 for x, ok in zip(logits, allowed, strict=True)]
    floor = min(floor, 0.05 / sum(allowed))
    shares = [w / sum(weights) for w in weights]
    clipped = [
        min(max(p, floor), ceiling) if ok else 0.0 for p, ok in zip(shares, allowed, strict=True)
    ]
    return [p / sum(clipped) for p in clipped]


def test_probabilities_are_clipped_and_then_renormalised() -> None:
    logits = torch.tensor([[[math.log(0.999), math.log(0.0005), math.log(0.0005)]]])
    probs = ClippedCategorical(logits, 0.01, 0.95).probs
    assert probs.flatten().tolist() == pytest.approx([0.95 / 0.97, 0.01 / 0.97, 0.01 / 0.97])


@few
@given(seed=seeds, actions=st.sampled_from([1, 2, 5, 300]), masked=st.booleans())
def test_probabilities_are_those_of_the_formula_row_by_row(
    seed: int, actions: int, masked: bool
) -> None:
    logits = 4 * normal(seed, 3, 2, actions)
    mask = random_mask(seed, 3, actions) if masked else None
    probs = ClippedCategorical(logits, 0.01, 0.9, None if mask is None else mask[:, None]).probs
    for n in range(3):
        allowed = [True] * actions if mask is None else mask[n].tolist()
        for g in range(2):
            expected = clipped_row(logits[n, g].tolist(), allowed, 0.01, 0.9)
            assert probs[n, g].tolist() == pytest.approx(expected, rel=1e-9, abs=0)


@few
@given(seed=seeds, actions=st.sampled_from([2, 3, 1000]), masked=st.booleans())
def test_probabilities_always_sum_to_one_and_never_fall_below_their_floor(
    seed: int, actions: int, masked: bool
) -> None:
    logits = 30 * normal(seed, 4, 2, actions).float()
    mask = random_mask(seed, 4, 1, actions) if masked else torch.ones(4, 1, actions, dtype=torch.bool)
    mask |= ~mask.any(-1, keepdim=True)
    probs = ClippedCategorical(logits, 0.001, 0.99, mask if masked else None).probs
    torch.testing.assert_close(probs.sum(-1), torch.ones(4, 2))
    # At most 5 % are added by the floors, so that is the most renormalising takes away.
    floor = (0.05 / mask.sum(-1, keepdim=True)).clamp_max(0.001) / 1.05
    assert ((probs > floor * (1 - 1e-6)) == mask).all()
    assert ((probs == 0) == ~mask).all()


def test_the_best_of_a_thousand_actions_keeps_nearly_all_of_its_probability() -> None:
    logits = torch.zeros(1, 1, 1000)
    logits[..., 7] = 100.0
    policy = ClippedCategorical(logits, 0.001, 0.99)
    assert policy.mode().item() == 7
    assert policy.probs[0, 0, 7].item() == pytest.approx(0.99 / (0.99 + 999 * 5e-5))
    assert policy.probs[0, 0, 8].item() == pytest.approx(5e-5 / (0.99 + 999 * 5e-5))


def test_the_only_allowed_action_is_certain() -> None:
    mask = torch.tensor([False, True, False])
    policy = ClippedCategorical(torch.tensor([[[5.0, -5.0, 5.0]]]), 0.001, 0.99, mask)
    assert policy.probs.flatten().tolist() == [0.0, 1.0, 0.0]
    assert policy.entropy().item() == 0.0
    assert policy.log_prob(torch.tensor([[1]])).item() == 0.0
    assert policy.log_prob(torch.tensor([[0]])).item() == pytest.approx(math.log(1e-30))


def test_a_categorical_agrees_with_torch_on_log_probabilities_and_entropy() -> None:
    torch.manual_seed(0)
    policy = ClippedCategorical(torch.randn(5, 3, 4), 0.01, 0.99)
    exact = Categorical(probs=policy.probs)
    action = torch.randint(4, (5, 3))
    torch.testing.assert_close(policy.log_prob(action), exact.log_prob(action))
    torch.testing.assert_close(policy.entropy(), exact.entropy())


def test_a_categorical_is_sampled_in_proportion_to_its_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]).log().expand(20_000, 2, 3)
    action = ClippedCategorical(logits, 0.0, 1.0).sample()
    assert action.shape == (20_000, 2)
    for g, wanted in enumerate([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]):
        shares = torch.bincount(action[:, g]) / 20_000
        assert shares.tolist() == pytest.approx(wanted, abs=0.015)


@few
@given(seed=seeds, actions=st.sampled_from([2, 7, 1000]))
def test_what_has_probability_zero_is_never_drawn(seed: int, actions: int) -> None:
    torch.manual_seed(seed)
    probs = normal(seed, 500, actions).float().softmax(-1) * random_mask(seed, 500, actions)
    probs[:, 0] += 1e-20 * (probs.sum(-1) == 0)
    assert (probs.gather(-1, draw(probs)[:, None]) > 0).all()


@few
@given(seed=seeds, actions=st.sampled_from([2, 7, 1000]))
def test_the_ends_of_the_unit_interval_draw_the_first_and_last_possible_action(
    seed: int, actions: int
) -> None:
    probs = normal(seed, 100, actions).float().softmax(-1) * random_mask(seed, 100, actions)
    probs[:, 0] += probs.sum(-1) == 0
    possible = probs > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand_like", torch.zeros_like)
        assert torch.equal(draw(probs), possible.byte().argmax(-1))
        patch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 1 - 2.0**-24))
        drawn = draw(probs)
    assert possible.gather(-1, drawn[:, None]).all()


def test_a_gap_that_a_sum_opens_at_an_impossible_action_is_never_hit() -> None:
    probs = torch.tensor([0.5, 0.0, 0.5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cumsum", lambda _, dim: torch.tensor([0.5, 0.6, 1.0]))
        patch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.55))
        assert draw(probs).item() == 2


def test_an_undefined_policy_still_draws_an_action_of_the_space() -> None:
    assert draw(torch.full((4, 3), torch.nan)).tolist() == [0, 0, 0, 0]


def test_straight_through_samples_are_one_hots_with_the_probabilities_gradient() -> None:
    torch.manual_seed(0)
    logits = normal(0, 6, 2, 4).requires_grad_()
    weight = normal(1, 6, 2, 4)
    policy = ClippedCategorical(logits, 0.001, 0.99)
    drawn = policy.rsample()
    assert drawn.unique().tolist() == [0.0, 1.0]
    assert (drawn.sum(-1) == 1).all()
    (ours,) = torch.autograd.grad((weight * drawn).sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad((weight * policy.probs).sum(), logits)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("choices", [(3, 2), (3, 3), (1, 4, 2), (5,)])
@pytest.mark.parametrize("masked", [False, True])
def test_factors_are_categoricals_one_by_one(choices: tuple[int, ...], masked: bool) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(4, 2, sum(choices), dtype=torch.float64)
    mask = torch.rand(4, 1, sum(choices)) < 0.5 if masked else None
    policy = FactoredCategorical(logits, choices, 0.01, 0.9, mask)
    parts = logits.split(choices, -1)
    masks = [None] * len(choices) if mask is None else mask.split(choices, -1)
    alone = [ClippedCategorical(x, 0.01, 0.9, m) for x, m in zip(parts, masks, strict=True)]
    modes = torch.stack([factor.mode() for factor in alone], -1)
    assert torch.equal(policy.mode(), modes)
    torch.testing.assert_close(policy.entropy(), sum(factor.entropy() for factor in alone))
    for action in product(*map(range, choices)):
        stored = torch.tensor(action).expand(4, 2, -1)
        one_by_one = [f.log_prob(stored[..., axis]) for axis, f in enumerate(alone)]
        torch.testing.assert_close(policy.log_prob(stored), sum(one_by_one))


def test_factors_are_sampled_independently_in_proportion_to_their_probabilities() -> None:
    torch.manual_seed(0)
    wanted = [[0.6, 0.3, 0.1], [0.2, 0.8]]
    logits = torch.tensor([*wanted[0], *wanted[1]]).log().expand(20_000, 1, 5)
    action = FactoredCategorical(logits, (3, 2), 0.0, 1.0).sample()
    assert action.shape == (20_000, 1, 2)
    shares = torch.bincount(2 * action[:, 0, 0] + action[:, 0, 1]) / 20_000
    joint = [p * q for p, q in product(*wanted)]
    assert shares.tolist() == pytest.approx(joint, abs=0.015)


@pytest.mark.parametrize("choices", [(3, 2), (2, 2)])
def test_straight_through_factors_are_one_hots_end_to_end(choices: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    width = sum(choices)
    logits, weight = normal(0, 6, 2, width).requires_grad_(), normal(1, 6, 2, width)
    drawn = FactoredCategorical(logits, choices, 0.001, 0.99).rsample()
    probs = [ClippedCategorical(x, 0.001, 0.99).probs for x in logits.split(choices, -1)]
    for factor, n in zip(drawn.split(choices, -1), choices, strict=True):
        assert torch.equal(factor.detach(), one_hot(factor.argmax(-1), n).double())
    (ours,) = torch.autograd.grad((weight * drawn).sum(), logits)
    (expected,) = torch.autograd.grad((weight * torch.cat(probs, -1)).sum(), logits)
    torch.testing.assert_close(ours, expected)


def test_factored_choices_offer_no_joint_probabilities() -> None:
    assert not hasattr(FactoredCategorical(torch.zeros(1, 1, 5), (3, 2), 0.0, 1.0), "probs")


def test_bits_agree_with_torch_and_average_their_log_probabilities() -> None:
    logits = normal(0, 5, 2, 3)
    policy, exact = Bernoulli(logits), torch.distributions.Bernoulli(logits=logits)
    for bits in product((0, 1), repeat=3):
        action = torch.tensor(bits, dtype=torch.int8).expand(5, 2, 3)
        expected = exact.log_prob(action.double()).mean(-1)
        torch.testing.assert_close(policy.log_prob(action), expected)
    torch.testing.assert_close(policy.entropy(), exact.entropy().sum(-1))
    assert torch.equal(policy.mode(), (logits > 0).to(torch.int8))


def test_bits_are_sampled_in_proportion_to_their_probabilities() -> None:
    torch.manual_seed(0)
    wanted = torch.tensor([0.1, 0.5, 0.8])
    bits = Bernoulli(torch.logit(wanted).expand(20_000, 1, 3)).sample()
    assert bits.dtype == torch.int8
    assert bits.float().mean((0, 1)).tolist() == pytest.approx(wanted.tolist(), abs=0.015)


def test_straight_through_bits_are_whole_with_the_gradient_of_their_probabilities() -> None:
    torch.manual_seed(0)
    logits, weight = normal(0, 6, 2, 3).requires_grad_(), normal(1, 6, 2, 3)
    drawn = Bernoulli(logits).rsample()
    assert drawn.unique().tolist() == [0.0, 1.0]
    (ours,) = torch.autograd.grad((weight * drawn).sum(), logits)
    (expected,) = torch.autograd.grad((weight * logits.sigmoid()).sum(), logits)
    torch.testing.assert_close(ours, expected)


def torch_gaussian(mean: torch.Tensor, log_std: torch.Tensor) -> Independent:
    squashed = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform()])
    return Independent(squashed, 1)


@few
@given(seed=seeds)
def test_a_squashed_gaussian_agrees_with_torch_on_clipped_actions(seed: int) -> None:
    mean, log_std = normal(seed, 2, 4, 2, 3)
    action = 0.8 * normal(seed + 1, 4, 2, 3)
    exact = torch_gaussian(mean, log_std).log_prob(action.clamp(-0.99, 0.99))
    ours = TanhGaussian(mean, log_std).log_prob(action)
    torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-9)


@few
@given(seed=seeds)
def test_a_shifted_beta_agrees_with_torch_on_clipped_actions(seed: int) -> None:
    alpha, beta = 1 + normal(seed, 2, 4, 2, 3).exp()
    action = 0.8 * normal(seed + 1, 4, 2, 3)
    exact, policy = Beta(alpha, beta), ShiftedBeta(alpha, beta)
    expected = exact.log_prob((action.clamp(-0.99, 0.99) + 1) / 2) - math.log(2)
    torch.testing.assert_close(policy.log_prob(action), expected.sum(-1), rtol=1e-9, atol=1e-9)
    entropy = (exact.entropy() + math.log(2)).sum(-1)
    torch.testing.assert_close(policy.entropy(), entropy, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(policy.mode(), 2 * exact.mode - 1, rtol=1e-9, atol=1e-9)


@few
@given(seed=seeds)
def test_a_mixture_agrees_with_torch_on_clipped_actions(seed: int) -> None:
    logits, action = normal(seed, 4, 2, 5), 0.8 * normal(seed + 1, 4, 2, 3)
    mean, log_std = normal(seed + 2, 2, 4, 2, 5, 3)
    clipped = action.clamp(-0.99, 0.99)
    parts = Independent(Normal(mean, log_std.exp()), 1)
    mixture = MixtureSameFamily(Categorical(logits=logits), parts)
    slope = torch.log1p(-clipped.square()).sum(-1)
    expected = mixture.log_prob(torch.atanh(clipped)) - slope
    ours = GaussianMixture(logits, mean, log_std).log_prob(action)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def continuous(shape: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    """One of each continuous family, narrow enough to lie within +-0.99."""
    mean, log_std = 0.5 * normal(seed, *shape), torch.full(shape, -1.5, dtype=torch.float64)
    several = (*shape[:-1], 4, shape[-1])
    return {
        "tanh-gaussian": TanhGaussian(mean, log_std),
        "beta": ShiftedBeta(20 + mean, 15 - mean),
        "gaussian-mixture": GaussianMixture(
            normal(seed, *shape[:-1], 4),
            0.5 * normal(seed + 1, *several),
            torch.full(several, -1.5, dtype=torch.float64),
        ),
    }


FAMILIES = sorted(continuous((1, 1, 1)))


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_integrate_to_one(family: str) -> None:
    policy = continuous((1, 1, 2), seed=3)[family]
    edges = torch.linspace(-0.99, 0.99, 401, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    area = (edges[1] - edges[0]).square()
    grid = torch.cartesian_prod(middles, middles)[:, None]
    total = policy.log_prob(grid).exp().sum() * area
    assert total.item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_as_frequent_as_their_density_says(family: str) -> None:
    torch.manual_seed(0)
    one = continuous((1, 1, 1), seed=3)[family]
    many = torch.stack([one.sample() for _ in range(8000)]).flatten()
    edges = torch.linspace(-0.99, 0.99, 1001, dtype=torch.float64)
    middles = ((edges[1:] + edges[:-1]) / 2).view(-1, 1, 1)
    mass = one.log_prob(middles).exp().flatten() * (edges[1] - edges[0])
    below = mass.cumsum(0)
    for place in range(99, 1000, 100):
        share = (many < edges[place + 1]).double().mean()
        assert share.item() == pytest.approx(below[place].item(), abs=0.02)


def test_a_squashed_gaussian_has_the_moments_it_was_given() -> None:
    torch.manual_seed(0)
    mean, log_std = torch.full((50_000, 1, 1), 0.3), torch.full((50_000, 1, 1), -1.0)
    policy = TanhGaussian(mean, log_std)
    before = torch.atanh(policy.sample())
    assert before.mean().item() == pytest.approx(0.3, abs=0.01)
    assert before.std().item() == pytest.approx(math.exp(-1), abs=0.01)
    assert policy.mode()[0].item() == pytest.approx(math.tanh(0.3))
    assert policy.entropy() is None


def test_a_mixture_takes_the_mean_of_its_likeliest_component_for_its_mode() -> None:
    logits = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    mean = torch.tensor([[[[0.5, 0.1], [-0.5, 0.2]]]]).expand(2, 1, 2, 2)
    policy = GaussianMixture(logits, mean, torch.zeros(2, 1, 2, 2))
    assert policy.mode().flatten(0, 1).tolist() == [
        pytest.approx([math.tanh(-0.5), math.tanh(0.2)]),
        pytest.approx([math.tanh(0.5), math.tanh(0.1)]),
    ]
    assert policy.entropy() is None
    assert not hasattr(policy, "rsample")


def test_a_mixture_draws_each_component_as_often_as_its_weight_says() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.7, 0.3]).log().expand(20_000, 1, 2)
    mean = torch.tensor([[[[0.5], [-0.5]]]]).expand(20_000, 1, 2, 1)
    action = GaussianMixture(logits, mean, torch.full((20_000, 1, 2, 1), -4.0)).sample()
    assert (action > 0).float().mean().item() == pytest.approx(0.7, abs=0.015)


def test_a_beta_without_a_hill_has_its_mode_in_the_middle() -> None:
    one = torch.ones(1, 1, 1)
    assert ShiftedBeta(one, one).mode().item() == 0.0
    assert ShiftedBeta(one, 2 * one).mode().item() == pytest.approx(-1)


def test_reparameterised_samples_carry_gradients_and_plain_samples_do_not() -> None:
    torch.manual_seed(0)
    mean, log_std = torch.zeros(5, 2, 3, requires_grad=True), torch.zeros(5, 2, 3, requires_grad=True)
    policy = TanhGaussian(mean, log_std)
    assert not policy.sample().requires_grad
    policy.rsample().sum().backward()
    assert mean.grad is not None
    assert log_std.grad is not None
    assert mean.grad.gt(0).all()
    assert log_std.grad.ne(0).all()


def test_the_gradient_through_a_beta_is_that_of_its_mean() -> None:
    """The mean of the samples is 2 a / (a + b) - 1, so its slope in a is 2 b / (a + b)^2."""
    torch.manual_seed(0)
    alpha, beta = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    many = (20_000, 1, 1)
    ShiftedBeta(alpha.expand(many), beta.expand(many)).rsample().mean().backward()
    assert alpha.grad.item() == pytest.approx(2 * 2 / 25, rel=0.05)
    assert beta.grad.item() == pytest.approx(-2 * 3 / 25, rel=0.05)
