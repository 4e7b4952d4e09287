"""xformers attention: masks, the correctness check, and errors where it cannot run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from amago_registry import (
    AttentionContext,
    BackboneContext,
    SequenceLayout,
    UnavailableError,
)
from amago_standard.backbones import Transformer, attention_xformers
from amago_standard.backbones import attention_varlen as varlen
from amago_standard.backbones.attention_auto import AutoAttention
from amago_standard.backbones.attention_sdpa import SDPAttention
from amago_standard.backbones.attention_varlen import VarlenAttention
from amago_standard.backbones.attention_xformers import (
    FilledSlots,
    XformersAttention,
    block_causal_bias,
    padded_keys_bias,
    reasons_against_xformers,
)
from amago_standard.backbones.cache import RingCache
from amago_standard.backbones.options import AttentionOptions, TransformerOptions
from amago_standard.layers.recomputing import recomputed

CONTEXT = AttentionContext(heads=2, kv_heads=2, head_dim=4, capacity=5)
BACKBONE_CONTEXT = BackboneContext(
    in_dim=4, context_length=3, build=lambda part, context: part.build(context)
)


@pytest.fixture
def quiet() -> Iterator[None]:
    """xformers logs that its operators do not fit a torch without CUDA; the masks need none."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def masked(q_NHF: Tensor, k_MHF: Tensor, v_MHF: Tensor, bias: Any) -> Tensor:
    """What xformers' operators compute, from the mask alone: there are none for the CPU."""
    starts, keys = bias.q_seqinfo.seqstart.tolist(), bias.k_seqinfo.seqstart.tolist()
    seen_NM = torch.zeros(len(q_NHF), len(k_MHF), dtype=torch.bool)
    if hasattr(bias.k_seqinfo, "seqlen"):
        for n, (start, filled) in enumerate(zip(keys, bias.k_seqinfo.seqlen.tolist(), strict=False)):
            assert starts[n : n + 2] == [
                n,
                n + 1,
            ]  # One query per sequence: it sees all that is filled.
            seen_NM[n, start : start + filled] = True
    else:
        seen_NM = bias.materialize(seen_NM.shape) == 0
    score_HNM = torch.einsum("nhf,mhf->hnm", q_NHF, k_MHF) * q_NHF.shape[-1] ** -0.5
    return torch.einsum("hnm,mhf->nhf", score_HNM.masked_fill(~seen_NM, -torch.inf).softmax(-1), v_MHF)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch, quiet: None) -> None:
    """As if xformers had operators for the CPU."""
    pytest.importorskip("xformers.ops", exc_type=ImportError)
    monkeypatch.setattr(attention_xformers, "_attend", masked)
    monkeypatch.setattr(attention_xformers, "reasons_against_xformers", list)


@pytest.mark.skipif(torch.cuda.is_available(), reason="xformers can run where there is a CUDA device")
def test_a_machine_without_cuda_has_reasons_against_xformers() -> None:
    reasons = reasons_against_xformers()
    build = "has no CUDA in it" if torch.version.cuda is None else "finds no CUDA device"
    assert reasons[0] == f"the installed torch {torch.__version__} {build}"


def test_the_error_lists_every_reason_and_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ["the GPU is on holiday", "xformers is not installed: pip install xformers"]
    monkeypatch.setattr(attention_xformers, "reasons_against_xformers", lambda: reasons)
    q, layout = torch.randn(3, 2, 4), SequenceLayout.build([2, 1])
    with pytest.raises(UnavailableError) as caught:
        XformersAttention(CONTEXT, AttentionOptions()).packed(q, q, q, layout)
    assert str(caught.value) == (
        "attention 'xformers' cannot run on this machine:\n"
        "  - the GPU is on holiday\n"
        "  - xformers is not installed: pip install xformers\n"
        "Use 'auto' to let the machine decide, or 'sdpa', which runs everywhere."
    )


def test_a_transformer_that_asks_for_xformers_by_name_does_not_fall_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_xformers, "reasons_against_xformers", lambda: ["no"])
    options = TransformerOptions.model_validate({"attention": "xformers"})
    backbone = Transformer(BACKBONE_CONTEXT, options)
    with pytest.raises(UnavailableError, match="attention 'xformers' cannot run on this machine"):
        backbone(torch.randn(2, 4), SequenceLayout.build([2]))


def test_an_agent_trained_with_xformers_acts_anywhere() -> None:
    options = TransformerOptions.model_validate({"attention": "xformers"})
    backbone = Transformer(BACKBONE_CONTEXT, options).eval()
    y, _ = backbone.step(torch.randn(2, 4), torch.zeros(2), backbone.initial_state(2))
    assert y.shape == (2, options.width)


def test_an_agent_on_the_cpu_of_a_gpu_machine_is_asked_to_set_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_xformers, "reasons_against_xformers", list)
    q, layout = torch.randn(3, 2, 4), SequenceLayout.build([2, 1])
    with pytest.raises(
        UnavailableError, match=r"the agent is trained on the CPU: set running\.device=cuda"
    ):
        XformersAttention(CONTEXT, AttentionOptions()).packed(q, q, q, layout)


@pytest.mark.usefixtures("quiet")
def test_what_no_operator_takes_is_refused_in_the_words_of_xformers() -> None:
    refused = attention_xformers.refusal_of(torch.randn(3, 2, 4), CONTEXT)
    assert refused is not None
    assert "device" in refused


def test_auto_does_not_import_xformers_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xformers", None)  # Any import of it raises.
    q = torch.randn(3, 2, 4)
    y = AutoAttention(CONTEXT, AttentionOptions()).packed(q, q, q, SequenceLayout.build([2, 1]))
    assert torch.equal(y[[0, 2]], q[[0, 2]])  # A first timestep sees itself alone.


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("window", [None, 1, 2, 3, 9])
@pytest.mark.parametrize("lengths", [(1,), (3, 1, 4), (1, 1, 1), (5, 2)], ids=str)
def test_the_bias_shows_each_row_its_own_past_within_the_window(
    lengths: tuple[int, ...], window: int | None
) -> None:
    pytest.importorskip("xformers.ops", exc_type=ImportError)
    rows = [(sequence, t) for sequence, length in enumerate(lengths) for t in range(length)]
    bias = block_causal_bias(SequenceLayout.build(lengths), window)
    seen = bias.materialize((len(rows), len(rows))) == 0
    for n, (sequence, t) in enumerate(rows):
        for m, (other, s) in enumerate(rows):
            within = s <= t and (window is None or t - s < window)
            assert bool(seen[n, m]) == (sequence == other and within)


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 1, 20, 1000])
def test_a_kernel_that_agrees_with_the_formula_is_not_refused(
    window: int | None, dtype: torch.dtype
) -> None:
    context = replace(CONTEXT, kv_heads=1, window=window)
    assert attention_xformers.refusal_of(torch.zeros(1, dtype=dtype), context) is None


@pytest.mark.usefixtures("on_the_cpu")
def test_a_kernel_that_computes_something_else_is_refused_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusal() -> str:
        reason = attention_xformers.refusal_of(torch.zeros(1), CONTEXT)
        assert reason is not None
        return reason.partition(" by ")[0]

    monkeypatch.setattr(attention_xformers, "_attend", lambda q, k, v, bias: masked(2 * q, k, v, bias))
    assert refusal() == "its output is wrong"
    monkeypatch.setattr(
        attention_xformers, "_attend", lambda q, k, v, bias: masked(q, k.detach() + 0 * k, v, bias)
    )
    assert refusal() == "its gradient of the keys is wrong"
    monkeypatch.setattr(
        attention_xformers, "_attend", lambda q, k, v, bias: torch.nan * masked(q, k, v, bias)
    )
    assert refusal() == "its output is wrong"


@pytest.mark.usefixtures("on_the_cpu")
def test_a_trial_leaves_random_numbers_and_the_mode_of_its_caller_alone() -> None:
    torch.manual_seed(7)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert attention_xformers.refusal_of(torch.zeros(1), CONTEXT) is None
        assert attention_xformers.step_refusal_of(torch.zeros(1), CONTEXT) is None
    drawn = torch.rand(3)
    assert torch.equal(drawn, torch.manual_seed(7) and torch.rand(3))


@pytest.mark.usefixtures("on_the_cpu")
def test_a_trial_inside_a_block_that_is_computed_again_is_not_counted_as_the_blocks() -> None:
    tried = []

    def block(x: Tensor) -> Tensor:
        if not tried:
            tried.append(attention_xformers.refusal_of(x, CONTEXT))
        return x.square()

    x = torch.ones(3, requires_grad=True)
    recomputed(block, x, when=True).sum().backward()
    assert tried == [None]
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2, 2]


def test_a_wrong_kernel_requested_by_name_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        attention_xformers, "reasons_against", lambda *_: ["its output is wrong by 2.0e+00"]
    )
    q, layout = torch.randn(3, 2, 4), SequenceLayout.build([2, 1])
    with pytest.raises(UnavailableError) as caught:
        XformersAttention(CONTEXT, AttentionOptions()).packed(q, q, q, layout)
    assert str(caught.value) == (
        "attention 'xformers' cannot run on this machine:\n"
        "  - its output is wrong by 2.0e+00\n"
        "Use 'auto' to let the machine decide, or 'sdpa', which runs everywhere."
    )


def test_sinks_are_refused_when_the_kernel_is_built_with_every_other_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_xformers, "reasons_against_xformers", lambda: ["no CUDA"])
    with pytest.raises(UnavailableError) as caught:
        XformersAttention(replace(CONTEXT, sinks=2), AttentionOptions())
    assert str(caught.value) == (
        "attention 'xformers' cannot run on this machine:\n"
        "  - xformers has no kernel for attention sinks\n"
        "  - no CUDA\n"
        "Use 'auto' to let the machine decide, or 'sdpa', which runs everywhere."
    )


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize(("kv_heads", "window", "sinks"), [(4, None, 0), (2, 3, 0), (1, 2, 2)])
def test_the_filled_slots_are_what_torch_reads_at_every_length_and_after_resets(
    kv_heads: int, window: int | None, sinks: int
) -> None:
    context = replace(CONTEXT, heads=4, kv_heads=kv_heads, window=window, sinks=sinks)
    ring = RingCache(context)
    slots, like = FilledSlots(ring, context), torch.zeros((), dtype=torch.float64)
    generator, mine, torchs = torch.Generator().manual_seed(0), ring.new(3, like), ring.new(3, like)
    for _ in range(20):
        ended = torch.rand(3, generator=generator) < 0.15
        q, k, v = (
            torch.randn(3, heads, 4, generator=generator, dtype=torch.float64)
            for heads in (4, kv_heads, kv_heads)
        )
        y, mine = slots.attend(q, k, v, ring.reset(mine, ended))
        wanted, torchs = ring.attend(q, k, v, ring.reset(torchs, ended))
        torch.testing.assert_close(y, wanted, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("on_the_cpu")
def test_one_mask_serves_every_step_and_lengths_are_written_in_place() -> None:
    context = replace(CONTEXT, capacity=3)
    ring = RingCache(context)
    slots, cache = FilledSlots(ring, context), ring.new(2, torch.zeros(()))
    kept = cast(Tensor, cache["key"]).data_ptr()
    masks = set()
    for t in range(5):
        with torch.inference_mode(t % 2 == 0):  # Agents act in inference mode, laws do not.
            slots.attend(*[torch.randn(2, 2, 4)] * 3, ring.reset(cache, torch.tensor([False, t == 3])))
        (mask,) = slots._masks.values()
        masks.add((id(mask), mask.k_seqinfo.seqlen.data_ptr()))
    assert len(masks) == 1
    assert mask.k_seqinfo.seqlen.tolist() == [3, 3, 2, 2]  # Of each environment, one per head.
    assert cast(Tensor, cache["key"]).data_ptr() == kept


@pytest.mark.usefixtures("quiet")
def test_the_mask_of_acting_shows_a_query_its_own_slots_and_no_others() -> None:
    pytest.importorskip("xformers.ops", exc_type=ImportError)
    mask = padded_keys_bias(sequences=3, slots=4, device=torch.device("cpu"))
    mask.k_seqinfo.seqlen_py[:] = [1, 4, 2]  # The host's copy, which only this method reads.
    seen = mask.materialize((3, 12)) == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0],
    ]


@pytest.mark.usefixtures("on_the_cpu")
def test_a_step_is_trusted_once_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention_xformers.step_refusal_of(torch.zeros(1), replace(CONTEXT, sinks=2)) is None

    def reads_every_slot(q: Tensor, k: Tensor, v: Tensor, bias: Any) -> Tensor:
        bias.k_seqinfo.seqlen.fill_(CONTEXT.capacity)
        return masked(q, k, v, bias)

    monkeypatch.setattr(attention_xformers, "_attend", reads_every_slot)
    reason = attention_xformers.step_refusal_of(torch.zeros(1), CONTEXT)
    assert reason is not None
    assert reason.partition(" by ")[0] == "its step is wrong"


def test_the_cpu_acts_with_torchs_operators() -> None:
    ring = RingCache(CONTEXT)
    assert not FilledSlots(ring, CONTEXT).takes(torch.zeros(1))


@pytest.mark.parametrize(
    ("against_xformers", "against_varlen", "chosen"),
    [
        ([], [], XformersAttention),
        (["wrong"], [], VarlenAttention),
        (["wrong"], ["wrong too"], SDPAttention),
    ],
)
def test_auto_takes_the_first_kernel_with_nothing_against_it(
    against_xformers: list[str],
    against_varlen: list[str],
    chosen: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_xformers, "reasons_against", lambda *_: against_xformers)
    monkeypatch.setattr(varlen, "reasons_against", lambda *_: against_varlen)
    kernel = AutoAttention(CONTEXT, AttentionOptions())
    assert type(kernel._on_cuda(torch.zeros(1))) is chosen


def test_auto_tries_once_for_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(attention_xformers, "reasons_against", lambda like, _: tried.append(like.dtype))
    kernel = AutoAttention(CONTEXT, AttentionOptions())
    for dtype in (torch.float32, torch.bfloat16, torch.float32, torch.bfloat16):
        kernel._on_cuda(torch.zeros(1, dtype=dtype))
    assert tried == [torch.float32, torch.bfloat16]


def test_auto_leaves_sinks_to_torchs_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_xformers, "reasons_against_xformers", list)
    kernel = AutoAttention(replace(CONTEXT, sinks=1), AttentionOptions())
    assert type(kernel._on_cuda(torch.zeros(1, dtype=torch.bfloat16))) is SDPAttention
