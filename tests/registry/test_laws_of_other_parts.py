"""Laws of attention kernels and critics: each is broken by some part, and correct parts pass all."""

from __future__ import annotations

import subprocess
import sys

import broken_parts
import pytest
import torch
from torch import nn

from amago_registry import Component, Field, Options
from amago_registry.testing import (
    ATTENTION_LAWS,
    CRITIC_LAWS,
    Law,
    with_options,
)
from amago_registry.testing.attentions import a_window_limits_what_packed_rows_see
from amago_registry.testing.building import require_finite_gradients

LAWS = {
    "Kernel": ATTENTION_LAWS,
    "Critic": CRITIC_LAWS,
}
PACKED = {
    "packed_rows_attend_to_their_past",
    "a_window_limits_what_packed_rows_see",
    "query_heads_share_key_value_heads",
    "packed_rows_see_their_sinks",
}
STEPPED = {
    "query_heads_share_key_value_heads",
    "stepping_attends_to_what_each_environment_saw",
    "a_full_cache_forgets_the_oldest",
    "a_window_limits_what_steps_see",
    "a_reset_forgets_the_sinks",
}
SINKS_OF_STEPS = {"a_full_cache_keeps_its_sinks"}
APPROACH = "a_step_down_the_loss_moves_the_value_towards_the_target"
BROKEN = {
    "ForgetsToScale": PACKED,
    "DetachesKeys": PACKED,
    "LooksOneTooFarBack": {"a_window_limits_what_packed_rows_see", "packed_rows_see_their_sinks"},
    "LosesTheBlockBefore": {"a_window_limits_what_packed_rows_see", "packed_rows_see_their_sinks"},
    "InterleavesHeads": {"query_heads_share_key_value_heads", "packed_rows_see_their_sinks"},
    "NeverResets": STEPPED,
    "ForgetsNothing": {"a_full_cache_forgets_the_oldest"} | SINKS_OF_STEPS,
    "IgnoresTheWindow": {"a_window_limits_what_steps_see"} | SINKS_OF_STEPS,
    "IgnoresSinks": {"packed_rows_see_their_sinks"} | SINKS_OF_STEPS,
    "PacksWithoutSinks": {"packed_rows_see_their_sinks"},
    "OverwritesSinks": SINKS_OF_STEPS,
    "KeepsSinksForGood": {"a_reset_forgets_the_sinks"},
    "HasNoScale": {law.__name__ for law in CRITIC_LAWS},
    "RefusesEverything": {law.__name__ for law in CRITIC_LAWS},
    "ValuesTheFirstAlone": {"several_actions_are_valued_as_each_alone"},
    "PutsActionsLast": {"several_actions_are_valued_as_each_alone"},
    "NeverForgets": {"what_is_forgotten_leaves_no_trace"},
    "SelectsTheFirst": {"values_have_a_place_per_member_and_discount"},
    "AveragesItsLoss": {"values_have_a_place_per_member_and_discount", APPROACH},
    "DetachesItsLoss": {"a_critic_learns_in_every_parameter", APPROACH},
    "IgnoresTheTarget": {APPROACH},
    "ClimbsItsLoss": {APPROACH},
    "SwapsDiscounts": {APPROACH},
    "LearnsOneDiscount": {APPROACH},
    "FlattensValues": {"normalize_keeps_shape_and_order"},
    "TurnsValuesAround": {"normalize_keeps_shape_and_order"},
    "TakesMembersForDiscounts": {"normalize_keeps_shape_and_order"},
    "ObservesForGood": {"statistics_wait_for_a_commit", "what_is_forgotten_leaves_no_trace"},
    "AdoptsLate": {"statistics_wait_for_a_commit"},
    "RescalesItsPast": {"values_outlive_new_statistics"},
    "RescalesBelow": {"values_outlive_new_statistics", "what_is_forgotten_leaves_no_trace"},
}


def component(name: str) -> Component:
    return Component(name, f"broken_parts:{name}", broken_parts.NoOptions, "for tests")


def laws_of(name: str) -> tuple[Law, ...]:
    """Return the laws of the kind that a part of ``broken_parts`` derives from."""
    part = getattr(broken_parts, name)
    (kind,) = (kind for kind in LAWS if issubclass(part, getattr(broken_parts, kind)))
    return LAWS[kind]


def broken_by(name: str) -> set[str]:
    broken = set()
    for law in laws_of(name):
        try:
            law(component(name))
        except AssertionError:
            broken.add(law.__name__)
    return broken


@pytest.mark.parametrize("name", [*LAWS, "CriticOfBoxes", "HasNoSinks"])
def test_a_correct_part_passes_every_law(name: str) -> None:
    assert broken_by(name) == set()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_part_breaks_exactly_these_laws(name: str) -> None:
    assert broken_by(name) == BROKEN[name]


def test_every_law_is_broken_by_some_part() -> None:
    every = {law.__name__ for laws in LAWS.values() for law in laws}
    unusable = {"HasNoScale", "RefusesEverything"}
    broken = set().union(*(BROKEN[name] for name in BROKEN.keys() - unusable))
    assert broken == every - {"a_critic_offers_what_objectives_call"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("HasNoScale", "it lacks normalize, which the protocol Critic requires."),
        (
            "RefusesEverything",
            "it supports none of the action spaces Discrete(4), Box(-1.0, 1.0, (3,), float32), "
            "MultiBinary(3), MultiDiscrete([3 2]).",
        ),
    ],
)
def test_missing_methods_and_spaces_are_named(name: str, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        laws_of(name)[0](component(name))
    assert str(caught.value) == f"{name}: {message}"


def test_the_error_of_a_wrong_kernel_names_heads_window_and_sinks() -> None:
    with pytest.raises(AssertionError) as caught:
        a_window_limits_what_packed_rows_see(component("LosesTheBlockBefore"))
    assert str(caught.value) == (
        "LosesTheBlockBefore: packed attention with 4 key/value heads for 4 query heads, a window of "
        "20 and 0 sinks differs from the masked softmax. The largest difference is 2.9e+00; the "
        "tolerance is 2.3e-09."
    )


def sparse_embedding(scale: float) -> nn.Embedding:
    """Return an embedding of three words with a sparse gradient for one of them."""
    module = nn.Embedding(3, 2, sparse=True)
    (scale * module(torch.tensor([1])).sum()).backward()
    return module


def test_a_sparse_gradient_is_a_gradient() -> None:
    module = sparse_embedding(1.0)
    assert module.weight.grad is not None
    assert module.weight.grad.is_sparse
    require_finite_gradients(module, component("Critic"))
    # The error if a sparse gradient counted as missing.
    module.weight.grad = None
    with pytest.raises(AssertionError) as caught:
        require_finite_gradients(module, component("Critic"))
    assert str(caught.value) == "Critic: no gradient reaches weight."


def test_a_sparse_gradient_that_is_not_finite_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        require_finite_gradients(sparse_embedding(float("nan")), component("Critic"))
    assert str(caught.value) == "Critic: the gradient is not finite in weight."


class TwoOptions(Options):
    """Options with something to choose."""

    layers: int = Field(2, ge=1, description="One.")
    width: int = Field(8, ge=1, description="Two.")


def test_with_options_changes_defaults_and_nothing_else() -> None:
    before = Component("x", "module:X", TwoOptions, "for tests")
    after = with_options(before, layers=5)
    assert (after.name, after.target, after.summary) == (before.name, before.target, before.summary)
    assert after.options().model_dump() == {"layers": 5, "width": 8}
    assert after.options(layers=3).model_dump() == {"layers": 3, "width": 8}
    assert isinstance(after.options(), TwoOptions)
    assert before.options().layers == 2


def test_with_options_validates_its_values() -> None:
    with pytest.raises(ValueError, match="Input should be greater than or equal to 1"):
        with_options(Component("x", "module:X", TwoOptions, "for tests"), layers=0).options()


def test_importing_the_laws_package_loads_no_torch() -> None:
    code = "import sys, amago_registry.testing; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
