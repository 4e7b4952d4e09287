"""Several datasets drawn as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from toy_datasets import CATALOG, CONTEXT, MIXTURE, options

from amago_registry.errors import DatasetError
from amago_registry.testing import DATASET_LAWS, DatasetLaw, with_options
from amago_standard.datasets import DatasetMixture

TWO = [{"use": "toy", "mark": 1.0}, {"use": "toy", "mark": 2.0}]
THREE = [*TWO, {"use": "toy", "mark": 3.0}]


def mixture(**given: Any) -> DatasetMixture:
    return DatasetMixture(CONTEXT, options(**given))


def marks(dataset: DatasetMixture, count: int, update: int = 0, seed: int = 0) -> list[float]:
    drawn = dataset.sample(np.random.default_rng(seed), count, update)
    return [float(trajectory.columns["reward"][0]) for trajectory in drawn]


@pytest.mark.parametrize("law", DATASET_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("final", [None, [0.0, 3.0]], ids=["fixed", "annealed"])
def test_a_mixture_obeys(law: DatasetLaw, final: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amago_registry.catalog.installed", lambda: CATALOG)
    law(with_options(MIXTURE, datasets=TWO, weights=[1.0, 2.0], final_weights=final))


def test_without_weights_all_are_drawn_alike() -> None:
    dataset = mixture(datasets=THREE)
    assert dataset.shares(0).tolist() == pytest.approx([1 / 3] * 3)
    drawn = marks(dataset, 3000)
    assert [drawn.count(mark) / 3000 for mark in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.03)


def test_weights_say_how_often_each_is_drawn() -> None:
    drawn = marks(mixture(datasets=TWO, weights=[1, 3]), 2000)
    assert drawn.count(2) / 2000 == pytest.approx(0.75, abs=0.03)
    assert set(marks(mixture(datasets=TWO, weights=[0, 3]), 50)) == {2}


def test_shares_move_in_a_line_and_then_stay() -> None:
    dataset = mixture(datasets=TWO, weights=[4, 0], final_weights=[1, 3], anneal_updates=100)
    shares = [dataset.shares(update).tolist() for update in (0, 50, 100, 10**9)]
    assert shares == [[1.0, 0.0], [0.625, 0.375], [0.25, 0.75], [0.25, 0.75]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e300), st.floats(0, 1e300)), min_size=3, max_size=3),
    st.integers(0, 2 * 10**9),
)
def test_shares_always_add_up_to_one(weights: list[tuple[float, float]], update: int) -> None:
    first, final = zip(*weights, strict=True)
    if not any(first) or not any(final):
        return
    dataset = mixture(datasets=THREE, weights=list(first), final_weights=list(final))
    shares = dataset.shares(update)
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1)
    assert len(marks(dataset, 7, update)) == 7


def test_a_mixture_may_hold_a_mixture() -> None:
    inner = {"use": "mixture", "datasets": TWO, "weights": [0, 1]}
    dataset = mixture(datasets=[inner, {"use": "toy", "mark": 5.0}], weights=[1, 0])
    assert set(marks(dataset, 20)) == {2}


def test_its_datasets_are_described_in_order() -> None:
    assert mixture(datasets=TWO).describe() == (
        "1. toys/toy: 10 trajectories of 1; 2. toys/toy: 10 trajectories of 2"
    )
    assert mixture(datasets=TWO[:1]).describe() == "toys/toy: 10 trajectories of 1"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (
            {"actions": 3},
            "actions of the first are Discrete(2), those of the second Discrete(3)",
        ),
        (
            {"width": 2},
            "observations of the first are Box(-1.0, 1.0, (1,), float32), those of the second "
            "Box(-1.0, 1.0, (2,), float32)",
        ),
    ],
    ids=["actions", "observations"],
)
def test_datasets_of_different_spaces_are_refused(other: dict[str, Any], what: str) -> None:
    with pytest.raises(DatasetError) as caught:
        mixture(datasets=[*TWO, {"use": "toy", **other}])
    assert str(caught.value) == (f"the datasets 1. toys/toy and 3. toys/toy cannot be mixed: {what}.")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "has 1 numbers for 2 datasets; write one for each, in their order"),
        ([0.0, 0.0], "leaves no dataset to draw; let one be above 0"),
    ],
    ids=["few", "none"],
)
@pytest.mark.parametrize("name", ["weights", "final_weights"])
def test_weights_that_mix_nothing_are_refused(name: str, weights: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        options(datasets=TWO, **{name: weights})
    (problem,) = caught.value.errors()
    assert (problem["loc"], problem["msg"]) == ((name,), message)
