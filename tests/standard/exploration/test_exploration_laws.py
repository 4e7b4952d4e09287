"""Exploration laws, for all components with default and very different options."""

from __future__ import annotations

import pytest

from amago_registry import Component
from amago_registry.testing import EXPLORATION_LAWS, Law, with_options
from amago_standard.hooks import amago_register_explorations

EXPLORATIONS = {component.name: component for component in amago_register_explorations()}
VARIANTS = EXPLORATIONS | {
    f"{name} alike in every task": with_options(component, randomize=False)
    for name, component in EXPLORATIONS.items()
    if name != "none"
}


@pytest.mark.parametrize("law", EXPLORATION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", VARIANTS.values(), ids=VARIANTS)
def test_exploration_obeys(component: Component, law: Law) -> None:
    law(component)
