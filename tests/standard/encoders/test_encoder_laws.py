"""The laws of encoders, for all of them with their defaults and with the options that change most."""

from __future__ import annotations

import pytest

from amago_registry import Component
from amago_registry.testing import ENCODER_LAWS, Law, with_options
from amago_standard.hooks import amago_register_encoders

ENCODERS = {component.name: component for component in amago_register_encoders()}
VARIANTS = ENCODERS | {
    "mlp without normaliser": with_options(ENCODERS["mlp"], normalize=False),
    "mlp that sees observations alone": with_options(
        ENCODERS["mlp"], hide_reward=True, hide_action=True
    ),
    "grid-cnn in chunks with shifts": with_options(ENCODERS["grid-cnn"], chunk=2, shift=3),
    "grid-cnn without normaliser": with_options(ENCODERS["grid-cnn"], normalize=False),
    "goals within goals": with_options(
        ENCODERS["goal-mlp"], goal_keys=["place"], inner={"use": "goal-rnn", "inner": "mlp"}
    ),
}


@pytest.mark.parametrize("law", ENCODER_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", VARIANTS.values(), ids=VARIANTS)
def test_encoder_obeys(component: Component, law: Law) -> None:
    law(component)
