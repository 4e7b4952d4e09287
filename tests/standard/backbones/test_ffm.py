"""Fast and forgetful memory, against its formula in complex numbers, one timestep at a time."""

from __future__ import annotations

import math

import torch
from formulas import check_formula
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import layer_norm

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import FFM
from amago_standard.backbones.ffm import ForgetfulMemory
from amago_standard.backbones.options import FFMOptions


def built() -> ForgetfulMemory:
    """Return a mixer whose every parameter has moved off its initial value, one rate below 0."""
    torch.manual_seed(0)
    mixer = ForgetfulMemory(width=4, traces=3, contexts=2, horizon=9)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        mixer.alpha[0] = -0.2
    return mixer.double()


def slow(mixer: ForgetfulMemory, xs: list[Tensor]) -> list[Tensor]:
    """Return the outputs of one sequence."""
    hidden = [[torch.zeros((), dtype=torch.complex128) for _ in range(2)] for _ in range(3)]
    outputs = []
    for x in xs:
        value, opened, passed, gate = mixer.enter(x).split([3, 3, 4, 4])
        parts = []
        for trace in range(3):
            for context in range(2):
                rate = torch.complex(-mixer.alpha[trace].abs(), mixer.omega[context])
                written = value[trace] * opened[trace].sigmoid()
                hidden[trace][context] = rate.exp() * hidden[trace][context] + written
                parts += [hidden[trace][context].real, hidden[trace][context].imag]
        recalled = layer_norm(mixer.read(torch.stack(parts)), (4,))
        outputs.append(gate.sigmoid() * recalled + (1 - gate.sigmoid()) * passed)
    return outputs


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_it_is_its_formula_and_so_are_its_gradients(lengths: list[int]) -> None:
    check_formula(built(), slow, lengths, width=4)


def test_initial_traces_and_contexts_span_one_to_horizon_steps() -> None:
    mixer = ForgetfulMemory(width=1, traces=5, contexts=3, horizon=21).double()
    decay_MC = mixer._decay()
    left = [(decay_MC[trace, 0] ** steps).abs() for trace, steps in enumerate([21, 16, 11, 6, 1])]
    one_over_e = torch.full((5,), 1 / math.e).double()
    torch.testing.assert_close(torch.stack(left), one_over_e, rtol=1e-5, atol=0)
    turned = [(decay_MC[0, context] ** steps).angle() for context, steps in enumerate([21, 11, 1])]
    torch.testing.assert_close(torch.stack(turned), torch.zeros(3).double(), rtol=0, atol=1e-5)


def test_a_fast_rate_over_a_long_sequence_stays_exact() -> None:
    mixer, layout = built(), SequenceLayout.build([2000])
    with torch.no_grad():
        mixer.alpha.fill_(5.0)  # exp(5 * 2000) is more than any float holds.
    x_NE = torch.randn(2000, 4, dtype=torch.float64)
    expected = slow(mixer, list(x_NE[-20:]))[-1]  # Older timesteps are below rounding.
    torch.testing.assert_close(mixer(x_NE, layout)[-1], expected)


def test_the_state_is_real_and_two_numbers_per_trace_and_context() -> None:
    context = BackboneContext(
        in_dim=2, context_length=5, build=lambda part, context: part.build(context)
    )
    model = FFM(context, FFMOptions(layers=1, width=4, traces=3, contexts=2))
    _, state = model.step(torch.randn(6, 2), torch.zeros(6), model.initial_state(6))
    hidden = state["0"]["hidden"]  # type: ignore[index, call-overload]
    assert (hidden.dtype, tuple(hidden.shape)) == (torch.float32, (6, 3, 2, 2))
