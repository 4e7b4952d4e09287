"""Positions in time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_standard.layers.positions import (
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    turned,
)


def test_positions_are_sines_and_cosines_of_falling_frequency() -> None:
    position = SinusoidalPositions(4)(torch.tensor([0, 3]))
    assert position[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    expected = [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    assert position[1].tolist() == pytest.approx(expected, abs=1e-6)


def test_neighbouring_positions_stay_apart_far_from_the_start() -> None:
    position = SinusoidalPositions(32)(torch.arange(100_000, 100_050))
    gap = (position[1:] - position[:-1]).abs().amax(1)
    assert gap.min() > 0.4


def test_a_module_in_double_precision_sees_the_same_positions() -> None:
    time = torch.tensor([7, 100_000])
    assert torch.equal(SinusoidalPositions(8)(time), SinusoidalPositions(8).double()(time))


@pytest.mark.parametrize("module", [SinusoidalPositions(8), RotaryPositions(8)])
def test_what_follows_from_the_formula_is_not_saved(module: torch.nn.Module) -> None:
    assert not module.state_dict()


def test_times_beyond_the_table_share_its_last_row() -> None:
    module = LearnedPositions(rows=3, dim=2)
    rows = module.table.weight.tolist()
    assert module(torch.tensor([2, 0, 3, 1000])).tolist() == [rows[2], rows[0], rows[2], rows[2]]


def test_a_plane_of_features_turns_by_its_frequency_times_the_time() -> None:
    x = torch.tensor([[[1.0, 0.0, 0.0, 2.0]]])  # Planes (1, 0) and (0, 2).
    y = turned(x, *RotaryPositions(4)(torch.tensor([3]), torch.float32))
    expected = [math.cos(3), -2 * math.sin(0.03), math.sin(3), 2 * math.cos(0.03)]
    assert y[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


@given(first=st.integers(0, 10**6), distance=st.integers(0, 10**4), later=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_a_turned_product_always_depends_on_the_distance_alone(
    first: int, distance: int, later: int
) -> None:
    rotary, generator = RotaryPositions(8), torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 3, 8, generator=generator, dtype=torch.float64)

    def product(start: int) -> torch.Tensor:
        times = (torch.tensor([start + distance]), torch.tensor([start]))
        query, key = (turned(x, *rotary(time, x.dtype)) for x, time in zip((q, k), times, strict=True))
        return (query * key).sum(-1)

    torch.testing.assert_close(product(first), product(first + later), rtol=1e-8, atol=1e-8)


def test_half_precision_is_turned_in_single_and_handed_back() -> None:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    angles = RotaryPositions(4)(torch.tensor([5, 9]), torch.float32)
    assert torch.equal(turned(x, *angles), turned(x.float(), *angles).bfloat16())
