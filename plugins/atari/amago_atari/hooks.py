"""Components of amago-atari. Imported by every ``amago`` command: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable

from amago_atari.options import AtariOptions
from amago_registry import Component, hookimpl


@hookimpl
def amago_register_environments() -> Iterable[Component]:
    """Environments."""
    return [
        Component(
            "atari",
            "amago_atari.task:AtariPart",
            AtariOptions,
            "Atari 2600 games from their pictures: one of them, or one of several per trajectory",
        )
    ]
