"""Lists of environments in a spec: shorthand for a mixture."""

from pathlib import Path
from typing import Any, Literal

import pytest
from fake_catalog import CATALOG, STANDARD, MazeOptions

from amago_core.errors import SpecError
from amago_core.spec import RunSpec, load_spec
from amago_core.spec.yaml_files import dump_spec, spec_yaml
from amago_registry import Catalog, Component, Field, Options, Part, Plugin


class MixtureOptions(Options):
    tasks: list[Part[Literal["environment"]]] = Field(min_length=1, description="Environments.")
    show_task: bool = Field(True, description="Observe which it is.")


MIXTURE = ("environment", Component("mixture", "parts:mixture", MixtureOptions, "a mixture"))
BANDIT = ("environment", Component("bandit", "parts:bandit", MazeOptions, "a bandit"))
PLUGIN = Plugin("standard", "amago-standard", "0.1.0", (*STANDARD.offers, MIXTURE, BANDIT))
MIXED = Catalog([PLUGIN])


def load(source: dict[str, Any], *overrides: str) -> RunSpec:
    return load_spec(source, overrides, catalog=MIXED)


def sizes(part: Any) -> list[tuple[str, int]]:
    """The tasks of a mixture."""
    assert part.use == "standard/mixture"
    return [(task.use, task.options.size) for task in part.options.tasks]


def problems(source: dict[str, Any], *overrides: str, catalog: Catalog = MIXED) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(source, overrides, catalog=catalog)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


LIST = {"environment": ["t-maze", {"use": "bandit", "size": 3}]}
BOTH = [("standard/t-maze", 9), ("standard/bandit", 3)]


def test_a_list_is_a_mixture_and_so_is_the_resolved_spec(tmp_path: Path) -> None:
    spec = load(LIST)
    assert sizes(spec.environment) == BOTH
    assert dump_spec(spec)["environment"]["use"] == "standard/mixture"
    file = tmp_path / "spec.yaml"
    file.write_text(spec_yaml(spec))
    assert load_spec(file, [f"name={spec.name}"], catalog=MIXED) == spec


def test_a_list_in_a_file_is_a_mixture(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("environment:\n- t-maze\n- {use: bandit, size: 3}\n")
    assert sizes(load_spec(file, catalog=MIXED).environment) == BOTH


def test_evaluation_environment_may_be_a_list() -> None:
    spec = load({"environment": "t-maze", "evaluation": {"environment": LIST["environment"]}})
    assert sizes(spec.evaluation.environment) == BOTH
    assert spec.environment is not None
    assert spec.environment.use == "standard/t-maze"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["environment.0.size=4"], [("standard/t-maze", 4), ("standard/bandit", 3)]),
        (["environment[1].size=4"], [("standard/t-maze", 9), ("standard/bandit", 4)]),
        (["environment.1=t-maze"], [("standard/t-maze", 9), ("standard/t-maze", 9)]),
        (["environment.tasks.0.size=4"], [("standard/t-maze", 4), ("standard/bandit", 3)]),
        (["environment=[bandit]"], [("standard/bandit", 9)]),
        (["environment=[bandit]", "environment.0.size=5"], [("standard/bandit", 5)]),
        (["environment=t-maze", "environment=[bandit,bandit]"], [("standard/bandit", 9)] * 2),
    ],
)
def test_overrides_set_items_of_a_list_by_index(
    overrides: list[str], expected: list[tuple[str, int]]
) -> None:
    assert sizes(load(LIST, *overrides).environment) == expected


def test_tasks_of_an_explicit_mixture_are_set_by_index() -> None:
    written = {"environment": {"use": "mixture", "tasks": ["t-maze"], "show_task": False}}
    spec = load(written, "environment.0.size=4")
    assert sizes(spec.environment) == [("standard/t-maze", 4)]
    assert spec.environment is not None
    assert spec.environment.options.model_dump()["show_task"] is False


def test_an_override_sets_an_option_of_a_lists_mixture() -> None:
    spec = load(LIST, "environment.show_task=false")
    assert spec.environment is not None
    assert spec.environment.options.model_dump()["show_task"] is False
    assert sizes(spec.environment) == BOTH


def test_an_override_of_a_copied_list_leaves_the_original() -> None:
    written = {**LIST, "evaluation": {"environment": "${environment}"}}
    spec = load(written, "evaluation.environment.0.size=4")
    assert sizes(spec.environment) == BOTH
    assert sizes(spec.evaluation.environment) == [("standard/t-maze", 4), ("standard/bandit", 3)]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "environment.0.sise=4",
            "environment.0.sise: t-maze has no such option. Did you mean 'size'?",
        ),
        ("environment.1.size=1", "environment.1.size: 1 is not at least 2"),
        (
            "environment.1=bandt",
            "environment.1: no environment is called 'bandt'. Did you mean 'bandit'? "
            "Installed: bandit, gymnasium, mixture, t-maze.",
        ),
        (
            "environment.2=bandit",
            "environment.2: there is no such item; items of a list are numbered from 0, or set the "
            "whole list",
        ),
        ("environment=[]", "environment: [] is not a list of at least 1 items"),
        (
            "environment=[3]",
            "environment.0: names no environment. Write 'some-name' or '{use: some-name, ...}'; "
            "`amago components environment` lists them",
        ),
        (
            "environment=[gymnasium]",
            "environment.0.id: is missing; gymnasium requires it. Registered id of the environment.",
        ),
        ("environment.tasks.1.size=1", "environment.tasks.1.size: 1 is not at least 2"),
    ],
)
def test_a_problem_names_the_key_as_written_and_the_override(override: str, expected: str) -> None:
    assert problems(LIST, override) == [f"{expected} (from the override '{override}')"]


def test_a_problem_in_the_file_names_the_key_as_written() -> None:
    assert problems({"environment": ["t-maze", {"use": "bandit", "sise": 3}]}) == [
        "environment.1.sise: bandit has no such option. Did you mean 'size'?"
    ]


def test_an_index_into_a_single_environment_is_an_unknown_option() -> None:
    assert problems({"environment": "t-maze"}, "environment.0.size=4") == [
        "environment.0: t-maze has no such option. Possible: size, rooms. "
        "(from the override 'environment.0.size=4')"
    ]


def test_without_an_installed_mixture_a_list_is_refused() -> None:
    message = "a list of environments is a mixture of them: no environment is called 'mixture'."
    known = "Installed: gymnasium, t-maze."
    assert problems({"environment": ["t-maze"]}, catalog=CATALOG) == [f"environment: {message} {known}"]
    evaluated = {"environment": "t-maze", "evaluation": {"environment": ["t-maze"]}}
    assert problems(evaluated, catalog=CATALOG) == [f"evaluation.environment: {message} {known}"]
    assert problems({}, "environment=[t-maze]", catalog=CATALOG) == [
        f"environment: {message} {known} (from the override 'environment=[t-maze]')"
    ]


def test_a_list_in_place_of_a_section_is_refused() -> None:
    assert problems({"environment": "t-maze", "evaluation": ["t-maze"]}) == [
        'evaluation: ["t-maze"] is not a mapping'
    ]
