"""Datasets in the format of the replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.datasets.shards import ShardsDataset

__all__ = ["ShardsDataset"]

__getattr__ = lazy_exports(__name__, {"ShardsDataset": "shards"})
