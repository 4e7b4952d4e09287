"""The laws of relabelers, for all of them, with their defaults and with other options."""

from __future__ import annotations

from typing import Any

import pytest

from amago_registry import Component
from amago_registry.testing import RELABELER_LAWS, RelabelerLaw, with_options
from amago_standard.hooks import amago_register_relabelers

PARTS = {component.name: component for component in amago_register_relabelers()}
NEEDED = {"chain": {"relabelers": ["none", "hindsight"]}}
"""Options of those that have no defaults for all."""

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "hindsight, all goals": ("hindsight", {"goals": "all"}),
    "hindsight, future": ("hindsight", {"goals": "all", "strategy": "future"}),
    "hindsight, final": ("hindsight", {"strategy": "final", "candidates": "changed"}),
    "hindsight, rare": ("hindsight", {"rarity": 4.0, "probability": 0.5}),
    "chain of nothing": ("chain", {"relabelers": ["none", "none"]}),
    "chain of hindsight": ("chain", {"relabelers": ["hindsight", "hindsight"]}),
}
TRIED = {
    **{name: with_options(part, **NEEDED.get(name, {})) for name, part in PARTS.items()},
    **{name: with_options(PARTS[part], **options) for name, (part, options) in OTHERS.items()},
}


@pytest.mark.parametrize("law", RELABELER_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", TRIED.values(), ids=TRIED)
def test_relabeler_obeys(component: Component, law: RelabelerLaw) -> None:
    law(component)
