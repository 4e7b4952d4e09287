"""Mamba, against its formula computed one timestep at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu, softplus

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import Mamba
from amago_standard.backbones.mamba import StateSpaceMixer
from amago_standard.backbones.options import MambaOptions

CONTEXT = BackboneContext(in_dim=3, context_length=50, build=lambda part, context: None)
OPTIONS = MambaOptions(layers=2, width=4, heads=2, state_dim=3)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def scrambled(module: nn.Module) -> nn.Module:
    """Move every parameter off its initial value, so that no zero or one hides a mistake."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.double().eval()


def stream(layout: SequenceLayout) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(layout.timesteps, 3, generator=generator, dtype=torch.float64)


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return layer_norm(x, x.shape, norm.weight, norm.bias)


def slow_mixer(mixer: StateSpaceMixer, xs: list[Tensor]) -> list[Tensor]:
    """Return what the mixer makes of one sequence; width 4, 2 heads of 4 features, 3 states each."""
    projected = [mixer.project(x) for x in xs]
    memory, outputs = [torch.zeros(4, 3).double()] * 2, []
    for t, row in enumerate(projected):
        convolved = mixer.convolution.bias.clone()
        for back in range(min(t + 1, 4)):
            convolved = convolved + mixer.convolution.weight[back] * projected[t - back][8:22]
        x, write, read = silu(convolved).split([8, 3, 3])
        heads = []
        for head in range(2):
            step = softplus(row[22 + head] + mixer.step_bias[head])
            decay = torch.exp(-step * torch.exp(mixer.log_rate[head]))
            own = x[4 * head : 4 * head + 4]
            memory[head] = decay * memory[head] + step * torch.outer(own, write)
            y = memory[head] @ read + mixer.skip[head] * own
            y = y * silu(row[4 * head : 4 * head + 4])
            heads.append(y / torch.sqrt((y * y).mean() + 1e-5) * mixer.norm_scale[head])
        outputs.append(mixer.out(torch.cat(heads)))
    return outputs


def slow_mamba(model: Mamba, xs: list[Tensor]) -> list[Tensor]:
    rows = [model.embed(x) for x in xs]
    for block in model.blocks:
        mixed = slow_mixer(block.mixer, [normed(row, block.norm) for row in rows])
        rows = [row + y for row, y in zip(rows, mixed, strict=True)]
    return [normed(row, model.norm) for row in rows]


@given(lengths=st.lists(st.integers(1, 35), min_size=1, max_size=3))
@settings(max_examples=8, deadline=None)
def test_mamba_is_always_its_formula_and_so_are_its_gradients(lengths: list[int]) -> None:
    model = scrambled(Mamba(CONTEXT, OPTIONS))
    assert isinstance(model, Mamba)
    layout = SequenceLayout.build(lengths)
    x = stream(layout).requires_grad_()
    actual = model(x, layout)
    expected = torch.stack([row for part in x.split(lengths) for row in slow_mamba(model, list(part))])
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    toward = torch.linspace(-1, 1, actual.numel(), dtype=torch.float64).view_as(actual)
    inputs = [x, *model.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(actual, inputs, toward),
        torch.autograd.grad(expected, inputs, toward),
        rtol=1e-8,
        atol=1e-9,
    )


def test_memories_last_from_one_step_to_four_contexts_from_the_first_update_on() -> None:
    for mixer in (block.mixer for block in Mamba(CONTEXT, MambaOptions(width=8, heads=4)).blocks):
        lasts = 1 / (softplus(mixer.step_bias) * mixer.log_rate.exp())
        torch.testing.assert_close(lasts, torch.tensor([200.0, 133 + 2 / 3, 67 + 1 / 3, 1.0]))


def test_a_single_head_remembers_for_the_whole_context() -> None:
    mixer = Mamba(CONTEXT, MambaOptions(layers=1, width=8, heads=1)).blocks[0].mixer
    lasts = 1 / (softplus(mixer.step_bias) * mixer.log_rate.exp())
    assert lasts.item() == pytest.approx(200)


def test_under_autocast_the_memory_is_carried_in_single_precision() -> None:
    model, layout = Mamba(CONTEXT, OPTIONS).train(), SequenceLayout.build([40])
    x = stream(layout).float()
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x, layout)
        state = model.step(x[:2], layout.time_N[:2], model.initial_state(2))[1]
    assert y.dtype == state["0"]["memory"].dtype == torch.float32
    y.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_checkpointing_changes_no_gradient() -> None:
    layout = SequenceLayout.build([40, 3])
    gradients = []
    for checkpoint in (False, True):
        options = OPTIONS.model_copy(update={"checkpoint": checkpoint})
        torch.manual_seed(0)
        model = scrambled(Mamba(CONTEXT, options)).train()
        model(stream(layout), layout).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_the_acting_state_has_the_documented_size() -> None:
    state = Mamba(CONTEXT, MambaOptions()).initial_state(1)
    assert [sum(x.numel() for x in layer.values()) for layer in state.values()] == [18_112] * 3
    assert "3 x\n    18,112 numbers, 217 kB per environment" in (Mamba.__doc__ or "")


def test_heads_that_do_not_fit_the_width_are_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        MambaOptions(width=10, heads=8)
    assert [error["msg"] for error in caught.value.errors()] == [
        "a mamba of width 10 cannot have 8 heads: twice the width, 20, must be a multiple of the heads"
    ]
