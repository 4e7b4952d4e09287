"""GRU and LSTM, against their formulas and torch's packed kernels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from torch.nn.utils.rnn import PackedSequence

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import GRU, LSTM
from amago_standard.backbones.options import GRUOptions, LSTMOptions
from amago_standard.backbones.recurrent import Recurrent, over_time

CONTEXT = BackboneContext(in_dim=3, context_length=50, build=lambda part, context: part.build(context))
MODELS = {
    "gru": lambda: GRU(CONTEXT, GRUOptions(layers=2, width=4)),
    "lstm": lambda: LSTM(CONTEXT, LSTMOptions(layers=2, width=4)),
}
NETWORKS = {"gru": nn.GRU, "lstm": nn.LSTM}
some_lengths = given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5))
every_model = pytest.mark.parametrize("name", MODELS)


def built(name: str) -> Recurrent:
    """Return a model whose every parameter has moved off its initial value."""
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.double()


def slow_gru(xs: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    w_in, w_state, b_in, b_state = weights
    hidden, outputs = torch.zeros(4, dtype=torch.float64), []
    for x in xs:
        from_x, from_state = (w_in @ x + b_in).chunk(3), (w_state @ hidden + b_state).chunk(3)
        reset, update = (torch.sigmoid(from_x[gate] + from_state[gate]) for gate in (0, 1))
        hidden = (1 - update) * torch.tanh(from_x[2] + reset * from_state[2]) + update * hidden
        outputs.append(hidden)
    return outputs


def slow_lstm(xs: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    w_in, w_state, b_in, b_state = weights
    hidden = memory = torch.zeros(4, dtype=torch.float64)
    outputs = []
    for x in xs:
        enter, forget, new, show = (w_in @ x + b_in + w_state @ hidden + b_state).chunk(4)
        memory = forget.sigmoid() * memory + enter.sigmoid() * new.tanh()
        hidden = show.sigmoid() * memory.tanh()
        outputs.append(hidden)
    return outputs


def slow(model: Recurrent, xs: list[Tensor]) -> list[Tensor]:
    """Return the representations of one sequence."""
    for weights in model.network.all_weights:
        xs = (slow_gru if isinstance(model, GRU) else slow_lstm)(xs, weights)
    return [layer_norm(x, x.shape, model.norm.weight, model.norm.bias) for x in xs]


@every_model
@some_lengths
@settings(max_examples=10, deadline=None)
def test_it_is_its_formula_and_so_are_its_gradients(name: str, lengths: list[int]) -> None:
    model, layout = built(name), SequenceLayout.build(lengths)
    x_ND = torch.randn(layout.timesteps, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([row for part in x_ND.split(lengths) for row in slow(model, list(part))])
    actual = model(x_ND, layout)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    toward, inputs = torch.randn_like(actual), [x_ND, *model.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(actual, inputs, toward), torch.autograd.grad(expected, inputs, toward)
    )


@pytest.mark.parametrize("name", NETWORKS)
@some_lengths
@settings(max_examples=10, deadline=None)
def test_stretch_after_stretch_is_always_torchs_packed_form(name: str, lengths: list[int]) -> None:
    torch.manual_seed(0)
    network, layout = NETWORKS[name](3, 4, 2), SequenceLayout.build(lengths)
    x_ND = torch.randn(layout.timesteps, 3)
    expected = network(PackedSequence(x_ND, layout.batch_sizes))[0].data
    torch.testing.assert_close(over_time(network, x_ND, layout.batch_sizes), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_is_never_in_half_precision(name: str) -> None:
    network, sizes = NETWORKS[name](3, 4), torch.tensor([2, 1, 1])
    x_ND = torch.randn(4, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        actual = over_time(network, x_ND, sizes)
    assert torch.equal(actual, over_time(network, x_ND.float(), sizes))


@every_model
def test_the_acting_state_is_a_dictionary_per_layer_with_environments_first(name: str) -> None:
    state = built(name).initial_state(5)
    kept = {"gru": ["hidden"], "lstm": ["hidden", "memory"]}[name]
    assert list(state) == ["0", "1"]
    for layer in state.values():
        assert isinstance(layer, dict)
        assert {key: tuple(value.shape) for key, value in layer.items()} == dict.fromkeys(kept, (5, 4))


def test_memories_of_an_lstm_last_from_one_step_to_the_context_length_at_first() -> None:
    torch.manual_seed(0)
    model = LSTM(CONTEXT, LSTMOptions(layers=2, width=1000))
    for _, _, bias, other_bias in model.lstm.all_weights:
        enter_E, forget_E = (bias + other_bias)[:2000].sigmoid().chunk(2)
        steps_E = 1 / (1 - forget_E)  # How long a memory lasts on average.
        assert 2 <= steps_E.min() < 4
        assert 48 < steps_E.max() <= 51
        assert 24 < steps_E.mean() < 29
        torch.testing.assert_close(enter_E, 1 - forget_E)
