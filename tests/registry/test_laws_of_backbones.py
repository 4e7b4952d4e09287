"""Laws of backbones: each is broken by some part, and correct parts pass all."""

from __future__ import annotations

import re

import broken_backbones
import pytest

from amago_registry import Component
from amago_registry.testing import BACKBONE_LAWS, Law

BROKEN: dict[str, set[str]] = {
    "LiesAboutItsWidth": {"it_is_as_wide_as_it_says"},
    "CountsInWords": {"it_is_as_wide_as_it_says"},
    "CentresOverTheSequence": {
        "the_future_does_not_matter",
        "training_computes_what_evaluating_computes",
    },
    "SumsOverTheWholePack": {
        "sequences_of_a_pack_do_not_see_each_other",
        "training_computes_what_evaluating_computes",
    },
    "LosesTheCarryBetweenChunks": {"long_sequences_of_a_pack_do_not_see_each_other"},
    "StartsWhereTimeIsZero": {"slices_may_begin_in_the_middle_of_a_task"},
    "CountsRowsInsteadOfTime": {"slices_may_begin_in_the_middle_of_a_task"},
    "SqueezesOneEnvironment": {"stepping_equals_the_packed_forward"},
    "TakesTheLongestTime": {
        "stepping_equals_the_packed_forward",
        "slices_may_begin_in_the_middle_of_a_task",
    },
    "OverwritesTheNewest": {"stepping_beyond_the_context_equals_a_window"},
    "StaysFull": {"a_reset_forgets"},
    "KeepsWhatWasInfinite": {"a_reset_forgets"},
    "RemembersInItself": {"the_state_holds_everything"},
    "CarriesANumber": {"the_state_holds_everything"},
    "KeepsEveryStep": {"the_state_does_not_grow"},
    "ClaimsAConstantState": {"the_state_does_not_grow"},
    "DrawsItsOwnWeights": {"it_is_deterministic"},
    "CountsItsPasses": {"it_is_deterministic"},
    "ForgetsTimeWhenCompiled": {"compiling_changes_nothing"},
    "DetachesWhenCompiled": {"compiling_changes_nothing"},
    "TrainsInVain": {"gradients_reach_every_parameter"},
    "ExplodesAtZero": {
        "gradients_reach_every_parameter",
        "gradients_are_those_of_the_output",
        "acting_does_not_disturb_training",
    },
    "StopsTheGradient": {"gradients_reach_every_parameter", "gradients_are_those_of_the_output"},
    "DetachesTheCarry": {"gradients_are_those_of_the_output"},
    "DoublesTheGradient": {"gradients_are_those_of_the_output"},
    "KeepsWhatItComputedWhileActing": {"acting_does_not_disturb_training"},
    "KeepsItsGradientsSmallOnceItActed": {"acting_does_not_disturb_training"},
    "ForgetsTimeWhileTraining": {"training_computes_what_evaluating_computes"},
    "CountsItsForwards": {"only_a_commit_changes_what_is_saved"},
    "HidesAWeight": {"a_state_dict_restores_it"},
    "TiesItsWeights": {"safetensors_can_save_it"},
    "ComputesInHalf": {"single_precision_is_enough"},
}
MESSAGES = {
    "LiesAboutItsWidth": "its output has the shape (4, 4) instead of (4, 5).",
    "CountsInWords": "its out_dim is 4.0, not an integer.",
    "CentresOverTheSequence": "the packed forward pass while training is not causal: timestep 0 "
    "depends on later timesteps. The largest difference is GAP; the tolerance is GAP.",
    "LosesTheCarryBetweenChunks": "in a packed stream, a sequence of 300 timesteps has other "
    "outputs than alone. The largest difference is GAP; the tolerance is GAP.",
    "StartsWhereTimeIsZero": "a slice that begins in the middle of its task has other outputs "
    "alone than in a packed stream. The largest difference is GAP; the tolerance is GAP.",
    "CountsRowsInsteadOfTime": "a slice that begins in the middle of its task has other outputs "
    "stepped with its times than in a packed stream. The largest difference is GAP; the tolerance "
    "is GAP.",
    "SqueezesOneEnvironment": "one environment, stepped alone, has other outputs than among "
    "several. The shape is (4, 20) instead of (1, 20, 4).",
    "StaysFull": "after 12 steps and a reset, the output is not that of an initial state. The "
    "largest difference is GAP; the tolerance is GAP.",
    "KeepsWhatWasInfinite": "after 12 steps of infinite input and a reset, the output is not that "
    "of an initial state. The largest difference is nan; the tolerance is GAP.",
    "TakesTheLongestTime": "stepping, with resets at different times per environment, differs from "
    "the packed forward pass. The largest difference is GAP; the tolerance is GAP.",
    "CarriesANumber": "the acting state's 'steps' is of type int, neither a tensor nor a dictionary.",
    "KeepsEveryStep": "the size of its acting state changes over 18 steps: history from None to "
    "(2, 18).",
    "ClaimsAConstantState": "constant_state is True, but a context ten times as long changes its "
    "acting state: ring from (2, 7, 4) to (2, 61, 4).",
    "DrawsItsOwnWeights": "built twice from one seed, it differs in per_step.",
    "CountsItsPasses": "the same forward pass while evaluating gives different bits twice.",
    "ForgetsTimeWhenCompiled": "torch.compile changes its output; fix that, or set compiles = "
    "False. The largest difference is GAP; the tolerance is GAP.",
    "DetachesWhenCompiled": "torch.compile changes its gradient; fix that, or set compiles = "
    "False. The largest difference is GAP; the tolerance is GAP.",
    "TrainsInVain": "no gradient reaches unused.",
    "ExplodesAtZero": "the gradient is not finite in per_step.",
    "StopsTheGradient": "no finite gradient reaches the encoder through the backbone's input.",
    "DoublesTheGradient": "its gradients differ from finite differences of its output. The largest "
    "difference is GAP; the tolerance is GAP.",
    "KeepsWhatItComputedWhileActing": "after acting under torch.inference_mode it cannot be "
    "trained: Inference tensors cannot be saved for backward. Please do not use Tensors created in "
    "inference mode in computation tracked by autograd. To work around this, you can make a clone "
    "to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
    "`torch.inference_mode()`.",
    "KeepsItsGradientsSmallOnceItActed": "after acting under torch.inference_mode its gradients "
    "differ from a fresh backbone's. The largest difference is GAP; the tolerance is GAP.",
    "ForgetsTimeWhileTraining": "without dropout or statistics, training mode gives another output "
    "than evaluation mode. The largest difference is GAP; the tolerance is GAP.",
    "CountsItsForwards": "a forward pass changed forwards; propose statistics and adopt them in "
    "commit().",
}


def component(name: str) -> Component:
    target = f"broken_backbones:{name}"
    return Component(name, target, broken_backbones.MovingSumOptions, "for tests")


def broken_by(name: str) -> set[str]:
    """Return the names of the laws a backbone breaks."""
    broken = set()
    for law in BACKBONE_LAWS:
        try:
            law(component(name))
        except AssertionError:
            broken.add(law.__name__)
    return broken


@pytest.mark.parametrize("name", ["MovingSum", "SaysItDoesNotCompile"])
@pytest.mark.parametrize("law", BACKBONE_LAWS, ids=lambda law: law.__name__)
def test_a_correct_backbone_passes_every_law(law: Law, name: str) -> None:
    law(component(name))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_backbone_breaks_exactly_its_laws(name: str) -> None:
    assert broken_by(name) == BROKEN[name]


def test_every_law_has_a_backbone_that_breaks_it() -> None:
    assert set().union(*BROKEN.values()) == {law.__name__ for law in BACKBONE_LAWS}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message_of_a_broken_law(name: str) -> None:
    law = next(law for law in BACKBONE_LAWS if law.__name__ in BROKEN[name])
    with pytest.raises(AssertionError) as caught:
        law(component(name))
    assert re.sub(r"\d\.\de[+-]\d\d", "GAP", str(caught.value)) == f"{name}: {MESSAGES[name]}"
