"""Each law of relabelers catches the part that breaks it, and passes honest ones."""

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
SENTENCES = {
    "CannotSay": "its identity is of type NoneType, no bool.",
    "SaysOne": "its identity is of type int, no bool.",
    "NeedsAnotherColumn": "given the columns ['achieved', 'action', 'obs.goals', 'obs.obs', 'reward', "
    "'terminated', 'truncated'], it raised KeyError: 'weather'. Where it needs others, try it with "
    "them: law(component, trajectory=columns, context=RelabelerContext(with_goals=...)).",
    "ReturnsNothing": "what it returns is no dictionary of numpy arrays.",
    "WritesToItsArgument": "it changes reward of the trajectory that it was given; change copies.",
    "WritesWhatIsThere": "given arrays that cannot be written to, as the replay gives them, it raised "
    "ValueError: assignment destination is read-only; change copies.",
    "AddsToItsArgument": "it changes note of the trajectory that it was given; change copies.",
    "ClaimsToKeep": "its identity is true, and it changes achieved, action, obs.goals, obs.obs, "
    "reward, terminated, truncated.",
    "DropsAColumn": "given the columns ['achieved', 'action', 'obs.goals', 'obs.obs', 'reward', "
    "'terminated', 'truncated'], it returns ['action', 'obs.goals', 'obs.obs', 'reward', 'terminated', "
    "'truncated'].",
    "Widens": "reward was float32 (), and it returns float64 ().",
    "ForgetsTheLastTimestep": "of 3 transitions, obs.obs has 3 rows instead of 4.",
    "LeavesNothing": "of 12 transitions it makes 0; return 1 to 12.",
    "CutsTheBeginning": "its actions are not the first of those that were taken.",
    "GoesOn": "terminated at the transitions [0, 1], it goes on; cut it at the first.",
    "CutsWithoutAnEnd": "cut to 3 of 12 transitions, the last is neither terminated nor truncated.",
    "MovesWhatWasSeen": "it changes obs.obs, which other goals would not have changed.",
    "PaysOneLate": "it asks for [[-1], [7]], and reward is not what the environment would have made of "
    "that; ask context.with_goals.",
    "AsksForNothing": "it asks for [[-1], [-1]]: for no goal at all.",
    "PaysAlways": "it asks for what had been asked for, and changes reward.",
    "RemembersBackwards": "it changes achieved, which other goals would not have changed.",
    "AsksForMore": "the return was 2 and is 0; leave alone what was better.",
    "DrawsGlobally": "it draws from a global generator, or seeds it; draw from rng.",
    "DrawsFromNowhere": "equal generators give different trajectories; draw from rng alone.",
    "TakesTurns": "it relabels otherwise when asked again with an equal generator; keep nothing.",
}


def component(name: str) -> Component:
    return Component(name, f"broken_relabelers:{name}", broken_relabelers.NoOptions, "for tests")


def broken_by(name: str, **own: Any) -> dict[str, str]:
    """Return what each broken law says about a relabeler."""
    said = {}
    for law in RELABELER_LAWS:
        try:
            law(component(name), **own)
        except AssertionError as error:
            said[law.__name__] = str(error)
    return said


@pytest.mark.parametrize("name", ["Keeps", "Hindsight", "Shortens"])
def test_an_honest_relabeler_obeys_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_relabeler_breaks_exactly_these_laws(name: str) -> None:
    said = broken_by(name)
    assert said.keys() == BROKEN[name]
    if name in SENTENCES:
        assert next(iter(said.values())) == f"{name}: {SENTENCES[name]}"


def test_every_law_is_broken_by_a_relabeler_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY - {SAID, FINITE}


def test_what_is_not_finite_is_found_in_an_authors_trajectory() -> None:
    said = broken_by("DividesByNothing", trajectory=walks()[0])
    assert said == {FINITE: "DividesByNothing: it returns numbers that are not finite in reward."}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("MovesWhatWasSeen", "obs.obs"), ("PaysOneLate", "reward"), ("EditsTheAnswer", "reward")],
)
def test_an_authors_environment_has_the_last_word(name: str, wrong: str) -> None:
    own = {"trajectory": walks()[0], "context": RelabelerContext(with_goals=with_goals)}
    assert broken_by("Hindsight", **own) == broken_by("Keeps", **own) == {}
    assert broken_by(name, **own) == {
        SAID: f"{name}: its {wrong} is neither what it was given nor what context.with_goals returned; "
        "ask for other goals, and return the answer as it is."
    }


def test_a_relabeler_is_tried_on_the_trajectory_that_its_author_gives() -> None:
    columns = {**walks()[0], "weather": np.ones(12)}
    for law in RELABELER_LAWS:
        law(component("NeedsAnotherColumn"), trajectory=columns)


def test_walks_pay_for_goals_in_order_and_end_with_the_last() -> None:
    without, one, both, single = walks()
    assert (without["achieved"][:5, 0].tolist(), without["reward"].sum()) == ([4, 5, 6, 7, 6], 0)
    assert one["obs.goals"][:4, :, 0].tolist() == [[6, 0], [6, 0], [-1, 0], [-1, 0]]
    assert np.flatnonzero(one["reward"]).tolist() == [1]
    assert np.flatnonzero(both["reward"]).tolist() == [2, 4]
    ends = [(len(w["reward"]), bool(w["terminated"][-1]), bool(w["truncated"][-1])) for w in walks()]
    assert ends == [(12, False, True), (12, False, True), (5, True, False), (1, False, True)]
    assert single["obs.obs"].shape == (2, 2)
