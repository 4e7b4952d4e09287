"""Bins of returns, against loops over the formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_standard.layers.bins import bin_positions, gaussian_label, sharpened_values, two_hot
from amago_standard.layers.symlog import symexp, symlog

few = settings(max_examples=50, deadline=None)

POSITIONS = bin_positions(64, -1e5, 1e5)
VALUES = symexp(POSITIONS)
WIDTH = 2 * math.log1p(1e5) / 63


def numbers(*x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def slow_two_hot(x: float, points: list[float]) -> list[float]:
    """Weigh the two points around x by how close they are."""
    x = min(max(x, points[0]), points[-1])
    label = [0.0] * len(points)
    for left, (a, b) in enumerate(pairwise(points)):
        if a <= x <= b:
            label[left], label[left + 1] = (b - x) / (b - a), (x - a) / (b - a)
            return label
    raise AssertionError


def slow_gaussian_label(x: float, low: float, high: float, bins: int, sigma: float) -> list[float]:
    """Integrate a normal distribution from edge to edge of every bin."""
    width, x = (high - low) / (bins - 1), min(max(x, low), high)

    def mass_below(edge: float) -> float:
        return 0.5 * (1 + math.erf((edge - x) / (sigma * width * math.sqrt(2))))

    centers = [low + b * width for b in range(bins)]
    mass = [mass_below(center + width / 2) - mass_below(center - width / 2) for center in centers]
    return [part / sum(mass) for part in mass]


def test_bins_lie_evenly_in_symlog_space_and_mirror_each_other() -> None:
    assert POSITIONS[0].item() == pytest.approx(-math.log1p(1e5))
    assert POSITIONS.diff().tolist() == pytest.approx([WIDTH] * 63)
    assert torch.equal(POSITIONS, -POSITIONS.flip(0))
    assert bin_positions(3, 0.0, math.e - 1).tolist() == pytest.approx([0, 0.5, 1])


def test_two_hot_weighs_the_neighbours_by_how_close_they_are() -> None:
    label = two_hot(numbers(1.0, 0.0, 2.5), numbers(-1.0, 0.0, 4.0))
    assert label.tolist() == [[0, 0.75, 0.25], [0, 1, 0], [0, 0.375, 0.625]]


@few
@given(x=st.floats(-2e5, 2e5), bins=st.sampled_from([2, 3, 64, 65]))
def test_two_hot_is_always_that_of_the_loop(x: float, bins: int) -> None:
    points = symexp(bin_positions(bins, -1e5, 1e5))
    label = two_hot(numbers(x), points)[0]
    assert label.tolist() == pytest.approx(slow_two_hot(x, points.tolist()), abs=1e-9)


@few
@given(x=st.floats(-2e5, 2e5))
def test_the_mean_of_two_hot_is_always_the_number_or_the_limit_it_is_beyond(x: float) -> None:
    label, limit = two_hot(numbers(x), VALUES)[0], VALUES[-1].item()
    assert (label @ VALUES).item() == pytest.approx(min(max(x, -limit), limit), rel=1e-9, abs=1e-9)
    assert label.min() >= 0
    assert label.sum().item() == pytest.approx(1)


def test_two_hot_keeps_shape_and_takes_strided_numbers() -> None:
    x = torch.linspace(-50, 50, 12).view(3, 4).T
    label = two_hot(x, VALUES.float())
    assert label.shape == (4, 3, 64)
    assert torch.equal(label, two_hot(x.contiguous(), VALUES.float()))


@few
@given(
    x=st.floats(-13, 13), sigma=st.sampled_from([0.5, 0.75, 1.5]), bins=st.sampled_from([32, 64, 129])
)
def test_a_gaussian_label_is_always_the_integral_over_the_bins(
    x: float, sigma: float, bins: int
) -> None:
    positions = bin_positions(bins, -1e5, 1e3)
    label = gaussian_label(numbers(x), positions, sigma)[0]
    slow = slow_gaussian_label(x, -math.log1p(1e5), math.log1p(1e3), bins, sigma)
    assert label.tolist() == pytest.approx(slow, abs=1e-9)
    assert label.sum().item() == pytest.approx(1)


def test_a_gaussian_label_in_single_precision_is_finite_and_sums_to_one() -> None:
    x = symlog(torch.linspace(-2e5, 2e5, 1001))
    label = gaussian_label(x, POSITIONS.float(), 0.75)
    assert label.min() >= 0
    torch.testing.assert_close(label.sum(-1), torch.ones(1001))


@few
@given(x=st.floats(-10, 10))
def test_the_mean_position_of_an_uncut_gaussian_label_is_always_its_center(
    x: float,
) -> None:
    label = gaussian_label(numbers(x), POSITIONS, 0.75)[0]
    assert (label @ POSITIONS).item() == pytest.approx(x, abs=1e-5)


def test_a_gaussian_label_reads_too_much_as_a_mean_of_returns() -> None:
    label = gaussian_label(symlog(numbers(1000.0)), POSITIONS, 0.75)[0]
    # A log-normal's mean: the label's variance, plus that of a uniform bin.
    skew = math.exp((0.75**2 + 1 / 12) * WIDTH**2 / 2)
    assert skew == pytest.approx(1.044, abs=1e-3)
    assert (label @ VALUES).item() == pytest.approx(1001 * skew - 1, rel=1e-4)


@pytest.mark.parametrize(
    ("least", "most", "error"), [(0, 2, 5e-3), (2, 3000, 1e-4), (3000, 2e4, 1e-3), (2e4, 1e5, 3.1e-2)]
)
def test_sharpened_values_read_labels_as_what_they_stand_for(
    least: float, most: float, error: float
) -> None:
    y = symexp(torch.linspace(math.log1p(least), math.log1p(most), 500, dtype=torch.float64))
    read = gaussian_label(symlog(y), POSITIONS, 0.75) @ sharpened_values(POSITIONS, 0.75)
    assert ((read - y).abs() / (1 + y)).max().item() < error


@pytest.mark.parametrize("sigma", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("bins", [32, 64, 65, 128])
def test_sharpened_values_rise_and_mirror_each_other(bins: int, sigma: float) -> None:
    sharp = sharpened_values(bin_positions(bins, -1e5, 1e5), sigma)
    assert sharp[bins // 4 : -bins // 4].diff().gt(0).all()
    torch.testing.assert_close(sharp, -sharp.flip(0), rtol=1e-9, atol=1e-9)
