"""The laws of relabelers, for all of them."""

from __future__ import annotations

import pytest

from amago_registry import Component
from amago_registry.testing import RELABELER_LAWS, RelabelerLaw
from amago_standard.hooks import amago_register_relabelers


@pytest.mark.parametrize("law", RELABELER_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", amago_register_relabelers(), ids=lambda c: c.name)
def test_relabeler_obeys(component: Component, law: RelabelerLaw) -> None:
    law(component)
