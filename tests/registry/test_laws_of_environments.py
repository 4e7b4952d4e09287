"""Laws of environments: each is broken by some part, and correct parts pass all."""

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

CORRECT = [
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
MESSAGES = {
    "MakesNumbers": "make() returned int, not a gymnasium.Env.",
    "MakesItselfAgain": "make() returned the same environment twice.",
    "TakesWords": "the action space Dict('move': Discrete(3)) is not supported; use Discrete, "
    "MultiDiscrete, MultiBinary or a Box with finite bounds.",
    "TakesAnything": "the action space Box(-inf, inf, (1,), float32) is not supported; use "
    "Discrete, MultiDiscrete, MultiBinary or a Box with finite bounds.",
    "ShowsWords": f"the observation space {spaces.Text(3)} is not supported; use Box, Discrete, "
    "MultiBinary and MultiDiscrete, alone or in a Dict or Tuple.",
    "MasksTooLittle": "its action_mask is MultiBinary(2); a mask over Discrete(3) must be one "
    "array of 3 values 0 or 1, such as MultiBinary(3).",
    "DiffersFromItsLike": "two environments that it made have different spaces.",
    "GrowsWider": "after 5 steps, the observation/place is float64 (2,) instead of float32 (2,).",
    "LeavesItsSpace": "after 5 steps, the observation/place lies outside its space Box(-1.0, 1.0, "
    "(2,), float32).",
    "LeavesItsSpaceLate": "after 101 steps, the observation/clock lies outside its space Box(0.0, "
    "1.0, (1,), float32).",
    "LosesItsPlace": "after 5 steps, the observation has the keys ['attempt'] instead of "
    "['attempt', 'place'].",
    "CountsInFloats": "after 5 steps, the observation/attempt is 0.0, not an integer.",
    "SeesForever": "after 5 steps, the observation/place is not finite.",
    "LosesCount": "after 5 steps, the observation is ('a',), not a tuple of 2.",
    "PaysNothingKnown": "after 5 steps, the reward is nan, not a finite number.",
    "PaysInArrays": "after 5 steps, the reward is array([1.]), not a finite number.",
    "EndsWithOne": "after 16 steps, terminated is 1, not a bool.",
    "TellsNothing": "after 5 steps, info is None, not a dictionary.",
    "FearsTheEdge": "step(array([-2.], dtype=float32)) raised ValueError: too hard.",
    "ClipsInPlace": "step modifies the action that it is given.",
    "ReturnsFour": "step returned (1, 2, 3, 4) instead of (observation, reward, terminated, "
    "truncated, info).",
    "NumbersItsEnvironments": "the same seed and actions give another trajectory in another "
    "environment, from step 1 on.",
    "RemembersItsPast": "the same seed and actions give another trajectory in an environment that "
    "has been used, from step 1 on.",
    "SharesItsPlace": "the same seed and actions give another trajectory beside another "
    "environment, from step 2 on.",
    "ForgetsToRewind": "the same seed and actions give another trajectory after a reset in "
    "mid-trajectory, from step 6 on.",
    "DrawsFromNowhere": "the same seed and actions give another trajectory after resets without a "
    "seed, from step 1 on.",
    "RepeatsItsTask": "20 resets without a seed all gave the same task; draw it from "
    "self.np_random, seeded by super().reset(seed=seed).",
    "SeedsGlobally": "it uses or seeds a global random generator; use self.np_random.",
    "ReusesItsBuffer": "later steps modify the observation returned after 5 steps; return copies.",
    "Overstays": "its horizon is 15 steps, but a trajectory was longer.",
    "HasAnUnclearHorizon": "its horizon is 16.0, neither None nor a positive int.",
    "CountsFromOne": "info['attempt'] is 1 instead of 0.",
    "HidesItsOutcome": "attempt 0 ended without info['success'].",
    "WinsNothingKnown": "info['success'] is nan, not a finite number.",
    "CannotBeClosed": "close raised RuntimeError: the window is gone.",
    "DeclaresNoSpace": "its recorded_space is Discrete(3), not a gymnasium.spaces.Dict.",
    "RecordsItsReward": "its recorded_space has the key 'reward', which is reserved in "
    "trajectories and infos: choose another name.",
    "ForgetsToRecord": "after 5 steps, the info has no 'spot', which recorded_space declares.",
    "BeginsUnrecorded": "after reset, the info has no 'spot', which recorded_space declares.",
    "RecordsInSinglePrecision": "after 5 steps, info['spot'] is float32 (2,) instead of float64 (2,).",
    "RecordsBeyondItsSpace": "after 1 steps, info['clock'] lies outside its space Discrete(17).",
    "HearsOfNoGoals": "with_goals differs from a replay of seed 0 with the goals [[0], [1]]: "
    "obs.cell is float32 (11, 1) instead of float32 (16, 1).",
    "BeginsElsewhereForOtherGoals": "with_goals differs from a replay of seed 0 with the goals "
    "[[1], [1]]: obs.cell is [3.0] in row 0 instead of [5.0].",
    "PaysInHindsight": "with_goals differs from a replay of seed 0 with the goals [[3], [3]]: "
    "reward is 2.0 in row 4 instead of 1.0.",
    "GoesOnInHindsight": "with_goals differs from a replay of seed 0 with the goals [[0], [1]]: "
    "obs.cell is float32 (16, 1) instead of float32 (11, 1).",
    "StaysOverInHindsight": "with_goals differs from a replay of seed 0 with the goals [[3], [3]]: "
    "terminated is True in row 9 instead of False.",
    "ForgetsWhatItRecorded": "with_goals differs from a replay of seed 0 with the goals [[3], "
    "[3]]: the columns are ['action', 'obs.cell', 'obs.goals', 'reward', 'terminated', "
    "'truncated'] instead of ['achieved', 'action', 'obs.cell', 'obs.goals', 'reward', "
    "'terminated', 'truncated'].",
    "WritesToItsColumns": "with_goals modifies the columns that it is given.",
    "WritesToItsGoals": "with_goals modifies the goals that it is given.",
    "KnowsNoOtherGoals": "with_goals raised NotImplementedError: later",
    "KeepsNoRecord": "it has with_goals, but its trajectories have no column achieved.",
    "PaysMoreWhenAsked": "with_goals changes a trajectory whose goals stay the same: reward is 3.0 "
    "in row 4 instead of 1.0.",
}


def broken_by(name: str) -> dict[str, str]:
    """Return the message of each law that an environment breaks."""
    target = f"broken_environments:{name}"
    component = Component(name, target, broken_environments.NoOptions, "for tests")
    messages = {}
    for law in ENVIRONMENT_LAWS:
        try:
            law(component)
        except AssertionError as error:
            messages[law.__name__] = str(error)
    return messages


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_environment_passes_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_environment_breaks_exactly_these_laws(name: str) -> None:
    messages = broken_by(name)
    assert messages.keys() == BROKEN[name]
    if name in MESSAGES:
        assert next(iter(messages.values())) == f"{name}: {MESSAGES[name]}"


def test_every_law_is_broken_by_an_environment_that_breaks_no_other() -> None:
    alone = [laws for laws in BROKEN.values() if len(laws) == 1]
    assert set().union(*alone) == EVERY - {NEW}


def test_other_goals_include_achieved_values_beyond_the_dtype_of_goals() -> None:
    columns = {"obs.goals": np.zeros((3, 2, 1), np.int8), "achieved": np.full((3, 1), 300)}
    drawn = [goals.ravel().tolist() for goals in other_goals(columns, [], 0)]
    assert drawn
    assert all(goals in ([300], [300, 300], [-1, 300]) for goals in drawn)


def test_messages_quote_gymnasiums_checker() -> None:
    message = broken_by("SeedsItself")[CHECK]
    assert message.startswith(
        "SeedsItself: gymnasium's check_env warns: The default seed argument in reset should be `None`"
    )
    message = broken_by("IgnoresItsGenerator")[CHECK]
    assert message.startswith(
        "IgnoresItsGenerator: gymnasium's check_env raised AssertionError: Expects the random number "
    )


def test_global_randomness_restores_the_global_generators() -> None:
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
