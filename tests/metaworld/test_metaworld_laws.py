"""The laws of environments, on benchmarks of each kind."""

from __future__ import annotations

import pytest
from metaworld_plays import COMPONENT

from amago_registry.testing import ENVIRONMENT_LAWS, Law, with_options

LAWS = pytest.mark.parametrize("law", ENVIRONMENT_LAWS, ids=lambda law: law.__name__)
VARIANTS = {
    "one task": {"task": "reach-v3", "attempt_steps": 8},
    "one task whose goal is shown": {"benchmark": "MT1", "task": "door-open-v3", "attempt_steps": 12},
}
MANY = {
    "one task, held-out goals": {"task": "push-v3", "split": "test", "attempt_steps": 8},
    "ten tasks": {"benchmark": "ML10", "attempts": 2, "attempt_steps": 6},
    "ten tasks that are shown": {"benchmark": "MT10", "attempt_steps": 12},
}


@LAWS
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_task_obeys(variant: str, law: Law) -> None:
    law(with_options(COMPONENT, **VARIANTS[variant]))


@pytest.mark.slow
@LAWS
@pytest.mark.parametrize("variant", MANY)
def test_the_others_obey(variant: str, law: Law) -> None:
    law(with_options(COMPONENT, **MANY[variant]))
