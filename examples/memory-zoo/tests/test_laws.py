"""The laws every backbone obeys."""

import pytest

from amago_memory_zoo.hooks import amago_register_backbones
from amago_registry.testing import BACKBONE_LAWS


@pytest.mark.parametrize("law", BACKBONE_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", amago_register_backbones(), ids=lambda c: c.name)
def test_backbone_obeys(component, law):
    law(component)
