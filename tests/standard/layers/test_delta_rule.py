"""The chunked delta rule is the loop over time, at any length, with any starts and any decay."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from amago_registry import SequenceLayout
from amago_standard.layers.delta_rule import delta_rule, delta_step

Rows = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def loop(rows: Rows, lengths: list[int]) -> Tensor:
    """Compute the formula with every matrix written out."""
    answers = []
    for q, k, v, write, log_decay in zip(*(x.split(lengths) for x in rows), strict=True):
        memory = torch.zeros(k.shape[1], k.shape[2], v.shape[2], dtype=v.dtype)
        for n in range(len(q)):
            key, value = k[n, :, :, None], v[n, :, None, :]
            write_H11, decay_H11 = write[n, :, None, None], log_decay[n, :, None, None].exp()
            kept = torch.eye(k.shape[2], dtype=v.dtype) - write_H11 * key @ key.mT
            memory = decay_H11 * kept @ memory + write_H11 * key @ value
            answers.append((q[n, :, None, :] @ memory)[:, 0])
    return torch.stack(answers)


def drawn(timesteps: int, seed: int = 0, alike: float = 0.0) -> Rows:
    """Return rows of 2 heads with keys of 4 features, more or less alike, and values of 3."""
    torch.manual_seed(seed)
    q, k = normalize(torch.randn(2, timesteps, 2, 4, dtype=torch.float64) + alike, dim=-1)
    v = torch.randn(timesteps, 2, 3, dtype=torch.float64)
    write, log_decay = torch.rand(2, timesteps, 2, dtype=torch.float64)
    return q, k, v, write, -log_decay


def one_head(k: list[list[float]], v: list[float], decay: float = 1.0) -> Rows:
    """Return rows that write all of their value, and ask for what the last key stands for."""
    k_N1K = torch.tensor(k)[:, None]
    q_N1K = k_N1K[-1:].expand_as(k_N1K)
    ones_N1 = torch.ones(len(v), 1)
    return q_N1K, k_N1K, torch.tensor(v)[:, None, None], ones_N1, (decay * ones_N1).log()


def test_a_key_written_twice_stands_for_its_second_value() -> None:
    rows = one_head(k=[[1, 0], [0, 1], [1, 0]], v=[3, 7, 5])
    assert delta_rule(*rows, SequenceLayout.build([3])).flatten().tolist() == [3, 3, 5]


def test_what_is_not_written_again_fades() -> None:
    rows = one_head(k=[[1, 0], [0, 1], [0, 1], [1, 0]], v=[8, 1, 1, 6], decay=0.5)
    answers = delta_rule(*rows, SequenceLayout.build([4])).flatten()
    torch.testing.assert_close(answers, torch.tensor([8.0, 4.0, 2.0, 6.0]))


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    chunk=st.sampled_from([None, 1, 2, 8]),
    alike=st.sampled_from([0.0, 2.0]),
)
@settings(max_examples=40, deadline=None)
def test_it_is_always_the_loop_and_so_are_its_gradients(
    lengths: list[int], chunk: int | None, alike: float
) -> None:
    layout = SequenceLayout.build(lengths)
    rows = drawn(layout.timesteps, alike=alike)
    for x in rows:
        x.requires_grad_()
    actual, expected = delta_rule(*rows, layout, chunk), loop(rows, lengths)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    toward = drawn(layout.timesteps, seed=1)[2]
    gradients = torch.autograd.grad(actual, rows, toward)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected, rows, toward), rtol=1e-9, atol=1e-9
    )


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_stepping_always_gives_the_packed_rows(lengths: list[int]) -> None:
    rows = drawn(sum(lengths))
    answers = []
    for parts in zip(*(x.split(lengths) for x in rows), strict=True):
        memory = torch.zeros(1, 2, 4, 3, dtype=torch.float64)
        for q, k, v, write, log_decay in zip(*parts, strict=True):
            answer, memory = delta_step(q[None], k[None], v[None], write[None], log_decay[None], memory)
            answers.append(answer[0])
    packed = delta_rule(*rows, SequenceLayout.build(lengths))
    torch.testing.assert_close(torch.stack(answers), packed)


def test_a_decay_to_nothing_forgets_and_leaves_gradients_finite() -> None:
    q, k, v, write, log_decay = drawn(70)
    log_decay = torch.full_like(log_decay, -1e4).requires_grad_()
    answers = delta_rule(q, k, v, write, log_decay, SequenceLayout.build([70]))
    torch.testing.assert_close(answers, (q * k).sum(-1, keepdim=True) * write[..., None] * v)
    (gradient,) = torch.autograd.grad(answers.sum(), log_decay)
    assert gradient.isfinite().all()


def test_single_precision_is_enough_over_a_thousand_rows_of_keys_alike() -> None:
    q, k, v, write, log_decay = drawn(1000, alike=3.0)
    layout = SequenceLayout.build([1000])
    exact = delta_rule(q, k, v, write, log_decay / 100, layout)
    rounded = delta_rule(
        q.float(), k.float(), v.float(), write.float(), log_decay.float() / 100, layout
    )
    assert (rounded - exact).abs().max() < 2e-5 * exact.abs().max()


def test_autocast_leaves_it_in_single_precision() -> None:
    rows, layout = tuple(x.float() for x in drawn(40)), SequenceLayout.build([40])
    memory = torch.randn(40, 2, 4, 3)
    packed, stepped = delta_rule(*rows, layout), delta_step(*rows, memory.clone())[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(delta_rule(*rows, layout), packed)
        assert torch.equal(delta_step(*rows, memory.clone())[0], stepped)


def kept_for_the_backward_pass(timesteps: int) -> int:
    """Return the bytes that autograd keeps."""
    rows = [x.requires_grad_() for x in drawn(timesteps)]
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        answers = delta_rule(*rows, SequenceLayout.build([timesteps]))
    assert answers.requires_grad
    return sum(kept.values())


def test_memory_grows_no_faster_than_the_stream() -> None:
    assert kept_for_the_backward_pass(2048) < 2.05 * kept_for_the_backward_pass(1024)


def test_a_decay_that_clears_the_memory_blurs_no_decay_after_it() -> None:
    *rows, log_decay = drawn(30)
    log_decay[5] = -3000
    layout, exact = SequenceLayout.build([30]), (*rows, log_decay)
    single = delta_rule(*(x.float() for x in exact), layout)
    expected = delta_rule(*exact, layout)
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-6)
