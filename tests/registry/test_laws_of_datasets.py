"""Each law of datasets catches the part that breaks it, and passes honest ones."""

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
SENTENCES = {
    "CannotSample": "for a Dataset it lacks sample.",
    "SaysNothing": "describe() returned '', not one line.",
    "Unbounded": "agents do not take actions of Box(-inf, inf, (1,), float32); use Discrete, "
    "MultiDiscrete, MultiBinary or a Box with finite bounds.",
    "StopsAtTen": "asked for 40 at update 0, it gave 10.",
    "Dries": "asked for 1 at update 1000000000, it gave 0.",
    "Overflows": "sample(rng, 1, 1000000000) raised OverflowError: (34, 'Numerical result out of "
    "range')",
    "GivesColumns": "sample(rng, 1, 0) returned no sequence of trajectories.",
    "KeepsDoubles": "of a trajectory, obs.observation is float64 (2,) per row instead of float32 (2,).",
    "WithoutEnds": "of a trajectory, it lacks truncated; its columns are action, obs.observation, "
    "reward, terminated.",
    "CountsFromOne": "of a trajectory, action has values outside Discrete(3).",
    "DividesByNothing": "of a trajectory, reward has numbers that are not finite.",
    "ForgetsWhatWasBefore": "of a trajectory, start_time is 3, and prev_action is None.",
    "BeginsTwice": "of a trajectory, start_time is 0, and something is said of what came before.",
    "BeforeTheBeginning": "of a trajectory, start_time is -1.",
    "LeadsInVectors": "of a trajectory, prev_action is float32 (3,) instead of uint8 ().",
    "LeadsInNothing": "of a trajectory, prev_reward is not finite.",
    "TakesTurns": "it gives other trajectories when asked again with an equal generator; keep nothing.",
    "ShufflesOnce": "built alike twice, it gives different trajectories for equal generators.",
    "IgnoresTheGenerator": "it gives the same trajectories for every rng.",
    "SeedsGlobally": "it draws from a global generator, or seeds it; draw from rng.",
    "ReusesABuffer": "what it gave changes when more is drawn; give copies, or what nobody writes to.",
    "Shares": "who writes to what it gave changes what it gives next; give copies or read-only arrays.",
    "PassesThroughItself": "what one thread draws depends on what others draw meanwhile.",
}


def component(name: str) -> Component:
    return Component(name, f"broken_datasets:{name}", broken_datasets.NoOptions, "for tests")


def broken_by(name: str) -> dict[str, str]:
    """Return what each broken law says about a dataset."""
    said = {}
    for law in DATASET_LAWS:
        try:
            law(component(name))
        except AssertionError as error:
            said[law.__name__] = str(error)
    return said


@pytest.mark.parametrize("name", ["Counts", "Copies", "HoldsOne", "Pieces", "WithColumns"])
def test_an_honest_dataset_obeys_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_dataset_breaks_exactly_these_laws(name: str) -> None:
    assert broken_by(name).keys() == BROKEN[name]


@pytest.mark.parametrize("name", SENTENCES)
def test_the_first_law_that_is_broken_says_how(name: str) -> None:
    assert next(iter(broken_by(name).values())) == f"{name}: {SENTENCES[name]}"


def test_every_law_is_broken_by_a_dataset_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY


def test_a_dataset_is_built_with_the_context_that_its_author_gives() -> None:
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
