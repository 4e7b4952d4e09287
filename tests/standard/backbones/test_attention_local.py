"""Windows and sinks, block by block, against the masked softmax of every row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amago_registry import AttentionContext, SequenceLayout
from amago_standard.backbones import attention_local
from amago_standard.backbones.attention_local import LocalAttention
from amago_standard.backbones.attention_reference import ReferenceAttention
from amago_standard.backbones.attention_sdpa import SDPAttention
from amago_standard.backbones.options import AttentionOptions

OPTIONS = AttentionOptions()


def drawn(rows: int, kv_heads: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(rows, heads, 4, generator=generator, dtype=torch.float64).requires_grad_()
        for heads in (4, kv_heads, kv_heads)
    ]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=3).map(lambda x: [*x, x[-1]]),
    window=st.none() | st.integers(1, 150),
    sinks=st.integers(0, 70),
    kv_heads=st.sampled_from([1, 2, 4]),
)
def test_packed_attention_is_always_the_reference_with_its_gradients(
    lengths: list[int], window: int | None, sinks: int, kv_heads: int
) -> None:
    context = AttentionContext(
        heads=4, kv_heads=kv_heads, head_dim=4, capacity=200, window=window, sinks=sinks
    )
    layout = SequenceLayout.build(lengths)
    inputs = drawn(layout.timesteps, kv_heads)
    toward = drawn(layout.timesteps, 4, seed=1)[0].detach()
    results = []
    for kernel in (ReferenceAttention(context, OPTIONS), SDPAttention(context, OPTIONS)):
        y = kernel.packed(inputs[0], inputs[1], inputs[2], layout)
        results.append((y.detach(), *torch.autograd.grad(y, inputs, toward)))
    for wanted, got in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)


def test_a_row_of_a_later_slice_counts_its_sinks_from_the_beginning_of_the_sequence() -> None:
    context = AttentionContext(heads=1, kv_heads=1, head_dim=1, capacity=9, window=1, sinks=1)
    zeros, values = torch.zeros(6, 1, 1), torch.arange(6.0).view(6, 1, 1)
    layout = SequenceLayout.build([3, 3], time_N=torch.tensor([0, 1, 2, 50, 51, 52]))
    for kernel in (ReferenceAttention(context, OPTIONS), SDPAttention(context, OPTIONS)):
        y = kernel.packed(zeros, zeros, values, layout)
        assert y.flatten().tolist() == [0.0, 0.5, 1.0, 3.0, 3.5, 4.0]


def test_no_call_of_the_kernel_sees_more_than_the_window_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fused, scores = attention_local.fused_attention, []

    def counted(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        scores.append(q.shape[0] * q.shape[1] * k.shape[1])
        return fused(q, k, v, mask)

    monkeypatch.setattr(attention_local, "fused_attention", counted)
    for length in (1000, 10_000):
        LocalAttention(window=128, sinks=4)(*[torch.zeros(1, length, 1, 4)] * 3)
    # Per row the window, half of it again, and the sinks; the first rows see one another.
    assert scores == [192 * 192, 12 * 64 * 196, 40 * 172, 192 * 192, 153 * 64 * 196, 16 * 148]


def test_what_inference_built_serves_training() -> None:
    attend = LocalAttention(window=2, sinks=1)
    with torch.inference_mode():
        attend(*[torch.zeros(1, 100, 1, 4)] * 3)
    inputs = drawn(100, 4)
    gradients = [
        torch.autograd.grad(kernel(*(x[None] for x in inputs)).sum(), inputs)
        for kernel in (attend, LocalAttention(window=2, sinks=1))
    ]
    for after_inference, fresh in zip(*gradients, strict=True):
        assert torch.equal(after_inference, fresh)


def test_a_window_compiles_into_one_graph() -> None:
    attend = LocalAttention(window=5, sinks=2)
    q, k, v = (x.detach().view(2, 90, -1, 4) for x in drawn(180, 2))
    compiled = torch.compile(attend, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v), attend(q, k, v))


def test_three_thousand_steps_equal_the_packed_forward() -> None:
    context = AttentionContext(heads=2, kv_heads=1, head_dim=8, capacity=3000, window=64, sinks=4)
    kernel, layout = SDPAttention(context, OPTIONS), SequenceLayout.build([3000])
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3000, heads, 8, generator=generator) for heads in (2, 1, 1))
    with torch.no_grad():
        packed = kernel.packed(q, k, v, layout)
        cache = kernel.cache(1, q)
        for t in range(3000):
            y, cache = kernel.step(q[t, None], k[t, None], v[t, None], cache)
            assert (y[0] - packed[t]).abs().max() < 2e-5
