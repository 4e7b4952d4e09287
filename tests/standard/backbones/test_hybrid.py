"""Hybrid backbone: defaults, refused options, and its formula."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from amago_registry import BackboneContext, SequenceLayout
from amago_registry.testing import BACKBONE_LAWS, Law, with_options
from amago_standard.backbones import Hybrid, MLPBackbone
from amago_standard.backbones.options import HybridOptions
from amago_standard.hooks import amago_register_backbones

CONTEXT = BackboneContext(in_dim=3, context_length=5, build=lambda part, context: part.build(context))
BACKBONES = {component.name: component for component in amago_register_backbones()}
HYBRID = BACKBONES["hybrid"]
VARIANTS = {
    "recurrence, then a window": ["mingru", {"use": "transformer", "window": 3, "heads": 2}],
    "a hybrid in a hybrid": [{"use": "hybrid", "blocks": ["gru", "mlp"]}, {"use": "mlp", "width": 6}],
    "another plugin's": ["memory-zoo/traces", {"use": "transformer", "heads": 2, "layers": 2}],
}


def options(*blocks: object, width: int = 8) -> HybridOptions:
    return HybridOptions.model_validate({"width": width, "blocks": list(blocks)})


@pytest.mark.parametrize("law", BACKBONE_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("blocks", VARIANTS.values(), ids=VARIANTS)
def test_any_backbones_in_a_row_obey(blocks: list[object], law: Law) -> None:
    law(with_options(HYBRID, width=8, blocks=blocks))


def test_a_block_is_one_layer_as_wide_as_the_hybrid_where_it_does_not_say_otherwise() -> None:
    first, second = options("mingru", {"use": "gru", "layers": 4, "width": 6}).blocks
    assert (first.options.layers, first.options.width) == (1, 8)
    assert (second.options.layers, second.options.width) == (4, 6)


def test_what_only_fits_the_hybrids_width_is_accepted() -> None:
    (block,) = options({"use": "transformer", "heads": 3}, width=12).blocks
    assert (block.options.width, block.options.heads) == (12, 3)


def test_a_hybrid_inside_passes_its_width_on() -> None:
    (inner,) = options({"use": "hybrid", "blocks": ["gru"]}).blocks
    assert inner.options.width == inner.options.blocks[0].options.width == 8


def test_what_was_filled_in_is_stored_and_read_again() -> None:
    written = options("mingru", {"use": "transformer", "heads": 2, "attention": "sdpa"})
    stored = written.model_dump()
    assert stored["blocks"][0]["layers"] == 1
    assert stored["blocks"][1]["attention"] == {"use": "standard/sdpa"}
    assert HybridOptions.model_validate(stored) == written


def test_what_does_not_fit_the_width_that_was_filled_in_is_refused_at_its_block() -> None:
    with pytest.raises(ValidationError) as caught:
        options("mingru", "transformer", width=12)
    (error,) = caught.value.errors()
    assert error["loc"] == ("blocks", 1)
    assert error["msg"] == (
        "a transformer of width 12 cannot have 8 heads: the width must be a multiple of the heads"
    )


def test_it_needs_a_block() -> None:
    with pytest.raises(ValidationError) as caught:
        options()
    (error,) = caught.value.errors()
    assert error["msg"] == "names no backbone; write at least one, such as [mingru]"


def test_a_block_that_does_not_exist_is_one_problem() -> None:
    with pytest.raises(ValidationError) as caught:
        options("mingro")
    (error,) = caught.value.errors()
    assert error["loc"] == ("blocks", 0)
    assert "no backbone is called 'mingro'. Did you mean 'mingru'?" in error["msg"]


def test_it_adds_what_each_block_makes_of_the_normed_stream() -> None:
    torch.manual_seed(0)
    model = Hybrid(CONTEXT, options("mlp", {"use": "mingru", "width": 5})).double().eval()
    layout = SequenceLayout.build([4, 2])
    x_ND = torch.randn(6, 3, dtype=torch.float64)
    y_NE = model.embed(x_ND)
    for block in model.blocks:
        y_NE = y_NE + block.out(block.backbone(block.norm(y_NE), layout))
    torch.testing.assert_close(model(x_ND, layout), model.norm(y_NE))
    assert [block.backbone.out_dim for block in model.blocks] == [8, 5]


def test_a_hybrids_state_is_constant_only_if_that_of_every_block_is() -> None:
    assert Hybrid(CONTEXT, options("mingru", "minlstm")).constant_state
    assert not Hybrid(CONTEXT, options("mingru", {"use": "transformer", "heads": 2})).constant_state


def test_it_is_for_torch_compile_only_where_every_block_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Hybrid(CONTEXT, options("mingru", "mlp")).compiles
    monkeypatch.setattr(MLPBackbone, "compiles", False, raising=False)
    assert not Hybrid(CONTEXT, options("mingru", "mlp")).compiles


@pytest.mark.parametrize("name", BACKBONES)
def test_residual_stream_and_output_stay_in_single_precision_under_autocast(
    name: str,
) -> None:
    model = BACKBONES[name].load()(CONTEXT, BACKBONES[name].options()).eval()
    layout = SequenceLayout.build([3, 1])
    x_ND = torch.randn(4, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y_NE = model(x_ND, layout)
        stepped_BE, _ = model.step(x_ND[:2], torch.zeros(2), model.initial_state(2))
    assert y_NE.dtype == stepped_BE.dtype == torch.float32
    assert (y_NE - model(x_ND, layout)).abs().max() < 0.2
