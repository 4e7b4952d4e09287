"""Components of amago-metaworld. Imported by every ``amago`` command: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable

from amago_metaworld.options import MetaworldOptions
from amago_registry import Component, hookimpl


@hookimpl
def amago_register_environments() -> Iterable[Component]:
    """Environments."""
    return [
        Component(
            "metaworld",
            "amago_metaworld.task:MetaworldPart",
            MetaworldOptions,
            "a robot arm and several attempts at one hidden goal: Meta-World's benchmarks",
        )
    ]
