"""Several relabelers, one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from goal_walks import CONTEXT, walk
from pydantic import ValidationError
from toy_relabelers import CATALOG, PARTS

from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_registry import RelabelerContext
from amago_standard.relabelers import Chain, RelabelerError
from amago_standard.relabelers.options import ChainOptions


def options(*relabelers: Any) -> ChainOptions:
    return ChainOptions.model_validate({"relabelers": list(relabelers)}, context={"catalog": CATALOG})


def chain(*relabelers: Any, context: RelabelerContext = CONTEXT) -> Chain:
    return Chain(context, options(*relabelers))


def toy(bonus: float) -> dict[str, Any]:
    return {"use": "toy", "bonus": bonus}


def test_each_is_given_what_the_one_before_it_returned() -> None:
    trajectory = {"reward": np.array([1.0])}
    rng = np.random.default_rng(0)
    assert chain(toy(1.0), toy(10.0))(trajectory, rng)["reward"].tolist() == [28]
    assert chain(toy(10.0), toy(1.0))(trajectory, rng)["reward"].tolist() == [46]


def test_all_draw_from_one_generator() -> None:
    columns = chain(toy(0.0), "none", toy(0.0))({"reward": np.ones(1)}, np.random.default_rng(3))
    assert columns["drawn"].tolist() == np.random.default_rng(3).random(2).tolist()


def test_hindsight_twice_relabels_what_the_first_one_returned() -> None:
    trajectory = walk([4, 5, 6, 7], goals=[0, 9])
    counts = []
    for seed in range(200):
        columns = chain("hindsight", "hindsight")(trajectory, np.random.default_rng(seed))
        counts.append(int(columns["reward"].sum()))
    # One draw makes 0, 1 or 2 goals come true, each as often; a second one draws from what is left.
    expected = np.array([1 / 9, 1 / 9 + 1 / 6, 1 / 9 + 1 / 6 + 1 / 3])
    found = np.bincount(counts, minlength=3) / 200
    assert np.abs(found - expected).max() < 0.09


@pytest.mark.parametrize(
    ("relabelers", "identity"),
    [
        (["none"], True),
        (["none", "none"], True),
        (["none", "hindsight"], False),
        ([{"use": "chain", "relabelers": ["none"]}, "none"], True),
        ([{"use": "chain", "relabelers": ["hindsight"]}, "none"], False),
    ],
)
def test_it_changes_nothing_if_none_of_them_does(relabelers: list[Any], identity: bool) -> None:
    made = chain(*relabelers)
    assert made.identity is identity
    trajectory = walk([4, 4], goals=[4])
    assert made(trajectory, np.random.default_rng(0)) is trajectory


def test_its_relabelers_are_built_as_the_engine_wants_and_know_what_it_knows() -> None:
    built: list[Any] = []

    def build(part: Any, context: RelabelerContext) -> Any:
        built.append((part.use, context))
        return part.build(context)

    context = RelabelerContext(with_goals=CONTEXT.with_goals, environment="here", build=build)
    chain("none", "hindsight", context=context)
    assert built == [("standard/none", context), ("standard/hindsight", context)]


def test_an_error_of_a_chained_relabeler_is_raised_unchanged() -> None:
    with pytest.raises(RelabelerError) as caught:
        chain("none", "hindsight", context=RelabelerContext(environment="standard/bandit"))
    assert str(caught.value).startswith("hindsight asks the environment what its actions would have")


def test_an_empty_chain_is_refused() -> None:
    for given in ({"relabelers": []}, {}):
        with pytest.raises(ValidationError) as caught:
            PARTS["chain"].options.model_validate(given, context={"catalog": CATALOG})
        (problem,) = caught.value.errors()
        assert problem["loc"] == ("relabelers",)
        assert problem["msg"] == (
            "Tuple should have at least 1 item after validation, not 0" if given else "Field required"
        )


def test_a_list_of_relabelers_in_a_spec_is_refused_with_the_form_of_a_chain() -> None:
    spec = {"environment": "maze-runner", "relabeler": ["hindsight", "none"]}
    with pytest.raises(SpecError) as caught:
        load_spec(spec)
    assert "for several write {use: chain, relabelers: [...]}" in str(caught.value)


def test_columns_that_are_missing_are_missed_by_any_of_them() -> None:
    columns = {"obs.goals": (2, 1), "obs.obs": (2,)}  # Nothing is achieved here.
    for relabelers in (["hindsight", toy(1.0)], [toy(1.0), "hindsight"]):
        with pytest.raises(RelabelerError, match="no achieved"):
            chain(*relabelers, context=replace(CONTEXT, columns=columns))
