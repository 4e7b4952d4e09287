"""Environment laws, with the most different options."""

from __future__ import annotations

import pytest
from atari_plays import COMPONENT

from amago_registry.testing import ENVIRONMENT_LAWS, Law, with_options

VARIANTS = {
    "one game": {"games": ["pong"], "size": 20},
    "several games in colour": {"games": ["pong", "mr_do"], "size": 12, "grayscale": False},
    "one life without chance": {
        "games": ["breakout"],
        "size": 12,
        "frame_skip": 1,
        "sticky": 0.0,
        "life_loss_terminates": True,
        "clip_rewards": True,
    },
}


@pytest.mark.parametrize("law", ENVIRONMENT_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_it_obeys(options: dict[str, object], law: Law) -> None:
    law(with_options(COMPONENT, max_frames=120, **options))
