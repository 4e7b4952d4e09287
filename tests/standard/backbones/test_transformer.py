"""The Transformer, each variant against its formula, computed one timestep and one head at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, leaky_relu, relu, silu

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import Transformer
from amago_standard.backbones.options import TransformerOptions
from amago_standard.layers.norms import RMSNorm
from amago_standard.layers.positions import SinusoidalPositions
from amago_standard.layers.sigma import SigmaLinear

CONTEXT = BackboneContext(in_dim=3, context_length=5, build=lambda part, context: part.build(context))
SMALL = {"layers": 2, "width": 16, "heads": 4, "expansion": 2}
LENGTHS = (4, 1, 6)
TIME = torch.tensor([0, 1, 2, 3, 70, 5, 6, 7, 8, 9, 10])
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky-relu": leaky_relu,
    "relu": relu,
    "gelu": gelu,
    "silu": silu,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "the default": {},
    "attention by its formula": {"attention": "reference"},
    "plain linear layers": {"reparametrize": False},
    "no extra norms": {"normformer": False},
    "no head scale": {"head_scale": False},
    **{f"the activation {name}": {"activation": name} for name in ACTIVATIONS},
    "norms of the root mean square": {"norm": "rms"},
    "learned positions": {"positions": "learned"},
    "learned positions in a table of two": {"positions": "learned", "position_rows": 2},
    "rotary positions": {"positions": "rotary"},
    "no positions": {"positions": "none"},
    "a window": {"window": 2},
    "a window and a sink": {"window": 2, "sinks": 1},
    "half as many key heads": {"kv_heads": 2},
    "one key head": {"kv_heads": 1},
    "all at once": {
        "reparametrize": False,
        "normformer": False,
        "head_scale": False,
        "activation": "silu",
        "norm": "rms",
        "positions": "rotary",
        "window": 3,
        "sinks": 1,
        "kv_heads": 2,
    },
}


def built(**variant: Any) -> Transformer:
    """Return a small Transformer whose every parameter is off its initial value, to hide no mistake."""
    torch.manual_seed(0)
    model = Transformer(CONTEXT, TransformerOptions.model_validate({**SMALL, **variant}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    for layer in model.modules():
        for _ in range(
            5 if isinstance(layer, SigmaLinear) else 0
        ):  # Its estimate is of the old weight.
            layer(torch.zeros(layer.weight.shape[1]))
            layer.commit()
    return model.double().eval()


def stream(layout: SequenceLayout) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(layout.timesteps, 3, generator=generator, dtype=torch.float64)


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    match norm:
        case nn.LayerNorm():
            return layer_norm(x, x.shape, norm.weight, norm.bias)
        case RMSNorm():
            return x / (x.square().mean() + 1e-5).sqrt() * norm.weight
    return x


def applied(x: Tensor, layer: nn.Module) -> Tensor:
    if isinstance(layer, SigmaLinear):
        sigma = layer.left_E @ layer.weight @ layer.right_D
        return layer.gamma / sigma * layer.weight @ x + layer.bias
    return layer.weight @ x + layer.bias


def rotated(x: Tensor, time: int) -> Tensor:
    """Turn the planes of four features, (0, 2) and (1, 3), by ``time`` and ``time / 100`` radians."""
    y = x.clone()
    for plane, angle in enumerate((time, time * torch.tensor(0.01).item())):
        cos, sin = math.cos(angle), math.sin(angle)
        y[plane] = cos * x[plane] - sin * x[plane + 2]
        y[plane + 2] = sin * x[plane] + cos * x[plane + 2]
    return y


def attended(qkv: list[Tensor], times: list[int], t: int, head: int, has: TransformerOptions) -> Tensor:
    """Return what one head of four features reads at row t."""
    kv_heads = has.kv_heads or has.heads
    shared = head // (has.heads // kv_heads)
    q, k, v = (
        slice(4 * place, 4 * place + 4)
        for place in (head, has.heads + shared, has.heads + kv_heads + shared)
    )
    turn = rotated if has.positions == "rotary" else lambda x, time: x
    seen = [s for s in range(t + 1) if s < has.sinks or t - s < (has.window or math.inf)]
    query = turn(qkv[t][q], times[t])
    weight = torch.stack([(query @ turn(qkv[s][k], times[s]) / 2.0).exp() for s in seen])
    return sum(w * qkv[s][v] for w, s in zip(weight / weight.sum(), seen, strict=True))


def positioned(model: Transformer, row: Tensor, time: int, has: TransformerOptions) -> Tensor:
    if has.positions == "sinusoidal":
        return row + SinusoidalPositions(16)(torch.tensor([time]))[0]
    if has.positions == "learned":
        table = model.positions.table.weight
        return row + table[min(time, (has.position_rows or 6) - 1)]
    return row


def slow_transformer(
    model: Transformer, xs: list[Tensor], times: list[int], has: TransformerOptions
) -> list[Tensor]:
    """Return the representations of one sequence."""
    rows = [positioned(model, model.embed(x), time, has) for x, time in zip(xs, times, strict=True)]
    for block in model.blocks:
        qkv = [applied(normed(row, block.norm_attention_in), block.qkv) for row in rows]
        after = []
        for t, row in enumerate(rows):
            heads = [
                attended(qkv, times, t, head, has) * (block.head_scale[head] if has.head_scale else 1)
                for head in range(has.heads)
            ]
            middle = row + normed(applied(torch.cat(heads), block.out), block.norm_attention_out)
            hidden = applied(normed(middle, block.norm_forward_in), block.up)
            hidden = normed(ACTIVATIONS[has.activation](hidden), block.norm_forward_hidden)
            after.append(middle + applied(hidden, block.down))
        rows = after
    return [normed(row, model.norm) for row in rows]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_and_its_gradients_match_the_formula(variant: dict[str, Any]) -> None:
    model, has = built(**variant), TransformerOptions.model_validate({**SMALL, **variant})
    layout = SequenceLayout.build(LENGTHS, TIME)
    x = stream(layout)
    expected = torch.stack(
        [
            row
            for xs, times in zip(x.split(LENGTHS), TIME.split(LENGTHS), strict=True)
            for row in slow_transformer(model, list(xs), times.tolist(), has)
        ]
    )
    actual = model(x, layout)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    toward, weights = torch.randn_like(actual), list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(actual, weights, toward), torch.autograd.grad(expected, weights, toward)
    )


@pytest.mark.parametrize("off", ["normformer", "head_scale", "reparametrize"])
def test_a_disabled_layer_has_no_parameters(off: str) -> None:
    names = {
        "normformer": {"norm_attention_out", "norm_forward_hidden"},
        "head_scale": {"head_scale"},
        "reparametrize": {"gamma", "left_E", "right_D"},
    }[off]
    with_it, without = (
        {word for name in built(**variant).state_dict() for word in name.split(".")}
        for variant in ({}, {off: False})
    )
    assert names <= with_it
    assert with_it - without == names


def test_the_norm_that_is_named_is_the_only_one() -> None:
    kinds = {type(m) for m in built(norm="rms").modules() if type(m).__name__.endswith("Norm")}
    assert kinds == {RMSNorm}


def test_plain_layers_start_small_and_unbiased() -> None:
    options = TransformerOptions(layers=1, width=64, heads=4, reparametrize=False)
    block = Transformer(CONTEXT, options).blocks[0]
    for layer in (block.qkv, block.out, block.up, block.down):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("positions", "notices"),
    [("sinusoidal", True), ("learned", True), ("rotary", False), ("none", False)],
)
def test_only_positions_that_are_added_notice_when_a_sequence_lies_in_its_task(
    positions: str, notices: bool
) -> None:
    model = built(positions=positions)
    early, late = (SequenceLayout.build([4], torch.arange(4) + start) for start in (0, 100_000))
    x = stream(early)
    assert torch.allclose(model(x, early), model(x, late), rtol=1e-9, atol=1e-9) != notices


def test_a_rotary_model_notices_how_far_apart_timesteps_are() -> None:
    model = built(positions="rotary")
    near, far = (SequenceLayout.build([4], torch.arange(4) * step) for step in (1, 2))
    x = stream(near)
    assert not torch.allclose(model(x, near)[1:], model(x, far)[1:], rtol=1e-3)


@pytest.mark.parametrize("variant", [{}, VARIANTS["all at once"]], ids=["default", "all at once"])
def test_half_precision_rounds_products_and_nothing_else(variant: dict[str, Any]) -> None:
    model, layout = built(**variant).float(), SequenceLayout.build(LENGTHS, TIME)
    x = stream(layout).float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(x, layout)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, model(x, layout), rtol=0.1, atol=0.1)


def test_fewer_key_heads_shrink_the_acting_state_in_proportion() -> None:
    def numbers(kv_heads: int | None) -> int:
        state = built(kv_heads=kv_heads).initial_state(3)
        return sum(cache[name].numel() for cache in state.values() for name in ("key", "value"))

    assert numbers(None) == 2 * 2 * 16 * 3 * 6  # Layers, keys and values, width, environments, slots.
    assert numbers(1) == numbers(None) / 4


def test_dropout_falls_on_the_embedding_and_after_feed_forward_and_nowhere_else() -> None:
    model = built(dropout=0.25)
    dropped = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert dropped == {"dropout": 0.25, "blocks.0.dropout": 0.25, "blocks.1.dropout": 0.25}
    layout = SequenceLayout.build([5])
    x = stream(layout)
    for place in dropped:
        model.train(False).get_submodule(place).train()
        model.get_submodule(place.rpartition(".")[0]).training = True
        assert not torch.equal(model(x, layout), model(x, layout))
    assert torch.equal(model.eval()(x, layout), model.eval()(x, layout))


@pytest.mark.parametrize("variant", [{}, VARIANTS["all at once"]], ids=["default", "all at once"])
def test_computing_blocks_again_changes_no_bit_of_gradients_and_proposals(
    variant: dict[str, Any],
) -> None:
    layout = SequenceLayout.build(LENGTHS, TIME)
    after = []
    for checkpoint in (False, True):
        model = built(checkpoint=checkpoint, dropout=0.3, **variant).train()
        torch.manual_seed(1)
        model(stream(layout), layout).square().sum().backward()
        for layer in model.modules():
            if isinstance(layer, SigmaLinear):
                layer.commit()
        after.append((model.state_dict(), [parameter.grad for parameter in model.parameters()]))
    (state, gradients), (state_again, gradients_again) = after
    assert all(torch.equal(state[name], state_again[name]) for name in state)
    assert all(torch.equal(*pair) for pair in zip(gradients, gradients_again, strict=True))


@pytest.mark.parametrize(
    ("checkpoint", "training", "times"), [(True, True, 2), (True, False, 1), (False, True, 1)]
)
def test_blocks_are_computed_again_for_training_alone_and_only_if_asked(
    checkpoint: bool, training: bool, times: int
) -> None:
    model, layout, calls = built(checkpoint=checkpoint), SequenceLayout.build([3]), []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    model.train(training)(stream(layout), layout).sum().backward()
    assert len(calls) == 2 * times


MISFITS = {
    "a transformer of width 10 cannot have 4 heads: the width must be a multiple of the heads": {
        "width": 10,
        "heads": 4,
    },
    "positions: rotary turns features in pairs, and 2 heads of a width of 10 have 5 each: "
    "choose heads that leave an even number, or other positions": {
        "width": 10,
        "heads": 2,
        "positions": "rotary",
    },
    "8 heads cannot share 3 key and value heads: kv_heads must be one of 1, 2, 4, 8": {"kv_heads": 3},
    "position_rows is the size of a learned table, and positions is sinusoidal: "
    "write positions: learned, or leave position_rows out": {"position_rows": 9},
    "8 heads cannot share 16 key and value heads: kv_heads must be one of 1, 2, 4, 8; "
    "position_rows is the size of a learned table, and positions is none: "
    "write positions: learned, or leave position_rows out": {
        "kv_heads": 16,
        "position_rows": 9,
        "positions": "none",
    },
}


@pytest.mark.parametrize(("message", "options"), MISFITS.items(), ids=range(len(MISFITS)))
def test_options_that_do_not_fit_are_refused_all_at_once(message: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        TransformerOptions.model_validate(options)
    assert [error["msg"] for error in caught.value.errors()] == [message]
