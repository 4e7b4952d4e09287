"""Gated DeltaNet, against its formula computed one timestep at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import silu, softplus

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import GatedDeltaNet
from amago_standard.backbones.deltanet import DeltaMixer
from amago_standard.backbones.options import GatedDeltaNetOptions

LENGTHS = (4, 1, 40)


def backbone(context_length: int = 100, **options: Any) -> GatedDeltaNet:
    torch.manual_seed(0)
    context = BackboneContext(
        in_dim=3, context_length=context_length, build=lambda part, context: part.build(context)
    )
    return GatedDeltaNet(context, GatedDeltaNetOptions(**options))


def scrambled(mixer: DeltaMixer) -> DeltaMixer:
    """Move every parameter off its initial value, so that no zero or one hides a mistake."""
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer.double()


def unit(x: Tensor) -> Tensor:
    return x / (x @ x + 1e-6).sqrt()


def slow_mixer(mixer: DeltaMixer, xs: Tensor) -> Tensor:
    """Return the rows of one sequence; width 6, 2 heads, keys of 3 features, values of 6."""
    rows = [mixer.project(x) for x in xs]
    memory, outputs = torch.zeros(2, 3, 6, dtype=torch.float64), []
    for t, row in enumerate(rows):
        taps = [mixer.convolution.weight[j] * rows[t - j][:24] for j in range(min(t + 1, 4))]
        mixed = silu(mixer.convolution.bias + torch.stack(taps).sum(0))
        gate, write, step = row[24:36], torch.sigmoid(row[36:38]), softplus(row[38:40] + mixer.shift)
        decay, answers = torch.exp(-torch.exp(mixer.rate) * step), []
        for head in range(2):
            q, k = (unit(mixed[start + 3 * head :][:3]) for start in (0, 6))
            v = mixed[12 + 6 * head :][:6]
            faded = decay[head] * memory[head]
            memory[head] = faded + write[head] * torch.outer(k, v - faded.T @ k)
            answer = memory[head].T @ q
            answers.append(mixer.norm.weight * answer / (answer.square().mean() + 1e-5).sqrt())
        outputs.append(mixer.out(torch.cat(answers) * silu(gate)))
    return torch.stack(outputs)


@torch.no_grad()
def test_the_mixer_is_its_formula() -> None:
    mixer = scrambled(backbone(width=6, heads=2, value_expansion=2, layers=1).blocks[0].mixer)
    x_NE = torch.randn(sum(LENGTHS), 6, dtype=torch.float64)
    expected = torch.cat([slow_mixer(mixer, xs) for xs in x_NE.split(LENGTHS)])
    actual = mixer(x_NE, SequenceLayout.build(LENGTHS))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("heads", "steps"), [(1, [100.0]), (4, [100.0, 50.0, 25.0, 12.5])])
def test_memories_last_up_to_the_context_from_the_start(heads: int, steps: list[float]) -> None:
    mixer = backbone(width=8, heads=heads).blocks[0].mixer
    log_decay_NH = mixer._projected(torch.zeros(1, 8)).log_decay_NH
    torch.testing.assert_close(-1 / log_decay_NH[0], torch.tensor(steps), rtol=1e-4, atol=0)


def test_the_acting_state_has_the_documented_size() -> None:
    state = backbone(width=32, heads=4, layers=2).initial_state(3)
    numbers = sum(x.numel() for layer in state.values() for x in layer.values())
    assert numbers == 3 * 2 * (32 * 32 // 4 + 9 * 32)


def test_under_autocast_the_memory_stays_in_single_precision() -> None:
    model, layout = backbone(width=32, layers=2), SequenceLayout.build([20])
    x_ND = torch.randn(20, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y_NE = model(x_ND, layout)
        _, state = model.step(x_ND, layout.time_N, model.initial_state(20))
    assert {x.dtype for layer in state.values() for x in layer.values()} == {torch.float32}
    torch.testing.assert_close(y_NE, model(x_ND, layout), rtol=0, atol=0.15)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError) as caught:
        GatedDeltaNetOptions(width=10)
    assert [error["msg"] for error in caught.value.errors()] == [
        "a gated-deltanet of width 10 cannot have 4 heads: the width must be a multiple of the heads"
    ]
