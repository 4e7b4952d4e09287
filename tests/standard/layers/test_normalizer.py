"""Running normalisation, against moments kept one by one."""

from __future__ import annotations

import pytest
import torch

from amago_standard.layers.normalizer import RunningNormalizer

RATE = 0.1


def rows(batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch)
    scale = torch.tensor([1.0, 50.0], dtype=torch.float64)
    return scale * (torch.randn(5, 2, generator=generator, dtype=torch.float64) + batch)


def test_statistics_are_moving_averages_of_the_first_two_moments() -> None:
    normalizer = RunningNormalizer(2, rate=RATE).double()
    first_moment, second_moment = torch.zeros(2).double(), torch.zeros(2).double()
    for batch in range(6):
        step = RATE / (1 - (1 - RATE) ** (batch + 1))
        first_moment = (1 - step) * first_moment + step * rows(batch).mean(0)
        second_moment = (1 - step) * second_moment + step * rows(batch).square().mean(0)
        normalizer(rows(batch))
        normalizer.moments.commit()
        variance = second_moment - first_moment.square()
        torch.testing.assert_close(normalizer.moments.mean_D, first_moment, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(normalizer.moments.variance_D, variance, rtol=1e-9, atol=1e-9)


def test_the_first_batch_counts_fully() -> None:
    normalizer = RunningNormalizer(1)
    y = normalizer(torch.tensor([[2.0], [4.0]]))
    assert y.flatten().tolist() == [-1.0, 1.0]
    normalizer.moments.commit()
    assert (normalizer.moments.mean_D.item(), normalizer.moments.variance_D.item()) == (3.0, 1.0)


def test_a_great_offset_does_not_swallow_the_spread() -> None:
    normalizer = RunningNormalizer(1, rate=RATE)
    for _ in range(50):
        normalizer(torch.tensor([[1e6 - 1], [1e6 + 1]]))
        normalizer.moments.commit()
    assert normalizer.moments.variance_D.item() == pytest.approx(1.0, rel=0.01)


def test_features_that_hardly_vary_are_centred_and_not_scaled() -> None:
    normalizer = RunningNormalizer(2)
    y = normalizer(torch.tensor([[1.0, 7.0], [1.01, 7.0]]))
    assert y[:, 0].tolist() == pytest.approx([-0.005, 0.005], abs=1e-6)
    assert y[:, 1].tolist() == [0.0, 0.0]


def test_results_are_clamped() -> None:
    normalizer = RunningNormalizer(1, clip=5.0).eval()
    assert normalizer(torch.tensor([[100.0], [-100.0], [2.0]])).flatten().tolist() == [5.0, -5.0, 2.0]


def test_only_a_commit_changes_what_is_saved() -> None:
    normalizer = RunningNormalizer(2).double()
    normalizer(rows(0))
    normalizer.moments.commit()
    saved = {name: tensor.clone() for name, tensor in normalizer.state_dict().items()}
    normalizer(rows(1))
    normalizer(rows(2))
    assert all(torch.equal(saved[name], tensor) for name, tensor in normalizer.state_dict().items())
    normalizer.moments.commit()
    assert not torch.equal(saved["moments.mean_D"], normalizer.moments.mean_D)


def test_two_passes_before_a_commit_count_as_one_of_all_their_rows() -> None:
    twice, once = RunningNormalizer(2).double(), RunningNormalizer(2).double()
    twice(rows(1))
    twice(rows(2)[:3])
    once(torch.cat([rows(1), rows(2)[:3]]))
    for each in (twice, once):
        each.moments.commit()
    for name, tensor in twice.state_dict().items():
        torch.testing.assert_close(once.state_dict()[name], tensor, rtol=1e-9, atol=1e-9)


def test_what_is_forgotten_is_never_adopted() -> None:
    normalizer = RunningNormalizer(2).double()
    saved = {name: tensor.clone() for name, tensor in normalizer.state_dict().items()}
    normalizer(rows(1))
    normalizer.moments.forget()
    normalizer.moments.commit()
    assert all(torch.equal(saved[name], tensor) for name, tensor in normalizer.state_dict().items())


def test_evaluating_uses_what_was_adopted_and_proposes_nothing() -> None:
    normalizer = RunningNormalizer(1)
    normalizer(torch.tensor([[2.0], [4.0]]))
    normalizer.moments.commit()
    normalizer.eval()
    assert normalizer(torch.tensor([[7.0]])).item() == 4.0
    normalizer.moments.commit()
    assert int(normalizer.moments.steps) == 1


def test_gradients_pass_through_the_scaling_and_not_through_the_statistics() -> None:
    normalizer, x = RunningNormalizer(1), torch.tensor([[2.0], [6.0]], requires_grad=True)
    normalizer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.5, 0.5]
