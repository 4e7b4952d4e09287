"""The chunked form is the loop over time, wherever sequences and chunks begin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amago_registry import SequenceLayout
from amago_standard.layers.decayed_attention import decayed_attention

HEADS, KEY, VALUE = 4, 3, 2


def loop(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, lengths: list[int]) -> Tensor:
    heads = v.shape[1]
    q, k = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (q, k))
    rows: list[Tensor] = []
    for length in lengths:
        memory = v.new_zeros(heads, v.shape[2], k.shape[2])
        for n in range(len(rows), len(rows) + length):
            memory = log_decay[n].exp()[:, None, None] * memory + v[n][:, :, None] * k[n][:, None, :]
            rows.append((memory * q[n][:, None, :]).sum(-1))
    return torch.stack(rows)


def drawn(rows: int, groups: int = 1, strongest: float = 5.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    shapes = [(groups, KEY), (groups, KEY), (HEADS, VALUE), (HEADS,)]
    q, k, v, decay = (
        torch.randn(rows, *shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    weak = torch.arange(rows)[:, None] % 3 != 0
    log_decay = torch.where(weak, -0.1 * decay.abs(), -strongest * decay.abs())
    return [x.requires_grad_() for x in (q, k, v, log_decay)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), chunk=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_it_is_always_the_loop_and_so_are_its_gradients(
    groups: int, lengths: list[int], chunk: int
) -> None:
    layout = SequenceLayout.build(lengths)
    inputs = drawn(layout.timesteps, groups)
    actual, expected = decayed_attention(*inputs, layout, chunk), loop(*inputs, lengths)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    toward = torch.linspace(-1, 1, actual.numel(), dtype=torch.float64).view_as(actual)
    gradients = torch.autograd.grad(actual, inputs, toward)
    expected_gradients = torch.autograd.grad(expected, inputs, toward)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("strongest", [0.1, 20.0, 1e4], ids="strongest decay e^-{}".format)
def test_single_precision_strays_by_rounding_alone_however_strong_some_decays_are(
    strongest: float,
) -> None:
    layout = SequenceLayout.build([150, 40])
    inputs = drawn(layout.timesteps, strongest=strongest)
    expected = decayed_attention(*inputs, layout)
    actual = decayed_attention(*(x.float() for x in inputs), layout)
    assert (actual - expected).abs().max() < 2e-6 * expected.abs().max()


def test_a_memory_that_does_not_decay_counts_over_many_chunks() -> None:
    ones = torch.ones(1000, 1, 1)
    counted = decayed_attention(
        ones, ones, ones, torch.zeros(1000, 1), SequenceLayout.build([400, 600])
    )
    assert counted[[0, 399, 400, 999], 0, 0].tolist() == [1, 400, 1, 600]


def test_a_decay_beyond_all_numbers_forgets_everything_and_has_finite_gradients() -> None:
    ones = torch.ones(70, 1, 1, requires_grad=True)
    log_decay = torch.zeros(70, 1).index_fill(0, torch.tensor([5, 40]), -1e30).requires_grad_()
    counted = decayed_attention(ones, ones, ones, log_decay, SequenceLayout.build([70]))
    assert counted[[4, 5, 39, 40, 69], 0, 0].tolist() == [5, 1, 35, 1, 30]
    gradients = torch.autograd.grad(counted.sum(), [ones, log_decay])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_autocast_does_not_coarsen_it() -> None:
    layout = SequenceLayout.build([50])
    inputs = [x.detach().float() for x in drawn(layout.timesteps)]
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = decayed_attention(*inputs, layout)
    assert torch.equal(under_autocast, decayed_attention(*inputs, layout))


def test_half_precision_comes_out_in_single_precision() -> None:
    q, k, v, log_decay = (x.detach().bfloat16() for x in drawn(9))
    assert decayed_attention(q, k, v, log_decay, SequenceLayout.build([9])).dtype == torch.float32
