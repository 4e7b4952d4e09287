"""Laws of actors: each is broken by some part, and correct parts pass all."""

from __future__ import annotations

import re

import broken_actors
import pytest

from amago_registry import Component
from amago_registry.testing import ACTOR_LAWS

CORRECT = [
    "Actor",
    "ActorThatAverages",
    "ActorWithoutReparameterisation",
    "ActorOfBoxes",
    "ActorWithoutMasks",
]
EVERY = {law.__name__ for law in ACTOR_LAWS}
PROBABILITIES = "probabilities_agree_with_log_prob"
MASKED = "masked_actions_are_never_taken"
STRAIGHT = "straight_through_gradients_are_those_of_the_probabilities"
MODE = "the_mode_is_the_likeliest_action"
DRAWN = "actions_are_drawn_as_often_as_they_are_likely"
ENTROPY = "entropy_is_that_of_the_probabilities"
BROKEN = {
    "TakesNothing": EVERY,
    "HidesItsProbabilities": EVERY - {"likelihoods_of_all_actions_add_up_to_one"},
    "Overshoots": {"samples_are_legal_and_likely"},
    "CountsInBytes": {PROBABILITIES, MASKED, MODE},
    "FearsTheEdges": {"samples_are_legal_and_likely"},
    "PromisesTooMuch": {PROBABILITIES, DRAWN, ENTROPY},
    "MistakesTheAction": {PROBABILITIES, MASKED, MODE},
    "ForgetsAFactor": {"likelihoods_of_all_actions_add_up_to_one", MASKED, STRAIGHT, DRAWN},
    "IgnoresTheMask": {MASKED},
    "LeaksProbability": {MASKED},
    "FearsTheImpossible": {MASKED, "a_mask_that_allows_nothing_allows_everything"},
    "StandsStill": {"a_mask_that_allows_nothing_allows_everything"},
    "DetachesItsSamples": {"reparameterised_samples_carry_gradients"},
    "SamplesNoWholeBits": {"reparameterised_samples_carry_gradients", DRAWN},
    "PassesAnotherGradient": {STRAIGHT},
    "LearnsNothing": {"an_actor_learns_in_every_parameter"},
    "ActsAtRandom": {DRAWN},
    "MixesTimesteps": {DRAWN},
    "ThrowsOneDie": {DRAWN},
    "DrawsBytes": {DRAWN, MASKED},
    "EvaluatesItsWorst": {MODE},
    "EvaluatesTheOtherSide": {MODE},
    "InventsItsEntropy": {ENTROPY},
    "CountsBits": {ENTROPY},
    "HasNoEntropyUnderMasks": {ENTROPY},
    "HasEndlessEntropy": {ENTROPY},
}
MESSAGES = {
    "TakesNothing": "it supports none of the action spaces Discrete(4), Box(-1.0, 1.0, (3,), "
    "float32), MultiBinary(3), MultiDiscrete([3 2]), Discrete(300).",
    "HidesItsProbabilities": "it lacks probs, which the protocol DiscreteDistribution requires.",
    "Overshoots": "in Box(-1.0, 1.0, (3,), float32), it draws actions outside the space or of the "
    "wrong shape.",
    "FearsTheEdges": "in Box(-1.0, 1.0, (3,), float32), log_prob of a legal action is not finite "
    "of shape (N, G).",
    "ForgetsAFactor": "in MultiDiscrete([3 2]), the likelihoods of all actions do not sum to 1. "
    "The largest difference is GAP; the tolerance is GAP.",
    "IgnoresTheMask": "in Discrete(4), sample or mode returns masked actions.",
    "LeaksProbability": "masked actions have a probability above 0.",
    "StandsStill": "in Discrete(4), a mask that allows nothing changes the policy. The largest "
    "difference is GAP; the tolerance is GAP.",
    "SamplesNoWholeBits": "in MultiBinary(3), rsample returns values that are not action vectors.",
    "ActsAtRandom": "in Discrete(4), sample does not draw actions with their probabilities; one "
    "was drawn M times instead of N.",
    "MixesTimesteps": "in Discrete(4), rsample does not draw actions with their probabilities; one "
    "was drawn M times instead of N.",
    "EvaluatesTheOtherSide": "in MultiBinary(3), the mode is not the most likely action. The "
    "largest difference is GAP; the tolerance is GAP.",
    "InventsItsEntropy": "in Discrete(4), entropy is neither None nor finite of shape (N, G).",
    "CountsBits": "in Discrete(4), entropy is not -sum(p log p) of the probabilities. The largest "
    "difference is GAP; the tolerance is GAP.",
    "HasNoEntropyUnderMasks": "in Discrete(4) with a mask, entropy is neither None nor finite of "
    "shape (N, G).",
    "PassesAnotherGradient": "in MultiBinary(3), the gradient through rsample is not that of the "
    "probabilities. The largest difference is GAP; the tolerance is GAP.",
}


def component(name: str) -> Component:
    return Component(name, f"broken_actors:{name}", broken_actors.NoOptions, "for tests")


def broken_by(name: str) -> dict[str, str]:
    """Return the message of each law that an actor breaks."""
    broken = {}
    for law in ACTOR_LAWS:
        try:
            law(component(name))
        except AssertionError as error:
            message = re.sub(r"\d\.\de[+-]\d\d", "GAP", str(error))
            message = re.sub(r"\d+ times instead of about \d+", "M times instead of N", message)
            broken[law.__name__] = message
    return broken


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_actor_passes_every_law(name: str) -> None:
    assert broken_by(name) == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_actor_breaks_exactly_these_laws(name: str) -> None:
    broken = broken_by(name)
    assert set(broken) == BROKEN[name]
    if name in MESSAGES:
        assert next(iter(broken.values())) == f"{name}: {MESSAGES[name]}"


def test_every_law_is_broken_by_an_actor_that_obeys_others() -> None:
    unusable = {"TakesNothing", "HidesItsProbabilities"}
    broken = set().union(*(BROKEN[name] for name in BROKEN.keys() - unusable))
    assert broken == EVERY - {"an_actor_offers_what_objectives_call"}
