"""The ring of keys and values, against lists of all that was ever seen."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amago_registry import AttentionContext
from amago_standard.backbones import cache as cache_module
from amago_standard.backbones.cache import RingCache


def context(capacity: int, window: int | None = None, sinks: int = 0) -> AttentionContext:
    return AttentionContext(
        heads=4, kv_heads=2, head_dim=3, capacity=capacity, window=window, sinks=sinks
    )


def softmax_of_all(q_HF: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    """Return ``(H, F)`` of 4 query heads over 2 key/value heads."""
    outputs = []
    for head, q_F in enumerate(q_HF):
        scores = torch.stack([q_F @ k_KF[head // 2] for k_KF in keys]) / 3**0.5
        seen = zip(scores.softmax(0), values, strict=True)
        outputs.append(sum(weight * v_KF[head // 2] for weight, v_KF in seen))
    return torch.stack(outputs)


@settings(max_examples=25, deadline=None)
@given(
    capacity=st.integers(1, 6),
    window=st.none() | st.integers(1, 8),
    sinks=st.integers(0, 4),
    one_at_a_time=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_step_always_sees_the_sinks_and_the_latest_of_its_own_environment(
    capacity: int, window: int | None, sinks: int, one_at_a_time: bool, seed: int
) -> None:
    ring = RingCache(context(capacity, window, sinks))
    generator = torch.Generator().manual_seed(seed)
    past: list[list[tuple[Tensor, Tensor]]] = [[], [], []]
    cache = ring.new(3, torch.zeros((), dtype=torch.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_WORTH_A_CALL", 0 if one_at_a_time else 10**9)
        for _ in range(15):
            ended = torch.rand(3, generator=generator) < 0.15
            cache = ring.reset(cache, ended)
            q, k, v = (
                torch.randn(3, heads, 3, generator=generator, dtype=torch.float64)
                for heads in (4, 2, 2)
            )
            y, cache = ring.attend(q, k, v, cache)
            for b in range(3):
                past[b] = [*([] if ended[b] else past[b]), (k[b], v[b])]
                latest = min(capacity, window or capacity)
                kept = past[b][:-latest][:sinks] + past[b][-latest:]
                wanted = softmax_of_all(q[b], *map(list, zip(*kept, strict=True)))
                torch.testing.assert_close(y[b], wanted, rtol=0, atol=1e-12)


def test_the_first_timesteps_have_slots_that_are_never_written_over() -> None:
    ring = RingCache(context(capacity=4, sinks=2))
    cache = ring.new(1, torch.zeros(()))
    for t in range(8):
        ring.append(torch.full((1, 2, 3), float(t)), torch.zeros(1, 2, 3), cache)
    assert cast(Tensor, cache["key"])[0, 0, :, 0].tolist() == [0, 1, 6, 7, 4, 5]


def test_a_window_needs_no_more_slots_than_it_sees() -> None:
    assert [RingCache(context(100, window, sinks=3)).slots for window in (None, 7, 1000)] == [
        103,
        10,
        103,
    ]


def test_neither_a_step_nor_a_reset_moves_the_cache() -> None:
    ring = RingCache(context(capacity=3, sinks=1))
    cache = ring.new(2, torch.zeros(()))
    before = {name: cast(Tensor, x).data_ptr() for name, x in cache.items()}
    for t in range(9):
        _, cache = ring.attend(*(torch.randn(2, heads, 3) for heads in (4, 2, 2)), cache)
        cache = ring.reset(cache, torch.tensor([t % 4 == 0, False]))
    assert {name: cast(Tensor, x).data_ptr() for name, x in cache.items()} == before


@pytest.mark.parametrize(("seen", "calls"), [([5000, 5000], 1), ([5000, 4990], 1), ([5000, 1], 2)])
def test_environments_of_very_different_length_are_read_one_by_one(
    seen: list[int], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    softmax, read = cache_module._softmax, []

    def counted(q: Tensor, key: Tensor, *rest: Tensor) -> Tensor:
        read.append(key.shape[-2])
        return softmax(q, key, *rest)

    monkeypatch.setattr(cache_module, "_softmax", counted)
    ring = RingCache(AttentionContext(heads=8, kv_heads=8, head_dim=8, capacity=9000))
    cache = ring.new(2, torch.zeros(()))
    cast(Tensor, cache["seen"]).copy_(torch.tensor(seen))
    ring.attend(*[torch.zeros(2, 8, 8)] * 3, cache)
    assert read == [5001, 2][:calls]


def test_what_was_not_finite_does_not_outlive_a_reset() -> None:
    ring = RingCache(context(capacity=4))
    cache = ring.new(2, torch.zeros(()))
    q, k = torch.randn(2, 4, 3), torch.randn(2, 2, 3)
    infinite = torch.stack([torch.full((2, 3), torch.inf), torch.ones(2, 3)])
    for _ in range(3):
        ring.attend(q, infinite, infinite, cache)
    ring.reset(cache, torch.tensor([True, False]))
    y, _ = ring.attend(q, k, torch.ones(2, 2, 3), cache)
    torch.testing.assert_close(y, torch.ones(2, 4, 3))


def test_autocast_may_round_what_a_cache_in_single_precision_keeps() -> None:
    ring = RingCache(context(capacity=4))
    cache = ring.new(1, torch.zeros(()))
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = ring.attend(torch.randn(1, 4, 3), *torch.ones(2, 1, 2, 3, dtype=torch.bfloat16), cache)
    assert torch.equal(y.float(), torch.ones(1, 4, 3))
