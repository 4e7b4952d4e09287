"""Laws of encoders: each is broken by some part, and correct parts pass all."""

from __future__ import annotations

import broken_encoders
import pytest

from amago_registry import Component
from amago_registry.testing import ENCODER_LAWS

EVERY = {law.__name__ for law in ENCODER_LAWS}
BROKEN = {
    "RefusesEverything": EVERY,
    "LiesAboutItsWidth": {"it_is_as_wide_as_it_says"},
    "CountsInWords": {"it_is_as_wide_as_it_says"},
    "CentresOverRows": {"rows_are_independent"},
    "CentresImages": {"rows_are_independent"},
    "FreezesItself": {"gradients_reach_every_parameter"},
    "AdoptsAtOnce": {"only_a_commit_changes_what_is_saved"},
    "HidesAWeight": {"a_state_dict_restores_it"},
    "TiesItsWeights": {"safetensors_can_save_it"},
}
MESSAGES = {
    "RefusesEverything": "it supports none of the spaces of the laws. there is no sound. there is "
    "no sound. there is no sound.",
    "LiesAboutItsWidth": "1 rows give the shape (1, 3) instead of (1, 4).",
    "CountsInWords": "its out_dim is 3.0, not an integer.",
    "FreezesItself": "no gradient reaches net.weight, net.bias.",
    "AdoptsAtOnce": "a forward pass changed mean; propose statistics and adopt them in commit().",
}


def broken_by(name: str) -> dict[str, str]:
    """Return the message of each law that an encoder breaks."""
    component = Component(name, f"broken_encoders:{name}", broken_encoders.NoOptions, "for tests")
    messages = {}
    for law in ENCODER_LAWS:
        try:
            law(component)
        except AssertionError as error:
            messages[law.__name__] = str(error)
    return messages


@pytest.mark.parametrize("name", ["Linear", "ReadsGoalsAlone"])
def test_a_correct_encoder_passes_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_encoder_breaks_exactly_these_laws(name: str) -> None:
    assert broken_by(name).keys() == BROKEN[name]


def test_every_law_is_broken_by_an_encoder_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message_of_a_broken_law(name: str) -> None:
    assert set(broken_by(name).values()) == {f"{name}: {MESSAGES[name]}"}
