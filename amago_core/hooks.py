"""What amago-core offers itself. Imported by every ``amago`` command: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable

from amago_core.run_folder.dataset_options import ShardsOptions
from amago_registry.component import Component
from amago_registry.hookspecs import hookimpl


@hookimpl
def amago_register_datasets() -> Iterable[Component]:
    """Datasets in the engine's own format, which no plugin knows."""
    return [
        Component(
            "shards",
            "amago_core.run_folder.dataset:ShardsDataset",
            ShardsOptions,
            "what another run has collected: its replay, or any folder of shards",
        )
    ]
