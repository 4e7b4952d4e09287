"""The components that amago-core itself registers: the dataset ``shards``.

Imported by every ``amago`` command, so nothing here may import torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from amago_core.run_folder.dataset_options import ShardsOptions
from amago_registry.component import Component
from amago_registry.hookspecs import hookimpl


@hookimpl
def amago_register_datasets() -> Iterable[Component]:
    """Register the dataset of shards, the engine's own file format."""
    return [
        Component(
            "shards",
            "amago_core.run_folder.dataset:ShardsDataset",
            ShardsOptions,
            "the trajectories of another run: its replay, or any folder of shards",
        )
    ]
