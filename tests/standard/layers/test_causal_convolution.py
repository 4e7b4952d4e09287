"""The convolution sees the last few timesteps of its own sequence and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amago_registry import SequenceLayout
from amago_standard.layers.causal_convolution import CausalConvolution

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def convolution(channels: int, size: int) -> CausalConvolution:
    torch.manual_seed(0)
    return CausalConvolution(channels, size).double()


def stream(layout: SequenceLayout, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(layout.timesteps, channels, generator=generator, dtype=torch.float64)


def loop(layer: CausalConvolution, x_NC: Tensor, lengths: list[int]) -> Tensor:
    rows = []
    for part in x_NC.split(lengths):
        for n in range(len(part)):
            seen = [weight * part[n - j] for j, weight in enumerate(layer.weight) if j <= n]
            rows.append(layer.bias + torch.stack(seen).sum(0))
    return torch.stack(rows)


def test_three_taps_add_up_by_hand() -> None:
    layer = CausalConvolution(1, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [10.0], [100.0]]))
        layer.bias.fill_(0.5)
    x_N1 = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    y_N1 = layer(x_N1, SequenceLayout.build([4, 2]))
    assert y_N1[:, 0].tolist() == [1.5, 12.5, 123.5, 234.5, 5.5, 56.5]


@pytest.mark.parametrize("size", [1, 2, 4])
@given(lengths=LENGTHS)
@settings(max_examples=20, deadline=None)
def test_it_is_always_the_loop_and_so_are_its_gradients(size: int, lengths: list[int]) -> None:
    layer, layout = convolution(3, size), SequenceLayout.build(lengths)
    x_NC = stream(layout, 3).requires_grad_()
    actual, expected = layer(x_NC, layout), loop(layer, x_NC, lengths)
    torch.testing.assert_close(actual, expected)
    inputs, toward_NC = [x_NC, *layer.parameters()], stream(layout, 3)
    gradients = torch.autograd.grad(actual, inputs, toward_NC)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, toward_NC))


@given(lengths=LENGTHS)
@settings(max_examples=10, deadline=None)
def test_stepping_always_gives_the_packed_rows(lengths: list[int]) -> None:
    layer, layout = convolution(2, 4), SequenceLayout.build(lengths)
    x_NC, stepped = stream(layout, 2), []
    for part in x_NC.split(lengths):
        window = layer.initial_state(1)
        for row in part:
            y_BC, window = layer.step(row[None], window)
            stepped.append(y_BC[0])
    torch.testing.assert_close(torch.stack(stepped), layer(x_NC, layout))


def test_times_that_do_not_begin_at_zero_change_nothing() -> None:
    layer, x_NC = convolution(2, 4), torch.ones(5, 2, dtype=torch.float64)
    late = SequenceLayout.build([3, 2], torch.tensor([7, 8, 9, 4, 5]))
    assert torch.equal(layer(x_NC, late), layer(x_NC, SequenceLayout.build([3, 2])))


def test_half_precision_is_added_up_in_single_precision() -> None:
    layer = CausalConvolution(2, 4)
    x_NC = torch.randn(5, 2).bfloat16()
    y_NC = layer(x_NC, SequenceLayout.build([5]))
    assert y_NC.dtype == torch.float32
    assert layer.step(x_NC, layer.initial_state(5))[0].dtype == torch.float32
    torch.testing.assert_close(y_NC, layer(x_NC.float(), SequenceLayout.build([5])), rtol=0, atol=0)
