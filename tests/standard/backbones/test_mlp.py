"""Backbones, against their formulas computed one timestep at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, leaky_relu

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import GRU, MLPBackbone, Transformer
from amago_standard.backbones.options import GRUOptions, MLPBackboneOptions, TransformerOptions
from amago_standard.layers.positions import sinusoidal_positions
from amago_standard.layers.sigma import SigmaLinear

CONTEXT = BackboneContext(in_dim=3, context_length=5, build=lambda part, context: part.build(context))
LENGTHS = (4, 1, 6)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def scrambled(module: nn.Module) -> nn.Module:
    """Move every parameter off its initial value, so that no zero or one hides a mistake."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    for layer in module.modules():
        for _ in range(
            5 if isinstance(layer, SigmaLinear) else 0
        ):  # Its estimate is of the old weight.
            layer(torch.zeros(layer.weight.shape[1]))
            layer.commit()
    return module.double().eval()


def stream(layout: SequenceLayout) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(layout.timesteps, 3, generator=generator, dtype=torch.float64)


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return layer_norm(x, x.shape, norm.weight, norm.bias)


def sigma_linear(x: Tensor, layer: SigmaLinear) -> Tensor:
    sigma = layer.left_E @ layer.weight @ layer.right_D
    return layer.gamma / sigma * layer.weight @ x + layer.bias


def slow_transformer(model: Transformer, xs: list[Tensor], times: list[int]) -> list[Tensor]:
    """Return the representations of one sequence; width 8, 2 heads of 4 features."""
    rows = [
        model.embed(x) + sinusoidal_positions(torch.tensor([time]), 8)[0]
        for x, time in zip(xs, times, strict=True)
    ]
    for block in model.blocks:
        qkv = [sigma_linear(normed(row, block.norm_attention_in), block.qkv) for row in rows]
        after = []
        for t, row in enumerate(rows):
            heads = []
            for head in range(2):
                q, k, v = (slice(8 * part + 4 * head, 8 * part + 4 * head + 4) for part in range(3))
                score = torch.stack([qkv[t][q] @ qkv[s][k] / 2.0 for s in range(t + 1)])
                weight = score.exp() / score.exp().sum()
                value = sum(weight[s] * qkv[s][v] for s in range(t + 1))
                heads.append(value * block.head_scale[head])
            attended = normed(sigma_linear(torch.cat(heads), block.out), block.norm_attention_out)
            middle = row + attended
            hidden = leaky_relu(sigma_linear(normed(middle, block.norm_forward_in), block.up))
            forward = sigma_linear(normed(hidden, block.norm_forward_hidden), block.down)
            after.append(middle + forward)
        rows = after
    return [normed(row, model.norm) for row in rows]


@pytest.mark.parametrize("attention", ["auto", "reference"])
def test_the_transformer_is_its_formula(attention: str) -> None:
    options = TransformerOptions.model_validate(
        {"layers": 2, "width": 8, "heads": 2, "attention": attention}
    )
    model = scrambled(Transformer(CONTEXT, options))
    assert isinstance(model, Transformer)
    time = torch.tensor([0, 1, 2, 3, 70, 5, 6, 7, 8, 9, 10])
    layout = SequenceLayout.build(LENGTHS, time)
    x, expected, start = stream(layout), [], 0
    for length in LENGTHS:
        rows = slice(start, start + length)
        expected += slow_transformer(model, list(x[rows]), time[rows].tolist())
        start += length
    torch.testing.assert_close(model(x, layout), torch.stack(expected), rtol=1e-9, atol=1e-9)


def slow_gru(model: GRU, xs: list[Tensor]) -> list[Tensor]:
    """Return the representations of one sequence; torch's gates are reset, update, new."""
    for layer in range(model.layers):
        w_in, w_state, b_in, b_state = model.gru.all_weights[layer]
        hidden, outputs = torch.zeros(model.out_dim).double(), []
        for x in xs:
            from_x, from_state = (w_in @ x + b_in).chunk(3), (w_state @ hidden + b_state).chunk(3)
            reset, update = (torch.sigmoid(from_x[gate] + from_state[gate]) for gate in (0, 1))
            new = torch.tanh(from_x[2] + reset * from_state[2])
            hidden = (1 - update) * new + update * hidden
            outputs.append(hidden)
        xs = outputs
    return [normed(x, model.norm) for x in xs]


def test_the_gru_is_its_formula() -> None:
    model = scrambled(GRU(CONTEXT, GRUOptions(layers=2, width=4)))
    assert isinstance(model, GRU)
    layout = SequenceLayout.build(LENGTHS)
    x = stream(layout)
    expected = [row for part in x.split(LENGTHS) for row in slow_gru(model, list(part))]
    torch.testing.assert_close(model(x, layout), torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_the_memory_free_backbone_maps_every_row_alike() -> None:
    model = scrambled(MLPBackbone(CONTEXT, MLPBackboneOptions(layers=2, width=4)))
    layout = SequenceLayout.build(LENGTHS)
    x = stream(layout)
    first, second, last = (layer for layer in model.net if isinstance(layer, nn.Linear))
    expected = [normed(last(leaky_relu(second(leaky_relu(first(row))))), model.norm) for row in x]
    torch.testing.assert_close(model(x, layout), torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_dropout_falls_on_the_embedding_and_after_feed_forward_and_nowhere_else() -> None:
    model = Transformer(CONTEXT, TransformerOptions(layers=2, width=8, heads=2, dropout=0.25))
    dropped = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert dropped == {"dropout": 0.25, "blocks.0.dropout": 0.25, "blocks.1.dropout": 0.25}
    x, layout = stream(SequenceLayout.build([5])).float(), SequenceLayout.build([5])
    assert not torch.equal(model.train()(x, layout), model.train()(x, layout))
    assert torch.equal(model.eval()(x, layout), model.eval()(x, layout))
