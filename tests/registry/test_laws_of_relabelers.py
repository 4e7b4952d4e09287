"""Laws of relabelers: each is broken by some part, and correct parts pass all."""

from __future__ import annotations

from typing import Any

import broken_relabelers
import numpy as np
import pytest

from amago_registry import Component, RelabelerContext
from amago_registry.goals import with_goals
from amago_registry.testing import RELABELER_LAWS
from amago_registry.testing.relabelers import walks

EVERY = {law.__name__ for law in RELABELER_LAWS}
OFFERS = "a_relabeler_offers_what_samplers_call"
ARGUMENT = "its_argument_stays_as_it_was"
IDENTITY = "an_identity_changes_nothing"
COLUMNS = "the_same_columns_come_back"
ROWS = "there_is_one_timestep_more_than_transitions"
DONE = "what_was_done_is_not_rewritten"
SEEN = "what_was_seen_is_not_rewritten"
ENDS = "only_the_last_transition_ends_it"
CUT = "what_is_cut_short_ends"
ASKED = "goals_rewards_and_ends_are_what_the_environment_would_have_made"
SAID = "what_is_changed_is_what_the_environment_said"
RETURN = "the_return_never_falls"
FINITE = "its_numbers_are_finite"
RANDOM = "all_randomness_comes_from_the_generator"
TRACE = "a_call_leaves_no_trace"
BROKEN = {
    "CannotBeCalled": EVERY - {SAID},
    "CannotSay": {OFFERS},
    "SaysOne": {OFFERS},
    "NeedsAnotherColumn": EVERY - {IDENTITY, SAID},
    "ReturnsNothing": EVERY - {SAID},
    "WritesToItsArgument": {ARGUMENT},
    "WritesWhatIsThere": {ARGUMENT},
    "AddsToItsArgument": {ARGUMENT},
    "ClaimsToKeep": {IDENTITY},
    "DropsAColumn": {COLUMNS},
    "Widens": {COLUMNS},
    "ForgetsTheLastTimestep": {ROWS},
    "LeavesNothing": {ROWS},
    "CutsTheBeginning": {DONE, SEEN, ASKED},
    "TurnsAround": {DONE},
    "MovesWhatWasSeen": {SEEN},
    "GoesOn": {ENDS},
    "CutsWithoutAnEnd": {CUT},
    "PaysOneLate": {ASKED},
    "AsksForNothing": {ASKED},
    "KeepsTheReward": {ASKED},
    "KeepsTheFirstInstruction": {ASKED},
    "KeepsTheInstruction": {ASKED},
    "PaysAlways": {ASKED},
    "NeverWaits": {ASKED},
    "RemembersBackwards": {SEEN},
    "AsksForMore": {RETURN},
    "DividesByNothing": {ASKED, FINITE},
    "DrawsGlobally": {RANDOM, TRACE},
    "DrawsFromNowhere": {RANDOM, TRACE},
    "SeedsGlobally": {RANDOM},
    "TakesTurns": {TRACE},
}
MESSAGES = {
    "CannotSay": "its identity is of type NoneType, not bool.",
    "SaysOne": "its identity is of type int, not bool.",
    "NeedsAnotherColumn": "given the columns ['achieved', 'action', 'obs.goals', 'obs.obs', "
    "'reward', 'terminated', 'truncated'], it raised KeyError: 'weather'. If it needs other "
    "columns, pass them: law(component, trajectory=columns, "
    "context=RelabelerContext(with_goals=...)).",
    "ReturnsNothing": "it does not return a dictionary of numpy arrays.",
    "WritesToItsArgument": "it modifies reward of the trajectory that it is given; modify copies.",
    "WritesWhatIsThere": "given read-only arrays, as the replay passes them, it raised ValueError: "
    "assignment destination is read-only; modify copies.",
    "AddsToItsArgument": "it modifies note of the trajectory that it is given; modify copies.",
    "ClaimsToKeep": "its identity is true, but it changes achieved, action, obs.goals, obs.obs, "
    "reward, terminated, truncated.",
    "DropsAColumn": "given the columns ['achieved', 'action', 'obs.goals', 'obs.obs', 'reward', "
    "'terminated', 'truncated'], it returns ['action', 'obs.goals', 'obs.obs', 'reward', "
    "'terminated', 'truncated'].",
    "Widens": "it returns reward as float64 () instead of float32 ().",
    "ForgetsTheLastTimestep": "with 3 transitions, obs.obs has 3 rows instead of 4.",
    "LeavesNothing": "given 12 transitions, it returns 0; return 1 to 12.",
    "CutsTheBeginning": "its actions are not a prefix of the recorded actions.",
    "GoesOn": "terminated is true at the transitions [0, 1], before the last; cut at the first.",
    "CutsWithoutAnEnd": "cut to 3 of 12 transitions, it is neither terminated nor truncated at the "
    "last one.",
    "MovesWhatWasSeen": "it changes obs.obs, which does not depend on the goals.",
    "PaysOneLate": "with the goals [[-1], [7]], its reward differs from the environment's; return "
    "the result of context.with_goals.",
    "AsksForNothing": "its goals are [[-1], [-1]]: no goal at all.",
    "PaysAlways": "it keeps the goals, but changes reward.",
    "RemembersBackwards": "it changes achieved, which does not depend on the goals.",
    "AsksForMore": "the return falls from 2 to 0; keep the better trajectory.",
    "DrawsGlobally": "it uses or seeds a global random generator; use rng.",
    "DrawsFromNowhere": "equal generators give different trajectories; use rng alone.",
    "TakesTurns": "called again with an equal generator, it returns other results; keep no state.",
}


def component(name: str) -> Component:
    return Component(name, f"broken_relabelers:{name}", broken_relabelers.NoOptions, "for tests")


def broken_by(name: str, **own: Any) -> dict[str, str]:
    """Return the message of each law that a relabeler breaks."""
    messages = {}
    for law in RELABELER_LAWS:
        try:
            law(component(name), **own)
        except AssertionError as error:
            messages[law.__name__] = str(error)
    return messages


@pytest.mark.parametrize("name", ["Keeps", "Hindsight", "Shortens"])
def test_a_correct_relabeler_passes_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_relabeler_breaks_exactly_these_laws(name: str) -> None:
    messages = broken_by(name)
    assert messages.keys() == BROKEN[name]
    if name in MESSAGES:
        assert next(iter(messages.values())) == f"{name}: {MESSAGES[name]}"


def test_every_law_is_broken_by_a_relabeler_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY - {SAID, FINITE}


def test_values_that_are_not_finite_are_found_in_a_given_trajectory() -> None:
    messages = broken_by("DividesByNothing", trajectory=walks()[0])
    assert messages == {FINITE: "DividesByNothing: it returns numbers that are not finite in reward."}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("MovesWhatWasSeen", "obs.obs"), ("PaysOneLate", "reward"), ("EditsTheAnswer", "reward")],
)
def test_results_must_be_those_of_a_given_with_goals(name: str, wrong: str) -> None:
    own = {"trajectory": walks()[0], "context": RelabelerContext(with_goals=with_goals)}
    assert broken_by("Hindsight", **own) == broken_by("Keeps", **own) == {}
    assert broken_by(name, **own) == {
        SAID: f"{name}: its {wrong} is neither that of its argument nor that of a result of "
        "context.with_goals; return such a result unchanged."
    }


def test_laws_run_on_a_given_trajectory() -> None:
    columns = {**walks()[0], "weather": np.ones(12)}
    for law in RELABELER_LAWS:
        law(component("NeedsAnotherColumn"), trajectory=columns)


def test_walks_reward_goals_in_order_and_end_with_the_last() -> None:
    without, one, both, single = walks()
    assert (without["achieved"][:5, 0].tolist(), without["reward"].sum()) == ([4, 5, 6, 7, 6], 0)
    assert one["obs.goals"][:4, :, 0].tolist() == [[6, 0], [6, 0], [-1, 0], [-1, 0]]
    assert np.flatnonzero(one["reward"]).tolist() == [1]
    assert np.flatnonzero(both["reward"]).tolist() == [2, 4]
    ends = [(len(w["reward"]), bool(w["terminated"][-1]), bool(w["truncated"][-1])) for w in walks()]
    assert ends == [(12, False, True), (12, False, True), (5, True, False), (1, False, True)]
    assert single["obs.obs"].shape == (2, 2)
