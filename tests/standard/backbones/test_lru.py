"""The linear recurrent unit, against its formula in complex numbers, one timestep at a time."""

from __future__ import annotations

import math

import torch
from formulas import check_formula
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import gelu

from amago_registry import BackboneContext
from amago_standard.backbones import LRU
from amago_standard.backbones.lru import LinearRecurrentUnit
from amago_standard.backbones.options import LRUOptions


def built() -> LinearRecurrentUnit:
    """Return a mixer whose every parameter has moved off its initial value."""
    torch.manual_seed(0)
    mixer = LinearRecurrentUnit(width=4, state=3, horizon=9)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer.double()


def slow(mixer: LinearRecurrentUnit, xs: list[Tensor]) -> list[Tensor]:
    """Return the outputs of one sequence."""
    decay = torch.exp(torch.complex(-mixer.nu.exp(), mixer.theta.exp()))
    real, imaginary = mixer.write.weight.view(3, 2, 4).unbind(1)
    write = torch.complex(real, imaginary)
    real, imaginary = mixer.read.weight.view(4, 3, 2).unbind(2)
    read = torch.complex(real, -imaginary)
    hidden, outputs = torch.zeros(3, dtype=torch.complex128), []
    for x in xs:
        hidden = decay * hidden + mixer.log_gamma.exp() * (write @ x.to(torch.complex128))
        value, gate = mixer.out(gelu((read @ hidden).real + mixer.skip * x)).chunk(2)
        outputs.append(value * gate.sigmoid())
    return outputs


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_it_is_its_formula_and_so_are_its_gradients(lengths: list[int]) -> None:
    check_formula(built(), slow, lengths, width=4)


def test_numbers_last_from_one_step_to_the_horizon_at_first_and_turn_slowly() -> None:
    torch.manual_seed(0)
    mixer = LinearRecurrentUnit(width=1, state=1000, horizon=50)
    decay_S = mixer._decay()
    steps_S = -1 / decay_S.abs().log()
    assert 1 <= steps_S.min() < 2
    assert 49 < steps_S.max() < 50.01
    assert 24 < steps_S.mean() < 27
    turn_S = decay_S.angle()
    assert 0 < turn_S.min() < 0.01
    assert 0.30 < turn_S.max() < math.pi / 10 + 1e-6


def test_what_noise_leaves_behind_is_of_one_size_however_long_it_lasts() -> None:
    mixer = LinearRecurrentUnit(width=1, state=100, horizon=1000)
    # The variance of a sum of independent numbers, each faded by one step more.
    variance_S = mixer.log_gamma.exp().square() / (1 - mixer._decay().abs().double().square())
    torch.testing.assert_close(variance_S.float(), torch.ones(100), rtol=1e-3, atol=0)


def test_a_magnitude_stays_below_one_whatever_is_learned() -> None:
    mixer = LinearRecurrentUnit(width=1, state=3, horizon=10)
    with torch.no_grad():
        mixer.nu.copy_(torch.tensor([-5.0, 0.0, 50.0]))
    assert (mixer._decay().abs() < 1).all()


def test_nothing_that_is_saved_is_complex() -> None:
    context = BackboneContext(
        in_dim=2, context_length=5, build=lambda part, context: part.build(context)
    )
    model = LRU(context, LRUOptions(layers=1, width=4, state_dim=3))
    assert not any(tensor.is_complex() for tensor in model.state_dict().values())
    _, state = model.step(torch.randn(6, 2), torch.zeros(6), model.initial_state(6))
    hidden = state["0"]["hidden"]  # type: ignore[index, call-overload]
    assert (hidden.dtype, tuple(hidden.shape)) == (torch.float32, (6, 3, 2))
