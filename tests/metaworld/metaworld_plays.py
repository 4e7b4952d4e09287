"""Test helpers: benchmarks by name."""

from __future__ import annotations

from typing import Any

from amago_metaworld.hooks import amago_register_environments
from amago_metaworld.task import MetaworldPart, MetaworldTask
from amago_registry import Component
from amago_registry.contexts import EnvironmentContext

(METAWORLD,) = amago_register_environments()
COMPONENT: Component = METAWORLD


def make(seed: int = 0, **options: Any) -> MetaworldTask:
    part = MetaworldPart(EnvironmentContext(seed=seed), COMPONENT.options(**options))
    return part.make()
