"""xformers: what it is told, and what is said where it cannot run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
import torch

from amago_registry import (
    AttentionContext,
    BackboneContext,
    SequenceLayout,
    UnavailableError,
)
from amago_standard.backbones import Transformer, attention_xformers
from amago_standard.backbones.attention import AutoAttention
from amago_standard.backbones.attention_xformers import (
    XformersAttention,
    block_causal_bias,
    reasons_against_xformers,
)
from amago_standard.backbones.options import AttentionOptions, TransformerOptions

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


@pytest.mark.skipif(torch.cuda.is_available(), reason="xformers can run where there is a CUDA device")
def test_a_machine_without_cuda_has_reasons_against_xformers() -> None:
    reasons = reasons_against_xformers()
    build = "has no CUDA in it" if torch.version.cuda is None else "finds no CUDA device"
    assert reasons[0] == f"the installed torch {torch.__version__} {build}"


def test_every_reason_is_told_and_what_to_write_instead(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_on_a_gpu_machine_an_agent_on_the_cpu_is_told_where_the_kernel_runs(
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
