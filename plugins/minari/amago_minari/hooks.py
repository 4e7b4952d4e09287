"""Components of amago-minari. Imported by every ``amago`` command: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable

from amago_minari.options import MinariOptions
from amago_registry import Component, hookimpl


@hookimpl
def amago_register_datasets() -> Iterable[Component]:
    """Datasets."""
    return [
        Component(
            "minari",
            "amago_minari.dataset:MinariDataset",
            MinariOptions,
            "a dataset of Minari by its id, such as those of D4RL",
        )
    ]
