"""The laws of environments on games of each kind, and those of encoders."""

from __future__ import annotations

import pytest
from minigrid_plays import COMPONENT, ENCODER

from amago_registry.testing import ENCODER_LAWS, ENVIRONMENT_LAWS, Law, with_options

ENVIRONMENTS = pytest.mark.parametrize("law", ENVIRONMENT_LAWS, ids=lambda law: law.__name__)
GAMES = (
    "BabyAI-GoToLocal-v0",
    "BabyAI-MiniBossLevel-v0",
    "BabyAI-PutNextLocalS5N3-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-Dynamic-Obstacles-5x5-v0",
    "MiniGrid-MemoryS7-v0",
)
VARIANTS = {
    "the whole grid": {"id": "MiniGrid-Fetch-5x5-N2-v0", "view": "whole"},
    "no mission": {"id": "MiniGrid-LavaGapS5-v0", "mission": False},
    "a view, a room and a limit of its own": {
        "id": "BabyAI-GoToObj-v0",
        "view_size": 5,
        "mission_words": 6,
        "time_limit": 40,
    },
}


@ENVIRONMENTS
@pytest.mark.parametrize("name", GAMES)
def test_a_game_obeys(name: str, law: Law) -> None:
    law(with_options(COMPONENT, id=name))


@ENVIRONMENTS
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_game_that_is_shown_otherwise_obeys(variant: str, law: Law) -> None:
    law(with_options(COMPONENT, **VARIANTS[variant]))


@pytest.mark.parametrize("law", ENCODER_LAWS, ids=lambda law: law.__name__)
def test_the_encoder_obeys(law: Law) -> None:
    small = {"use": "mlp", "hidden_dims": [8], "out_dim": 8}
    law(with_options(ENCODER, cell_dim=4, channels=[2, 3], image_dim=8, inner=small, out_dim=16))
