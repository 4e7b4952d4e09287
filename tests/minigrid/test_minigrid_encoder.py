"""The encoder of grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from minigrid_plays import ENCODER, make

from amago_minigrid.grid_encoder import CellVectors, GridEncoder
from amago_registry import UnsupportedSpaceError
from amago_registry.contexts import EncoderContext

ACTIONS = spaces.Discrete(7)


def encoder(observations: dict[str, spaces.Space[Any]], **options: Any) -> GridEncoder:
    context = EncoderContext(observation_space=spaces.Dict(observations), action_space=ACTIONS)
    return GridEncoder(context, ENCODER.options(**options))


def refusal(observations: dict[str, spaces.Space[Any]], **options: Any) -> str:
    with pytest.raises(UnsupportedSpaceError) as raised:
        encoder(observations, **options)
    return str(raised.value)


def test_a_cell_is_the_sum_of_the_vectors_of_its_symbols() -> None:
    cells = CellVectors([3, 2], 1)
    with torch.no_grad():
        cells.vectors.weight.copy_(torch.tensor([[1.0], [2.0], [4.0], [10.0], [20.0]]))
    grid = torch.tensor([[0, 0], [1, 1], [2, 0]], dtype=torch.uint8).reshape(1, 3, 1, 2)
    assert cells(grid).flatten().tolist() == [11, 22, 14]


def test_a_symbol_outside_its_space_is_never_read_as_another_symbols() -> None:
    cells = CellVectors([3, 2], 4)
    outside, last = (
        torch.tensor(cell, dtype=torch.uint8).reshape(1, 1, 1, 2) for cell in ([9, 9], [2, 1])
    )
    assert torch.equal(cells(outside), cells(last))


def test_there_is_a_vector_for_every_symbol_of_a_game_and_no_more() -> None:
    observed = make("MiniGrid-Empty-5x5-v0").observation_space
    assert encoder(dict(observed.spaces)).cells.vectors.num_embeddings == 11 + 6 + 4


def test_the_place_of_a_cell_matters() -> None:
    made = encoder(dict(make("MiniGrid-Empty-5x5-v0", mission=False).observation_space.spaces))
    image = torch.zeros(2, 7, 7, 3, dtype=torch.uint8)
    image[0, 1, 2, 0] = image[1, 2, 1, 0] = 8
    obs = {"image": image, "direction": torch.zeros(2, dtype=torch.int64)}
    first, second = made.eval()(obs, torch.zeros(2, 7), torch.zeros(2))
    assert not torch.allclose(first, second)


def test_the_rest_is_read_too() -> None:
    made = encoder(dict(make("MiniGrid-Empty-5x5-v0", mission=False).observation_space.spaces))
    obs = {
        "image": torch.zeros(2, 7, 7, 3, dtype=torch.uint8),
        "direction": torch.tensor([0, 3]),
    }
    first, second = made.eval()(obs, torch.zeros(2, 7), torch.zeros(2))
    assert not torch.allclose(first, second)


def test_a_grid_that_is_not_observed_is_refused_with_what_is() -> None:
    observed = {"images": spaces.Box(0, 9, (7, 7, 3), np.uint8), "place": spaces.Box(0, 1, (2,))}
    assert refusal(observed) == (
        "the encoder minigrid takes its image_key for a grid: 'image' is not observed. "
        "Did you mean 'images'? The observations are images, place."
    )


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 1, (7, 7, 3), np.float32),
        spaces.Box(0, 9, (7, 7), np.uint8),
        spaces.Box(0, 999, (7, 7, 3), np.uint16),
        spaces.Discrete(7),
    ],
    ids=["numbers", "two axes", "many values", "one choice"],
)
def test_what_is_no_grid_of_symbols_is_refused(space: spaces.Space[Any]) -> None:
    assert refusal({"image": space}) == (
        f"the encoder minigrid cannot read 'image' of space {space} as a grid of symbols: it takes a "
        "Box of unsigned integers up to 255 with three axes, the last for the symbols of a cell. "
        "grid-cnn takes pixels."
    )
