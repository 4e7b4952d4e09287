"""Stacks of convolutions: their sizes, and the smallest image they take."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from amago_standard.layers.convolution import (
    ResidualBlock,
    flat_size,
    grid,
    impala,
    nature,
    smallest_side,
)


def test_feature_maps_are_as_large_as_published() -> None:
    assert flat_size(nature(4), (4, 84, 84)) == 7 * 7 * 64
    assert flat_size(impala(3, (16, 32, 32)), (3, 64, 64)) == 8 * 8 * 32
    assert flat_size(grid(3, (16, 32)), (3, 7, 7)) == 7 * 7 * 32


def test_networks_have_as_many_weights_as_published() -> None:
    assert sum(p.numel() for p in nature(4).parameters()) == (
        32 * (4 * 64 + 1) + 64 * (32 * 16 + 1) + 64 * (64 * 9 + 1)
    )
    blocks = 4 * 16 * (16 * 9 + 1) + 8 * 32 * (32 * 9 + 1)
    stages = 16 * (3 * 9 + 1) + 32 * (16 * 9 + 1) + 32 * (32 * 9 + 1)
    assert sum(p.numel() for p in impala(3, (16, 32, 32)).parameters()) == blocks + stages


def test_a_residual_block_adds_to_its_input() -> None:
    block = ResidualBlock(2)
    x = torch.randn(3, 2, 4, 5)
    first, second = block.net[1], block.net[3]
    torch.testing.assert_close(block(x), x + second(first(x.relu()).relu()))


def test_nature_needs_36_pixels_and_the_others_one() -> None:
    assert [smallest_side(net) for net in (nature(1), impala(1, (4,)), grid(1, (4,)))] == [36, 1, 1]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1)), min_size=1))
def test_the_smallest_side_always_leaves_a_pixel_and_one_less_never_does(
    layers: list[tuple[int, int, int]],
) -> None:
    net = nn.Sequential(*(nn.Conv2d(1, 1, k, s, min(p, k // 2)) for k, s, p in layers))
    side = smallest_side(net)
    if side > 200:
        return
    assert flat_size(net, (1, side, side)) >= 1
    if side > 1:
        with pytest.raises(RuntimeError):
            flat_size(net, (1, side - 1, side - 1))
