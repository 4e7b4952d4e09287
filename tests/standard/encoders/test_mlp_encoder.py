"""The encoder for vectors: the laws, and the order and form of what it reads."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from torch.nn.functional import leaky_relu

from amago_registry import Component, EncoderContext, UnsupportedSpaceError
from amago_registry.testing import ENCODER_LAWS, Law, with_options
from amago_standard.encoders import MLPEncoder
from amago_standard.encoders.options import MLPEncoderOptions
from amago_standard.hooks import amago_register_encoders

ENCODERS = {component.name: component for component in amago_register_encoders()}
VARIANTS = ENCODERS | {"without normaliser": with_options(ENCODERS["mlp"], normalize=False)}


@pytest.mark.parametrize("law", ENCODER_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", VARIANTS.values(), ids=VARIANTS)
def test_encoder_obeys(component: Component, law: Law) -> None:
    law(component)


def encoder(space: spaces.Dict, **options: object) -> MLPEncoder:
    context = EncoderContext(observation_space=space, action_space=spaces.Discrete(2))
    return MLPEncoder(context, MLPEncoderOptions(hidden_dims=(8,), out_dim=4, **options))


def test_it_reads_sorted_keys_then_the_previous_action_and_reward() -> None:
    space = spaces.Dict(
        {"z": spaces.Box(-9, 9, (2,)), "a": spaces.Discrete(3), "m": spaces.MultiBinary(1)}
    )
    module = encoder(space, normalize=False)
    obs = {
        "z": torch.tensor([[5.0, 6.0]]),
        "a": torch.tensor([2]),
        "m": torch.tensor([[1]], dtype=torch.int8),
    }
    flat = torch.tensor([[0.0, 0.0, 1.0, 1.0, 5.0, 6.0, 0.0, 1.0, -3.0]])
    expected = module.norm(leaky_relu(module.net(flat)))
    torch.testing.assert_close(module(obs, torch.tensor([[0.0, 1.0]]), torch.tensor([-3.0])), expected)


def test_inputs_are_normalised_by_what_was_seen_and_committed() -> None:
    module = encoder(spaces.Dict({"x": spaces.Box(-9, 9, (1,))}))
    seen = {"x": torch.tensor([[100.0], [300.0]])}
    module(seen, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0.0, 2.0]))
    assert module.normalizer is not None
    module.normalizer.commit()
    module.eval()
    flat = torch.tensor([[1.0, 1.0, -1.0, 3.0]])
    expected = module.norm(leaky_relu(module.net(flat)))
    now = module({"x": torch.tensor([[300.0]])}, torch.tensor([[1.0, 0.0]]), torch.tensor([4.0]))
    torch.testing.assert_close(now, expected)


def test_an_observation_it_cannot_take_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        encoder(spaces.Dict({"said": spaces.Text(5)}))
    assert str(caught.value) == (
        f"the encoder mlp cannot take the observation 'said' of space {spaces.Text(5)}; "
        "it takes Box, Discrete and MultiBinary, alone or in a Dict. "
        "`amago components encoder` lists other encoders."
    )
