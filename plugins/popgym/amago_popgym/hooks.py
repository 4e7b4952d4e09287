"""Components of amago-popgym. Imported by every ``amago`` command: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable

from amago_popgym.options import PopgymOptions
from amago_registry import Component, hookimpl


@hookimpl
def amago_register_environments() -> Iterable[Component]:
    """Environments."""
    return [
        Component(
            "popgym",
            "amago_popgym.task:PopgymPart",
            PopgymOptions,
            "an environment of POPGym by its id: card games, boards and control that need memory",
        )
    ]
