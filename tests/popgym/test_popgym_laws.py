"""The laws of environments, on every one of them."""

from __future__ import annotations

import pytest
from popgym_plays import COMPONENT

from amago_popgym.ids import IDS
from amago_registry.testing import ENVIRONMENT_LAWS, Law, with_options

LAWS = pytest.mark.parametrize("law", ENVIRONMENT_LAWS, ids=lambda law: law.__name__)
MAZES = [name for name in IDS if name.startswith("Labyrinth")]


@LAWS
@pytest.mark.parametrize("name", [name for name in IDS if name not in MAZES])
def test_a_game_obeys(name: str, law: Law) -> None:
    law(with_options(COMPONENT, id=name))


@pytest.mark.slow
@LAWS
@pytest.mark.parametrize("name", MAZES)
def test_a_maze_obeys(name: str, law: Law) -> None:
    law(with_options(COMPONENT, id=name))


@LAWS
@pytest.mark.parametrize("name", ["AutoencodeEasy", "StatelessPendulumEasy"])
def test_a_game_that_shows_no_time_obeys(name: str, law: Law) -> None:
    law(with_options(COMPONENT, id=name, time_in_observation=False))
