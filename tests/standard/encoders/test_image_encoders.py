"""Image encoders: inputs, their form, and refused spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_registry import EncoderContext, UnsupportedSpaceError
from amago_standard.encoders import GridCNN, ImpalaCNN, NatureCNN
from amago_standard.encoders.options import GridCNNOptions, ImpalaCNNOptions, NatureCNNOptions
from amago_standard.layers.normalizer import RunningNormalizer
from amago_standard.layers.symlog import symlog

MAP = spaces.Box(0, 255, (5, 6, 3), np.uint8)
VIEW = spaces.Box(-1.0, 1.0, (1, 7, 7))
PLACE = spaces.Box(-9, 9, (2,))


def context(
    space: spaces.Space[Any] | None = None, **observations: spaces.Space[Any]
) -> EncoderContext:
    action_space = space or spaces.Discrete(2)
    return EncoderContext(observation_space=spaces.Dict(observations), action_space=action_space)


def grid_cnn(asked: EncoderContext, **options: Any) -> GridCNN:
    sizes = {"channels": [4], "image_dim": 3, "vector_dim": 5, "hidden_dims": [6], "out_dim": 4}
    return GridCNN(asked, GridCNNOptions(**sizes | options))


def seen(rows: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "view": torch.randn(rows, 1, 7, 7, generator=generator),
        "map": torch.randint(0, 256, (rows, 5, 6, 3), generator=generator, dtype=torch.uint8),
        "place": torch.randn(rows, 2, generator=generator),
    }


def test_images_and_vectors_meet_in_the_fusing_perceptron() -> None:
    module = grid_cnn(context(view=VIEW, place=PLACE, map=MAP), normalize=False)
    action, reward = torch.tensor([[0.0, 1.0]] * 3), torch.tensor([5.0, -100.0, 0.0])
    obs = seen()
    vectors = torch.cat([obs["place"], action, symlog(reward)[:, None]], -1)
    parts = [module.images[0](obs["map"]), module.images[1](obs["view"]), module.vectors(vectors)]
    expected = module.norm(leaky_relu(module.net(leaky_relu(torch.cat(parts, -1)))))
    assert expected.shape == (3, 4)
    torch.testing.assert_close(module(obs, action, reward), expected)


@pytest.mark.parametrize(
    ("space", "squashed"), [(spaces.Box(-1, 1, (2,)), True), (spaces.MultiBinary(2), False)], ids=str
)
def test_only_continuous_actions_enter_as_their_symlog(space: spaces.Space, squashed: bool) -> None:
    module = grid_cnn(context(space, map=MAP), normalize=False, hide_reward=True)
    read: list[Tensor] = []
    assert module.vectors is not None
    module.vectors.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    module(seen(1), torch.tensor([[1.0, 0.0]]), torch.tensor([5.0]))
    expected = [[np.log(2), 0.0]] if squashed else [[1.0, 0.0]]
    torch.testing.assert_close(read[0], torch.tensor(expected, dtype=torch.float32))


def test_an_action_mask_is_one_more_vector() -> None:
    module = grid_cnn(context(map=MAP, action_mask=spaces.MultiBinary(2)))
    assert module.inputs.width == 2 + 2 + 1


def test_with_nothing_but_images_there_is_no_network_for_vectors() -> None:
    module = grid_cnn(context(map=MAP), hide_action=True, hide_reward=True)
    assert module.vectors is None
    assert module(seen(), torch.zeros(3, 2), torch.zeros(3)).shape == (3, 4)


def test_each_image_has_convolutions_of_its_own_and_any_key() -> None:
    module = grid_cnn(context(**{"eye.left": MAP, "eye.right": MAP}))
    left, right = (image.convolutions[0].weight for image in module.images)
    assert not torch.equal(left, right)
    obs = {"eye.left": seen()["map"], "eye.right": seen()["map"]}
    assert module(obs, torch.zeros(3, 2), torch.zeros(3)).shape == (3, 4)


def test_statistics_of_vectors_are_proposed_once_however_many_chunks_there_are() -> None:
    module = grid_cnn(context(map=MAP, place=PLACE), chunk=1)
    calls = []
    (normalizer,) = (part for part in module.modules() if isinstance(part, RunningNormalizer))
    normalizer.register_forward_hook(lambda *_: calls.append(1))
    module(seen(), torch.zeros(3, 2), torch.zeros(3))
    assert calls == [1]


def test_the_other_encoders_differ_in_their_convolutions_alone() -> None:
    image = spaces.Box(0, 255, (36, 40, 3), np.uint8)
    nature = NatureCNN(context(map=image), NatureCNNOptions())
    impala = ImpalaCNN(context(map=image), ImpalaCNNOptions(channels=[4]))
    widths = [
        [layer.out_channels for layer in module.modules() if isinstance(layer, nn.Conv2d)]
        for module in (nature, impala)
    ]
    assert widths == [[32, 64, 64], [4, 4, 4, 4, 4]]
    assert nature.images[0].linear.in_features == 64 * 1 * 1
    assert impala.images[0].linear.in_features == 4 * 18 * 20


def refusal(module: type[nn.Module], asked: EncoderContext, options: Any) -> str:
    with pytest.raises(UnsupportedSpaceError) as caught:
        module(asked, options)
    return str(caught.value)


def test_observations_without_an_image_are_refused() -> None:
    asked = context(place=PLACE, told=spaces.Discrete(3))
    assert refusal(GridCNN, asked, GridCNNOptions()) == (
        "the encoder grid-cnn finds no image among the observations (place (2,), told ()): an image is "
        "a Box with three axes, one of them for the channels. Use mlp for vectors."
    )


def test_a_shape_that_could_be_read_both_ways_needs_the_option() -> None:
    asked = context(view=spaces.Box(0, 1, (7, 9, 20)))
    assert refusal(GridCNN, asked, GridCNNOptions()) == (
        "the encoder grid-cnn cannot tell which axis of the image 'view' of shape (7, 9, 20) holds the "
        "channels. Set its image_axes to channels-first or channels-last."
    )
    for axes, channels in (("channels-first", 7), ("channels-last", 20)):
        module = grid_cnn(asked, image_axes=axes)
        assert module.images[0].convolutions[0].in_channels == channels


def test_an_image_that_is_too_small_is_refused_with_the_smallest_size() -> None:
    asked = context(view=spaces.Box(0, 255, (3, 84, 35), np.uint8))
    assert refusal(NatureCNN, asked, NatureCNNOptions()) == (
        "the image 'view' of 84 x 35 pixels is too small for the encoder nature-cnn, which needs at "
        "least 36 x 36. Use grid-cnn or impala-cnn, or, if the 3 channels are none, set image_axes."
    )
