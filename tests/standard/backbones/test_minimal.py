"""minGRU and minLSTM, against their formulas, one timestep at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import MinGRU, MinLSTM
from amago_standard.backbones.minimal import MinimalCell
from amago_standard.backbones.options import MinGRUOptions, MinLSTMOptions
from amago_standard.backbones.stack import Stack

CONTEXT = BackboneContext(in_dim=3, context_length=5, build=lambda part, context: part.build(context))
MODELS = {
    "mingru": lambda **values: MinGRU(CONTEXT, MinGRUOptions(layers=2, width=4, **values)),
    "minlstm": lambda **values: MinLSTM(CONTEXT, MinLSTMOptions(layers=2, width=4, **values)),
}
every_model = pytest.mark.parametrize("name", MODELS)


def built(name: str, **values: int | bool) -> Stack:
    """Return a model whose every parameter has moved off its initial value."""
    torch.manual_seed(0)
    model = MODELS[name](**values)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.double()


def slow_cell(cell: MinimalCell, xs: list[Tensor]) -> list[Tensor]:
    hidden, outputs = torch.zeros(cell.width, dtype=torch.float64), []
    for x in xs:
        candidate, *gates = cell.project(x).split(cell.width)
        if len(gates) == 1:
            keep = gates[0].sigmoid()
            write = 1 - keep
        else:
            forget, enter = gates[0].sigmoid(), gates[1].sigmoid()
            keep, write = forget / (forget + enter), enter / (forget + enter)
        hidden = keep * hidden + write * candidate
        outputs.append(hidden)
    return outputs


def slow(model: Stack, xs: list[Tensor]) -> list[Tensor]:
    """Return the representations of one sequence."""
    rows = [model.embed(x) for x in xs]
    for block in model.blocks:
        remembered = slow_cell(block.mixer, [normed(row, block.norm) for row in rows])
        rows = [row + memory for row, memory in zip(rows, remembered, strict=True)]
        if block.feed_forward is not None:
            norm, up, _, down = block.feed_forward
            rows = [row + down(gelu(up(normed(row, norm)))) for row in rows]
    return [normed(row, model.norm) for row in rows]


def normed(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    return layer_norm(x, x.shape, norm.weight, norm.bias)


@every_model
@pytest.mark.parametrize("expansion", [0, 3])
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
def test_it_is_its_formula_and_so_are_its_gradients(
    name: str, expansion: int, lengths: list[int]
) -> None:
    model, layout = built(name, expansion=expansion), SequenceLayout.build(lengths)
    x_ND = torch.randn(layout.timesteps, 3, dtype=torch.float64)
    expected = torch.stack([row for part in x_ND.split(lengths) for row in slow(model, list(part))])
    actual = model(x_ND, layout)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    toward, weights = torch.randn_like(actual), list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(actual, weights, toward), torch.autograd.grad(expected, weights, toward)
    )


@every_model
def test_computing_blocks_again_changes_no_gradient(name: str) -> None:
    plain, again = built(name), built(name, checkpoint=True)
    layout = SequenceLayout.build([4, 9])
    x_ND = torch.randn(13, 3, dtype=torch.float64)
    calls = []
    for model in (plain, again):
        for block in model.blocks:
            block.register_forward_pre_hook(lambda *_: calls.append(1))
        model.train()(x_ND, layout).square().sum().backward()
        calls.append(0)
    assert calls == [1, 1, 0, 1, 1, 1, 1, 0]  # Two blocks; forward, then again in the backward pass.
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("gates", [1, 2])
def test_memories_last_from_one_step_to_the_horizon_at_first(gates: int) -> None:
    torch.manual_seed(0)
    cell = MinimalCell(1000, gates, horizon=50)
    torch.nn.init.zeros_(cell.project.weight)
    keep_E, _ = cell._recurrence(torch.zeros(1000))
    steps_E = 1 / (1 - keep_E)  # How long a memory lasts on average.
    assert 2 <= steps_E.min() < 4
    assert 48 < steps_E.max() <= 51
    assert 24 < steps_E.mean() < 29
