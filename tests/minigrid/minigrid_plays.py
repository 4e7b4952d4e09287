"""Test helpers: games by id."""

from __future__ import annotations

from typing import Any

from amago_minigrid.hooks import amago_register_encoders, amago_register_environments
from amago_minigrid.task import MinigridPart, MinigridTask
from amago_registry import Component
from amago_registry.contexts import EnvironmentContext

(ENVIRONMENT,) = amago_register_environments()
(ENCODER,) = amago_register_encoders()
COMPONENT: Component = ENVIRONMENT

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


def make(name: str, **options: Any) -> MinigridTask:
    part = MinigridPart(EnvironmentContext(), COMPONENT.options(id=name, **options))
    return part.make()
