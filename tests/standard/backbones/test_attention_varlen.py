"""Torch's variable-length kernel, as its versions spell it, by a stand-in for the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from amago_registry import AttentionContext, SequenceLayout
from amago_standard.backbones import attention_varlen
from amago_standard.backbones.attention_reference import ReferenceAttention
from amago_standard.backbones.options import AttentionOptions

CONTEXT = AttentionContext(heads=4, kv_heads=2, head_dim=8, capacity=9)


def attend(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, window: int | None) -> Tensor:
    lengths = ends.diff().tolist()
    assert longest == max(lengths)
    context = AttentionContext(
        heads=q.shape[1], kv_heads=k.shape[1], head_dim=8, capacity=9, window=window
    )
    layout = SequenceLayout.build(lengths)
    return ReferenceAttention(context, AttentionOptions()).packed(q, k, v, layout)


def today(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    before, after = window_size
    assert after == 0
    assert enable_gqa == (query.shape[1] != key.shape[1])
    return attend(query, key, value, cu_seq_q, max_q, None if before == -1 else before + 1)


def before_windows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
) -> Tensor:
    assert is_causal
    assert query.shape == key.shape
    return attend(query, key, value, cu_seq_q, max_q, None)


def reasons(
    function: Callable[..., Tensor], context: AttentionContext, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setattr(attention_varlen, "_varlen_function", lambda: function)
    return attention_varlen.reasons_against(torch.zeros(1, dtype=torch.bfloat16), context)


@pytest.mark.parametrize("window", [None, 1, 20])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_the_installed_torchs_kernel_gets_the_contexts_window_and_heads(
    kv_heads: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(CONTEXT, kv_heads=kv_heads, window=window)
    assert reasons(today, context, monkeypatch) == []


def test_a_kernel_without_windows_and_groups_is_used_for_what_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reasons(before_windows, CONTEXT, monkeypatch) == []
    assert reasons(before_windows, replace(CONTEXT, window=3), monkeypatch) == [
        f"the kernel of torch {torch.__version__} has no window"
    ]


def test_a_kernel_whose_window_is_one_too_wide_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_more(*args: Tensor, window_size: tuple[int, int], enable_gqa: bool) -> Tensor:
        return today(*args, window_size=(window_size[0] + 1, window_size[1]), enable_gqa=enable_gqa)

    (reason,) = reasons(one_more, replace(CONTEXT, window=2), monkeypatch)
    assert reason.partition(" by ")[0] == "its output is wrong"


def test_what_it_cannot_do_is_not_tried() -> None:
    like = torch.zeros(1, dtype=torch.bfloat16)
    assert attention_varlen.reasons_against(like, replace(CONTEXT, sinks=1)) == [
        "torch's variable-length kernel has no attention sinks"
    ]
    assert attention_varlen.reasons_against(like.float(), CONTEXT) == [
        "torch's variable-length kernel takes half precision, not torch.float32"
    ]


def test_the_installed_torch_has_the_function() -> None:
    assert callable(attention_varlen._varlen_function())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("window", [None, 20])
def test_the_kernel_agrees_with_the_formula_on_the_gpu(window: int | None) -> None:
    like = torch.zeros(1, dtype=torch.bfloat16, device="cuda")
    assert attention_varlen.reasons_against(like, replace(CONTEXT, window=window)) == []
