"""PopArt's statistics, against the formulas of the method and an explicit affine pair."""

from __future__ import annotations

import math

import pytest
import torch

from amago_standard.layers.popart import PopArt

RATE = 5e-4


def popart(discounts: int = 2) -> PopArt:
    return PopArt(discounts, rate=RATE, initial_scale=10.0).double()


def targets(update: int) -> torch.Tensor:
    """Twelve targets under two discounts whose scales differ and drift."""
    generator = torch.Generator().manual_seed(update)
    scale = torch.tensor([1.0, 300.0], dtype=torch.float64)
    return scale * (torch.randn(12, 2, generator=generator, dtype=torch.float64) + 0.2 * update)


def slow_statistics(updates: int) -> list[tuple[float, float]]:
    """Return mean and second moment per discount, one target at a time."""
    result = []
    for g in range(2):
        mean, second_moment = 0.0, 100.0
        for update in range(updates):
            t = update + 2
            beta = RATE / (1 - (1 - RATE) ** t)
            column = [float(y) for y in targets(update)[:, g]]
            mean += beta * (sum(column) / 12 - mean)
            second_moment += beta * (sum(y * y for y in column) / 12 - second_moment)
        result.append((mean, second_moment))
    return result


@pytest.mark.parametrize("updates", [1, 2, 7])
def test_statistics_are_those_of_the_method(updates: int) -> None:
    module = popart()
    for update in range(updates):
        module.observe(targets(update))
        module.moments.commit()
    for g, (mean, second_moment) in enumerate(slow_statistics(updates)):
        assert float(module.mean_G[g]) == pytest.approx(mean, rel=1e-9)
        assert float(module.moments.variance_D[g]) == pytest.approx(second_moment - mean**2, rel=1e-9)
        assert float(module.std_G[g]) == pytest.approx(math.sqrt(second_moment - mean**2), rel=1e-9)


def test_the_first_update_counts_as_the_second() -> None:
    module = popart(1)
    module.observe(torch.tensor([[4.0]], dtype=torch.float64))
    module.moments.commit()
    beta = RATE / (1 - (1 - RATE) ** 2)
    assert beta == pytest.approx(0.500125, abs=1e-6)
    assert module.mean_G.item() == pytest.approx(4 * beta)
    second_moment = 100 + beta * (16 - 100)
    assert module.moments.variance_D.item() == pytest.approx(second_moment - (4 * beta) ** 2)


def test_predictions_in_the_units_of_return_never_change() -> None:
    module, raw = popart(), torch.linspace(-3, 3, 8).view(4, 2).double()
    before = module.denormalize(raw)
    for update in range(5):
        module.observe(targets(update))
        assert torch.equal(module.denormalize(raw), before)
        module.moments.commit()
        assert torch.equal(module.denormalize(raw), before)


def test_normalised_predictions_equal_those_of_a_corrected_affine_layer() -> None:
    module, raw = popart(), torch.linspace(-3, 3, 8).view(4, 2).double()
    weight, bias = torch.ones(2).double(), torch.zeros(2).double()
    mean, std = torch.zeros(2).double(), torch.full((2,), 10.0).double()
    for update in range(6):
        module.observe(targets(update))
        new = torch.tensor(slow_statistics(update + 1), dtype=torch.float64)
        new_mean = new[:, 0]
        new_std = (new[:, 1] - new_mean.square()).clamp(1e-4, 1e8).sqrt()
        weight, bias = std / new_std * weight, (std * bias + mean - new_mean) / new_std
        mean, std = new_mean, new_std
        ours = module.normalize(module.denormalize(raw))
        torch.testing.assert_close(ours, weight * raw + bias, rtol=1e-9, atol=1e-9)
        module.moments.commit()


def test_a_proposal_counts_at_once_and_is_saved_by_its_commit_alone() -> None:
    module, y = popart(), targets(3)
    saved = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = module.normalize(y)
    module.observe(targets(0))
    proposed = module.normalize(y)
    assert not torch.allclose(proposed, before)
    assert all(torch.equal(saved[name], tensor) for name, tensor in module.state_dict().items())
    module.moments.commit()
    assert torch.equal(module.normalize(y), proposed)
    assert int(module.moments.steps) == 2


def test_a_second_commit_does_nothing() -> None:
    once, twice = popart(), popart()
    for each in (once, twice):
        each.observe(targets(0))
        each.moments.commit()
    twice.moments.commit()
    assert all(torch.equal(once.state_dict()[n], t) for n, t in twice.state_dict().items())


def test_the_spread_is_kept_between_a_hundredth_and_ten_thousand() -> None:
    module = popart()
    module.moments.mean_D.fill_(3.0)
    module.moments.variance_D.copy_(torch.tensor([0.0, 1e12]))
    assert module.std_G.tolist() == [0.01, 1e4]


def test_a_small_spread_around_a_great_mean_is_seen_in_single_precision() -> None:
    module = PopArt(1, rate=1.0, initial_scale=10.0)
    module.observe(1e4 + torch.tensor([[-1.0], [1.0]]))
    assert module.std_G.item() == pytest.approx(1.0, rel=1e-3)
