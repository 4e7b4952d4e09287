"""Each law of environments catches the environment that breaks it, and passes honest ones."""

from __future__ import annotations

import random

import broken_environments
import numpy as np
import pytest
import torch
from gymnasium import spaces

from amago_registry import Component
from amago_registry.testing import ENVIRONMENT_LAWS
from amago_registry.testing.arrays import global_randomness
from amago_registry.testing.other_goals import other_goals

HONEST = [
    *("Walk", "ByForce", "Masked", "Endless", "Fixed", "HandsOutItself", "Keeper", "Seeker"),
    "HasOtherGoals",
]
EVERY = {law.__name__ for law in ENVIRONMENT_LAWS}
NEW = "it_makes_a_new_environment_every_time"
SPACES = "agents_can_take_its_spaces"
CHECK = "gymnasiums_own_check_passes_without_a_warning"
OBSERVATIONS = "observations_lie_in_their_space"
NUMBERS = "rewards_are_finite_and_ends_are_flags"
ACTIONS = "every_action_can_be_taken"
DECIDED = "a_seed_and_actions_decide_the_trajectory"
APART = "environments_side_by_side_do_not_see_each_other"
RESET = "it_can_be_reset_at_any_time"
NEXT = "a_reset_without_a_seed_draws_the_next_task"
GLOBAL = "global_random_numbers_play_no_part"
KEPT = "what_was_seen_stays_as_it_was"
HORIZON = "a_trajectory_is_over_by_the_horizon"
ATTEMPTS = "attempts_are_counted_and_have_outcomes"
RECORDED = "what_it_records_lies_in_its_space"
GOALS = "with_goals_says_what_other_goals_lead_to"
CLOSED = "it_can_be_closed"
BROKEN = {
    "CannotMake": EVERY,
    "MakesNumbers": EVERY,
    "MakesItselfAgain": {NEW, APART},
    "TakesWords": {SPACES},
    "TakesAnything": {SPACES},
    "ShowsWords": {SPACES, OBSERVATIONS},
    "MasksTooLittle": {SPACES},
    "DiffersFromItsLike": {SPACES, DECIDED},
    "IgnoresItsGenerator": {CHECK},
    "SeedsItself": {CHECK},
    "GrowsWider": {OBSERVATIONS},
    "LeavesItsSpace": {OBSERVATIONS},
    "LeavesItsSpaceLate": {OBSERVATIONS},
    "LosesItsPlace": {OBSERVATIONS},
    "CountsInFloats": {OBSERVATIONS},
    "SeesForever": {OBSERVATIONS},
    "LosesCount": {OBSERVATIONS},
    "PaysNothingKnown": {NUMBERS},
    "PaysInArrays": {NUMBERS},
    "EndsWithOne": {NUMBERS},
    "TellsNothing": {NUMBERS},
    "FearsTheEdge": {ACTIONS, OBSERVATIONS, NUMBERS, HORIZON},
    "ClipsInPlace": {ACTIONS},
    "ReturnsFour": EVERY - {NEW, SPACES, CHECK, RECORDED, GOALS},
    "NumbersItsEnvironments": {DECIDED},
    "RemembersItsPast": {DECIDED, RESET},
    "SharesItsPlace": {APART},
    "ForgetsToRewind": {RESET},
    "DrawsFromNowhere": {NEXT},
    "RepeatsItsTask": {NEXT},
    "DrawsGlobally": {GLOBAL, APART},
    "SeedsGlobally": {GLOBAL},
    "ReusesItsBuffer": {KEPT},
    "Overstays": {HORIZON},
    "HasAnUnclearHorizon": {HORIZON},
    "CountsFromOne": {ATTEMPTS},
    "HidesItsOutcome": {ATTEMPTS},
    "WinsNothingKnown": {ATTEMPTS},
    "CannotBeClosed": {CLOSED},
    "DeclaresNoSpace": {RECORDED},
    "StumblesOverItsSpace": EVERY - {NEW, SPACES, CHECK, GOALS},
    "RecordsItsReward": {RECORDED},
    "ForgetsToRecord": {RECORDED},
    "BeginsUnrecorded": {RECORDED},
    "RecordsInSinglePrecision": {RECORDED},
    "RecordsBeyondItsSpace": {RECORDED},
    "RecordsItsPast": {CHECK, DECIDED, RESET},
    "HearsOfNoGoals": {GOALS},
    "BeginsElsewhereForOtherGoals": {GOALS},
    "PaysInHindsight": {GOALS},
    "GoesOnInHindsight": {GOALS},
    "StaysOverInHindsight": {GOALS},
    "ForgetsWhatItRecorded": {GOALS},
    "WritesToItsColumns": {GOALS},
    "WritesToItsGoals": {GOALS},
    "KnowsNoOtherGoals": {GOALS},
    "KnowsNoOtherGoalsForLong": {GOALS},
    "KeepsNoRecord": {GOALS},
    "PaysMoreWhenAsked": {GOALS},
}
SENTENCES = {
    "MakesNumbers": "make() returned int, no gymnasium.Env.",
    "MakesItselfAgain": "make() returned the same environment twice.",
    "TakesWords": "agents do not take actions of Dict('move': Discrete(3)); use Discrete, "
    "MultiDiscrete, MultiBinary or a Box with finite bounds.",
    "TakesAnything": "agents do not take actions of Box(-inf, inf, (1,), float32); use Discrete, "
    "MultiDiscrete, MultiBinary or a Box with finite bounds.",
    "ShowsWords": f"agents do not take observations of {spaces.Text(3)}; use Box, Discrete, "
    "MultiBinary and MultiDiscrete, alone or in a Dict or Tuple.",
    "MasksTooLittle": "its action_mask is MultiBinary(2); a mask over Discrete(3) is one array of 3 "
    "values 0 or 1, such as MultiBinary(3).",
    "DiffersFromItsLike": "two environments that it made have different spaces.",
    "GrowsWider": "after 5 steps, the observation/place is float64 (2,) where its space is float32 "
    "(2,).",
    "LeavesItsSpace": "after 5 steps, the observation/place lies outside its space "
    "Box(-1.0, 1.0, (2,), float32).",
    "LeavesItsSpaceLate": "after 101 steps, the observation/clock lies outside its space "
    "Box(0.0, 1.0, (1,), float32).",
    "LosesItsPlace": "after 5 steps, the observation has ['attempt'] where its space has "
    "['attempt', 'place'].",
    "CountsInFloats": "after 5 steps, the observation/attempt is 0.0, no integer.",
    "SeesForever": "after 5 steps, the observation/place is not finite.",
    "LosesCount": "after 5 steps, the observation is ('a',), no tuple of 2.",
    "PaysNothingKnown": "after 5 steps, the reward is nan, no finite number.",
    "PaysInArrays": "after 5 steps, the reward is array([1.]), no finite number.",
    "EndsWithOne": "after 16 steps, terminated is 1, no bool.",
    "TellsNothing": "after 5 steps, info is None, no dictionary.",
    "FearsTheEdge": "step(array([-2.], dtype=float32)) raised ValueError: too hard.",
    "ClipsInPlace": "step writes to the action it is given.",
    "ReturnsFour": "step returned (1, 2, 3, 4) instead of (observation, reward, terminated, truncated, "
    "info).",
    "NumbersItsEnvironments": "the same seed and actions lead elsewhere in another environment, from "
    "step 1 on.",
    "RemembersItsPast": "the same seed and actions lead elsewhere in an environment that has been "
    "used, from step 1 on.",
    "SharesItsPlace": "the same seed and actions lead elsewhere beside another environment, from "
    "step 2 on.",
    "ForgetsToRewind": "the same seed and actions lead elsewhere after a reset in mid-trajectory, from "
    "step 6 on.",
    "DrawsFromNowhere": "the same seed and actions lead elsewhere after resets without a seed, from "
    "step 1 on.",
    "RepeatsItsTask": "20 resets without a seed all gave the same task; draw it from self.np_random, "
    "seeded by super().reset(seed=seed).",
    "SeedsGlobally": "it draws from a global generator, or seeds it; draw from self.np_random.",
    "ReusesItsBuffer": "later steps changed the observation that it returned after 5; return copies.",
    "Overstays": "its horizon is 15 steps, and a trajectory was not over after them.",
    "HasAnUnclearHorizon": "its horizon is 16.0, neither None nor a positive int.",
    "CountsFromOne": "info['attempt'] is 1 where 0 was the next.",
    "HidesItsOutcome": "attempt 0 ended without info['success'].",
    "WinsNothingKnown": "info['success'] is nan, no finite number.",
    "CannotBeClosed": "close raised RuntimeError: the window is gone.",
    "DeclaresNoSpace": "its recorded_space is Discrete(3), no gymnasium.spaces.Dict.",
    "RecordsItsReward": "its recorded_space has the key 'reward', which means something else in a "
    "trajectory or an info: choose another name.",
    "ForgetsToRecord": "after 5 steps, the info has no 'spot', which recorded_space says it has.",
    "BeginsUnrecorded": "after reset, the info has no 'spot', which recorded_space says it has.",
    "RecordsInSinglePrecision": "after 5 steps, info['spot'] is float32 (2,) where its space is "
    "float64 (2,).",
    "RecordsBeyondItsSpace": "after 1 steps, info['clock'] lies outside its space Discrete(17).",
    "HearsOfNoGoals": "with_goals is not what a replay of seed 0 under [[0], [1]] records: obs.cell is "
    "float32 (11, 1), not float32 (16, 1).",
    "BeginsElsewhereForOtherGoals": "with_goals is not what a replay of seed 0 under [[1], [1]] "
    "records: obs.cell is [3.0] in row 0, not [5.0].",
    "PaysInHindsight": "with_goals is not what a replay of seed 0 under [[3], [3]] records: reward is "
    "2.0 in row 4, not 1.0.",
    "GoesOnInHindsight": "with_goals is not what a replay of seed 0 under [[0], [1]] records: obs.cell "
    "is float32 (16, 1), not float32 (11, 1).",
    "StaysOverInHindsight": "with_goals is not what a replay of seed 0 under [[3], [3]] records: "
    "terminated is True in row 9, not False.",
    "ForgetsWhatItRecorded": "with_goals is not what a replay of seed 0 under [[3], [3]] records: the "
    "columns are ['action', 'obs.cell', 'obs.goals', 'reward', 'terminated', 'truncated'], not "
    "['achieved', 'action', 'obs.cell', 'obs.goals', 'reward', 'terminated', 'truncated'].",
    "WritesToItsColumns": "with_goals writes to the columns that it is given.",
    "WritesToItsGoals": "with_goals writes to the goals that it is given.",
    "KnowsNoOtherGoals": "with_goals raised NotImplementedError: later",
    "KeepsNoRecord": "it offers with_goals, and its trajectories have no achieved.",
    "PaysMoreWhenAsked": "with the goals that a task has, with_goals changes it: reward is 3.0 in row "
    "4, not 1.0.",
}


def broken_by(name: str) -> dict[str, str]:
    """Return what each broken law says about an environment."""
    target = f"broken_environments:{name}"
    component = Component(name, target, broken_environments.NoOptions, "for tests")
    said = {}
    for law in ENVIRONMENT_LAWS:
        try:
            law(component)
        except AssertionError as error:
            said[law.__name__] = str(error)
    return said


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_environment_obeys_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_environment_breaks_exactly_these_laws(name: str) -> None:
    said = broken_by(name)
    assert said.keys() == BROKEN[name]
    if name in SENTENCES:
        assert next(iter(said.values())) == f"{name}: {SENTENCES[name]}"


def test_every_law_is_broken_by_an_environment_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY - {NEW}


def test_what_was_achieved_is_asked_for_even_where_goals_of_the_task_cannot_be_as_large() -> None:
    columns = {"obs.goals": np.zeros((3, 2, 1), np.int8), "achieved": np.full((3, 1), 300)}
    drawn = [goals.ravel().tolist() for goals in other_goals(columns, [], 0)]
    assert drawn
    assert all(goals in ([300], [300, 300], [-1, 300]) for goals in drawn)


def test_gymnasiums_checker_is_quoted() -> None:
    message = broken_by("SeedsItself")[CHECK]
    assert message.startswith(
        "SeedsItself: gymnasium's check_env warns: The default seed argument in reset should be `None`"
    )
    message = broken_by("IgnoresItsGenerator")[CHECK]
    assert message.startswith(
        "IgnoresItsGenerator: gymnasium's check_env raised AssertionError: Expects the random number "
    )


def test_global_generators_are_as_they_were_after_a_look_at_them() -> None:
    def draw() -> tuple[float, ...]:
        return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002

    with global_randomness(3) as touched:
        assert not touched()
        expected = draw()
        assert touched()
    with global_randomness(3):
        first = draw()
        with global_randomness(4):
            assert draw() != expected
        second = draw()
    with global_randomness(3):
        assert (draw(), draw()) == (first, second)
    assert first == expected
