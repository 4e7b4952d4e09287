"""Laws of explorations: each is broken by some part, and correct parts pass all."""

from __future__ import annotations

import broken_explorations
import pytest

from amago_registry import Component
from amago_registry.testing import EXPLORATION_LAWS

EVERY = {law.__name__ for law in EXPLORATION_LAWS}
ACTS = "it_acts_in_every_run"
LEGAL = "actions_stay_in_the_space"
MASKED = "masked_actions_are_never_taken"
GIVEN = "what_it_is_given_stays_as_it_was"
RANDOM = "all_randomness_comes_from_the_generator"
ARRAYS = "its_state_is_made_of_arrays"
GOES_ON = "a_stored_state_goes_on_exactly"
STAYS = "a_stored_state_stays_as_it_was"
BROKEN = {
    "RefusesEverything": EVERY,
    "CannotBeStored": EVERY,
    "NeedsFive": {ACTS},
    "NeedsAHorizon": {ACTS},
    "TurnsNegativeWithTime": {ACTS},
    "TurnsNegativeWithSteps": {ACTS},
    "OvershootsInTheEnd": {LEGAL},
    "Overshoots": {LEGAL},
    "ChangesTheType": {LEGAL},
    "ReturnsLists": {LEGAL},
    "IgnoresTheMask": {MASKED},
    "WritesToTheAction": {GIVEN},
    "WritesToTheMask": {GIVEN},
    "DrawsGlobally": {RANDOM, GOES_ON},
    "DrawsFromNowhere": {RANDOM, GOES_ON},
    "SeedsGlobally": {RANDOM},
    "KeepsAList": {ARRAYS},
    "KeepsAnArray": {ARRAYS},
    "ForgetsWhoIsBold": {GOES_ON},
    "HasItsOwnGenerator": {GOES_ON},
    "HandsOutItsState": {STAYS},
    "KeepsWhatItLoads": {STAYS},
}
MESSAGES = {
    "RefusesEverything": "it supports none of the action spaces Discrete(4), Box(-1.0, 1.0, (3,), "
    "float32), MultiBinary(3), MultiDiscrete([3 2]), Discrete(300).",
    "NeedsFive": "in Discrete(4) with 1 environment, it raised IndexError: boolean index did not "
    "match indexed array along axis 0; size of axis is 1 but size of corresponding boolean axis is "
    "5.",
    "NeedsAHorizon": "in Discrete(4) without a horizon, it raised TypeError: unsupported operand "
    "type(s) for /: 'int' and 'NoneType'.",
    "TurnsNegativeWithTime": "in Discrete(4) beyond the horizon, it raised ValueError: scale < 0.",
    "TurnsNegativeWithSteps": "in Discrete(4) after 10000000 steps, it raised ValueError: scale < 0.",
    "OvershootsInTheEnd": "in Discrete(4) after 10000000 steps, it returns actions outside the space.",
    "Overshoots": "in Discrete(4), it returns actions outside the space.",
    "ChangesTheType": "in Discrete(4), it returns actions of float64 (5,) instead of int64 (5,).",
    "ReturnsLists": "in Discrete(4), it returns list, not a numpy array.",
    "IgnoresTheMask": "in Discrete(4), it returns masked actions.",
    "WritesToTheAction": "in Discrete(4), it modifies its argument action.",
    "WritesToTheMask": "in Discrete(4), it modifies its argument action_mask_BA.",
    "DrawsGlobally": "it uses or seeds a global random generator; use rng.",
    "DrawsFromNowhere": "in Discrete(4), equal generators give different actions; use rng alone.",
    "KeepsAList": "its state's 'bold' is [False, False, False, False, False], not a numpy array of "
    "numbers.",
    "KeepsAnArray": "its state is of type ndarray, not a dictionary.",
    "ForgetsWhoIsBold": "in Discrete(4), a new part with the state stored after 1 steps returns "
    "other actions.",
    "HandsOutItsState": "later calls modify the state that state() returned; return copies.",
    "KeepsWhatItLoads": "later calls modify the state that load_state was given; keep copies.",
}


def broken_by(name: str) -> dict[str, str]:
    """Return the message of each law that an exploration breaks."""
    target = f"broken_explorations:{name}"
    component = Component(name, target, broken_explorations.NoOptions, "for tests")
    messages = {}
    for law in EXPLORATION_LAWS:
        try:
            law(component)
        except AssertionError as error:
            messages[law.__name__] = str(error)
    return messages


@pytest.mark.parametrize("name", ["Restless", "Follower", "Specialist", "AsksForAHorizon"])
def test_a_correct_exploration_passes_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_exploration_breaks_exactly_these_laws(name: str) -> None:
    messages = broken_by(name)
    assert messages.keys() == BROKEN[name]
    if name in MESSAGES:
        assert next(iter(messages.values())) == f"{name}: {MESSAGES[name]}"


def test_every_law_is_broken_by_an_exploration_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY - {"an_exploration_offers_what_collectors_call"}
