"""Action distributions, against their formulas and torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, Normal, TanhTransform, TransformedDistribution

from amago_standard.heads.distributions import ClippedCategorical, TanhGaussian

few = settings(max_examples=20, deadline=None)


def test_probabilities_are_clipped_and_then_renormalised() -> None:
    logits = torch.tensor([[[math.log(0.999), math.log(0.0005), math.log(0.0005)]]])
    probs = ClippedCategorical(logits, 0.01, 0.95).probs
    assert probs.flatten().tolist() == pytest.approx([0.95 / 0.97, 0.01 / 0.97, 0.01 / 0.97])


@few
@given(seed=st.integers(0, 1000), actions=st.sampled_from([2, 3, 1000]))
def test_probabilities_always_sum_to_one_and_never_fall_below_their_floor(
    seed: int, actions: int
) -> None:
    logits = 30 * torch.randn(4, 2, actions, generator=torch.Generator().manual_seed(seed))
    floor = min(0.001, 0.05 / actions)
    probs = ClippedCategorical(logits, floor, 0.99).probs
    torch.testing.assert_close(probs.sum(-1), torch.ones(4, 2))
    # At most 5 % are added by the floors, so that is the most renormalising takes away.
    assert probs.min() >= floor / 1.05


def test_the_best_of_a_thousand_actions_keeps_nearly_all_of_its_probability() -> None:
    logits = torch.zeros(1, 1, 1000)
    logits[..., 7] = 100.0
    policy = ClippedCategorical(logits, 5e-5, 0.99)
    assert policy.mode().item() == 7
    assert policy.probs[0, 0, 7].item() == pytest.approx(0.99 / (0.99 + 999 * 5e-5))
    assert policy.probs[0, 0, 8].item() == pytest.approx(5e-5 / (0.99 + 999 * 5e-5))


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


def test_an_action_that_died_out_still_has_a_finite_log_probability() -> None:
    logits = torch.tensor([[[0.0, -1000.0]]], requires_grad=True)
    policy = ClippedCategorical(logits, 0.0, 1.0)
    log_prob = policy.log_prob(torch.tensor([[1]]))
    (0 * log_prob).sum().backward()
    assert log_prob.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def torch_gaussian(mean: torch.Tensor, log_std: torch.Tensor) -> Independent:
    squashed = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform()])
    return Independent(squashed, 1)


@few
@given(seed=st.integers(0, 1000))
def test_a_squashed_gaussian_agrees_with_torch_on_clipped_actions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean, log_std = torch.randn(2, 4, 2, 3, generator=generator, dtype=torch.float64)
    action = 2.4 * torch.rand(4, 2, 3, generator=generator, dtype=torch.float64) - 1.2
    exact = torch_gaussian(mean, log_std).log_prob(action.clamp(-0.99, 0.99))
    ours = TanhGaussian(mean, log_std).log_prob(action)
    torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("action", [-1.0, 1.0])
def test_the_edge_of_the_action_space_has_a_finite_log_probability(action: float) -> None:
    mean = torch.zeros(1, 1, 1, requires_grad=True)
    log_prob = TanhGaussian(mean, torch.zeros(1, 1, 1)).log_prob(torch.full((1, 1, 1), action))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()


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


def test_a_squashed_gaussian_has_the_moments_it_was_given() -> None:
    torch.manual_seed(0)
    mean, log_std = torch.full((50_000, 1, 1), 0.3), torch.full((50_000, 1, 1), -1.0)
    policy = TanhGaussian(mean, log_std)
    before = torch.atanh(policy.sample())
    assert before.mean().item() == pytest.approx(0.3, abs=0.01)
    assert before.std().item() == pytest.approx(math.exp(-1), abs=0.01)
    assert policy.mode()[0].item() == pytest.approx(math.tanh(0.3))
    assert policy.entropy() is None
