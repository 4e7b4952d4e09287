"""Meta-World specs: their errors, the example and the README."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from suite_specs import ONE_PROCESS, SuiteSpecs

from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_metaworld.names import TASKS
from amago_metaworld.options import Benchmark

ROOT = Path(__file__).parents[2]
README = (ROOT / "plugins" / "metaworld" / "README.md").read_text("utf-8")


class TestSpecs(SuiteSpecs):
    name = "metaworld"
    packages = ("metaworld", "mujoco")
    public = ["MetaworldPart", "MetaworldTask"]
    short_run = [
        "training.steps_per_round=30",
        "environment.attempt_steps=10",
        "evaluation.environment.attempt_steps=10",
        *ONE_PROCESS,
    ]
    missing = (
        "the environment metaworld needs the package metaworld, which cannot be imported here: "
        "{halted}. Install it: pip install 'metaworld>=3.1,<4'"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            "environment.task: null: say which task ML1 is to be, such as 'reach-v3' (from a default)",
        ),
        (
            {"task": "reach-v2"},
            "environment.task: 'reach-v2': Meta-World has no such task. Did you mean 'reach-v3'?",
        ),
        (
            {"task": "DoorOpen"},
            "environment.task: 'DoorOpen': Meta-World has no such task. Did you mean 'door-open-v3'?",
        ),
        (
            {"task": "juggle"},
            "environment.task: 'juggle': Meta-World has no such task. "
            f"Its tasks are {', '.join(TASKS)}",
        ),
        (
            {"benchmark": "ML10", "task": "reach-v3"},
            "environment.task: 'reach-v3': leave it out: ML10 has tasks of its own. "
            "For one task: benchmark=ML1",
        ),
        (
            {"benchmark": "MT10", "split": "test"},
            "environment.split: 'test': MT10 holds nothing out",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_with_what_would(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as raised:
        load_spec({"environment": {"use": "metaworld", **options}})
    assert str(raised.value) == f"the spec has 1 problem:\n  {message}"


def test_the_readme_names_every_benchmark() -> None:
    assert set(re.findall(r"`(M[LT]\d+)`", README)) == set(get_args(Benchmark))
