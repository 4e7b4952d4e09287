"""The chunked recurrence is the loop over time, at any length, of any dtype, with any starts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amago_registry import SequenceLayout
from amago_standard.layers.scan import linear_scan

DTYPES = {"real": torch.float64, "complex": torch.complex128}


def loop(decay_NE: Tensor, input_NE: Tensor, lengths: list[int]) -> Tensor:
    rows: list[Tensor] = []
    for decays, inputs in zip(decay_NE.split(lengths), input_NE.split(lengths), strict=True):
        h = torch.zeros_like(inputs[0])
        for decay, summand in zip(decays, inputs, strict=True):
            h = decay * h + summand
            rows.append(h)
    return torch.stack(rows)


def drawn(dtype: torch.dtype, *shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_it_is_always_the_loop_and_so_are_its_gradients(dtype: torch.dtype, lengths: list[int]) -> None:
    layout = SequenceLayout.build(lengths)
    decay, summand, toward = (drawn(dtype, layout.timesteps, 3, seed=seed) for seed in range(3))
    inputs = [(decay / decay.abs().clamp_min(1)).requires_grad_(), summand.requires_grad_()]
    actual, expected = linear_scan(*inputs, layout), loop(*inputs, lengths)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(actual, inputs, toward)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, toward))


def test_one_decay_per_feature_serves_all_rows_and_gathers_their_gradients() -> None:
    layout = SequenceLayout.build([5, 1, 7])
    decay = torch.tensor([0.5, -0.9], dtype=torch.float64, requires_grad=True)
    summand = drawn(torch.float64, 13, 2, seed=0)
    actual, expected = (
        linear_scan(decay, summand, layout),
        loop(decay.expand(13, 2), summand, [5, 1, 7]),
    )
    torch.testing.assert_close(actual, expected)
    (gradient,) = torch.autograd.grad(actual.square().sum(), decay)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), decay)[0])


def test_decays_of_zero_forget_everything() -> None:
    summand = drawn(torch.float64, 50, 2, seed=0)
    assert torch.equal(linear_scan(torch.zeros(2), summand, SequenceLayout.build([50])), summand)


def test_a_long_memory_of_ones_counts() -> None:
    counted = linear_scan(torch.ones(1), torch.ones(1000, 1), SequenceLayout.build([400, 600]))
    assert counted[[0, 399, 400, 999], 0].tolist() == [1, 400, 1, 600]


def test_what_is_given_stays_as_it_was() -> None:
    decay, summand = drawn(torch.float64, 9, 2, seed=0), drawn(torch.float64, 9, 2, seed=1)
    before = decay.clone(), summand.clone()
    linear_scan(decay, summand, SequenceLayout.build([4, 5]))
    assert torch.equal(decay, before[0])
    assert torch.equal(summand, before[1])
