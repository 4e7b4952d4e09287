"""Laws of datasets: each is broken by some part, and correct parts pass all."""

from __future__ import annotations

import broken_datasets
import pytest
from gymnasium import spaces

from amago_registry import Component
from amago_registry.contexts import DatasetContext
from amago_registry.testing import DATASET_LAWS

EVERY = {law.__name__ for law in DATASET_LAWS}
OFFERS = "a_dataset_offers_what_learners_call"
COUNT = "as_many_come_as_are_asked_for"
COLUMNS = "columns_are_those_of_the_replay"
ALIKE = "all_trajectories_have_the_same_columns"
NUMBERS = "its_numbers_are_finite_and_its_indices_exist"
ENDS = "only_the_last_transition_ends_it"
BEFORE = "what_came_before_is_known_where_something_did"
EQUAL = "equal_arguments_give_equal_trajectories"
DECIDES = "the_generator_decides_what_is_drawn"
GLOBAL = "no_other_generator_is_touched"
STAYS = "what_it_gave_stays_as_it_was"
WRITTEN = "what_it_holds_cannot_be_written_to"
THREADS = "several_threads_may_draw_at_once"
BROKEN = {
    "CannotSample": EVERY,
    "SaysNothing": {OFFERS},
    "StopsAtTen": {COUNT},
    "KeepsDoubles": {COLUMNS},
    "ForgetsTheLast": {COLUMNS},
    "WithoutEnds": {COLUMNS},
    "SometimesMore": {ALIKE},
    "CountsFromOne": {NUMBERS},
    "DividesByNothing": {NUMBERS},
    "GoesOn": {ENDS},
    "ForgetsWhatWasBefore": {BEFORE},
    "BeginsTwice": {BEFORE},
    "BeforeTheBeginning": {BEFORE},
    "LeadsInVectors": {BEFORE},
    "LeadsInNothing": {BEFORE},
    "Unbounded": {OFFERS},
    "ShufflesOnce": {EQUAL},
    "IgnoresTheGenerator": {DECIDES},
    "SeedsGlobally": {GLOBAL},
    "ReusesABuffer": {STAYS},
    "Shares": {WRITTEN},
    "PassesThroughItself": {THREADS},
}
MESSAGES = {
    "CannotSample": "it lacks sample, which the protocol Dataset requires.",
    "SaysNothing": "describe() returned '', not one line.",
    "Unbounded": "the action space Box(-inf, inf, (1,), float32) is not supported; use Discrete, "
    "MultiDiscrete, MultiBinary or a Box with finite bounds.",
    "StopsAtTen": "sample(rng, 40, 0) returned 10 trajectories instead of 40.",
    "Dries": "sample(rng, 1, 1000000000) returned 0 trajectories instead of 1.",
    "Overflows": "sample(rng, 1, 1000000000) raised OverflowError: (34, 'Numerical result out of "
    "range')",
    "GivesColumns": "sample(rng, 1, 0) did not return a sequence of trajectories.",
    "KeepsDoubles": "a trajectory is invalid: obs.observation is float64 (2,) per row instead of "
    "float32 (2,).",
    "WithoutEnds": "a trajectory is invalid: it lacks truncated; its columns are action, "
    "obs.observation, reward, terminated.",
    "CountsFromOne": "a trajectory is invalid: action has values outside Discrete(3).",
    "DividesByNothing": "a trajectory is invalid: reward has numbers that are not finite.",
    "ForgetsWhatWasBefore": "a trajectory is invalid: start_time is 3, but prev_action is None.",
    "BeginsTwice": "a trajectory is invalid: start_time is 0, but prev_action or prev_reward is set.",
    "BeforeTheBeginning": "a trajectory is invalid: start_time is -1.",
    "LeadsInVectors": "a trajectory is invalid: prev_action is float32 (3,) instead of uint8 ().",
    "LeadsInNothing": "a trajectory is invalid: prev_reward is not finite.",
    "TakesTurns": "called again with an equal generator, it returns other trajectories; keep no state.",
    "ShufflesOnce": "built twice from equal options, it returns different trajectories for equal "
    "generators.",
    "IgnoresTheGenerator": "it returns the same trajectories for every rng.",
    "SeedsGlobally": "it uses or seeds a global random generator; use rng.",
    "ReusesABuffer": "later calls modify trajectories returned earlier; return copies or constant "
    "arrays.",
    "Shares": "writing to a returned array changes later results; return copies or read-only arrays.",
    "PassesThroughItself": "results in one thread depend on concurrent calls in other threads.",
}


def component(name: str) -> Component:
    return Component(name, f"broken_datasets:{name}", broken_datasets.NoOptions, "for tests")


def broken_by(name: str) -> dict[str, str]:
    """Return the message of each law that a dataset breaks."""
    messages = {}
    for law in DATASET_LAWS:
        try:
            law(component(name))
        except AssertionError as error:
            messages[law.__name__] = str(error)
    return messages


@pytest.mark.parametrize("name", ["Counts", "Copies", "HoldsOne", "Pieces", "WithColumns"])
def test_a_correct_dataset_passes_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_dataset_breaks_exactly_these_laws(name: str) -> None:
    assert broken_by(name).keys() == BROKEN[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message_of_the_first_broken_law(name: str) -> None:
    assert next(iter(broken_by(name).values())) == f"{name}: {MESSAGES[name]}"


def test_every_law_is_broken_by_a_dataset_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY


def test_laws_build_the_dataset_with_a_given_context() -> None:
    given = DatasetContext(
        context_length=7, observation_space=None, action_space=spaces.Discrete(2), build=print
    )
    seen = []

    class Watched(broken_datasets.Counts):
        def __init__(self, context: DatasetContext, options: broken_datasets.NoOptions) -> None:
            super().__init__(context, options)
            seen.append(context)

    broken_datasets.Watched = Watched  # type: ignore[attr-defined]
    for law in DATASET_LAWS:
        law(component("Watched"), context=given)
    assert seen
    assert all(context is given for context in seen)
