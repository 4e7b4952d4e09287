"""MLP encoder: order and form of its inputs."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from torch.nn.functional import leaky_relu

from amago_registry import EncoderContext, UnsupportedSpaceError
from amago_standard.encoders import MLPEncoder
from amago_standard.encoders.options import MLPEncoderOptions


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
    module.normalizer.moments.commit()
    module.eval()
    flat = torch.tensor([[1.0, 1.0, -1.0, 3.0]])
    expected = module.norm(leaky_relu(module.net(flat)))
    now = module({"x": torch.tensor([[300.0]])}, torch.tensor([[1.0, 0.0]]), torch.tensor([4.0]))
    torch.testing.assert_close(now, expected)


def test_an_observation_it_cannot_take_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        encoder(spaces.Dict({"said": spaces.Text(5)}))
    assert str(caught.value) == (
        f"no encoder of amago-standard takes the observation 'said' of space {spaces.Text(5)}; "
        "they take Box, Discrete, MultiDiscrete and MultiBinary. "
        "`amago components encoder` lists other encoders."
    )


@pytest.mark.parametrize(
    ("hidden", "kept"),
    [
        ({"hide_reward": True}, [5.0, 0.0, 1.0]),
        ({"hide_action": True}, [5.0, -3.0]),
        ({"hide_reward": True, "hide_action": True}, [5.0]),
    ],
    ids=["reward", "action", "both"],
)
def test_what_is_hidden_is_not_read(hidden: dict[str, bool], kept: list[float]) -> None:
    module = encoder(spaces.Dict({"x": spaces.Box(-9, 9, (1,))}), normalize=False, **hidden)
    expected = module.norm(leaky_relu(module.net(torch.tensor([kept]))))
    obs = {"x": torch.tensor([[5.0]])}
    torch.testing.assert_close(module(obs, torch.tensor([[0.0, 1.0]]), torch.tensor([-3.0])), expected)


def test_an_encoder_with_nothing_to_read_is_refused() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        encoder(spaces.Dict({}), hide_reward=True, hide_action=True)
    assert str(caught.value) == (
        "the encoder mlp has nothing to read: there are no observations, and the previous action and "
        "reward are hidden. Set hide_action or hide_reward to false."
    )
