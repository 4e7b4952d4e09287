"""Datasets that combine other datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.datasets.mixture import DatasetMixture

__all__ = ["DatasetMixture"]

__getattr__ = lazy_exports(__name__, {"DatasetMixture": "mixture"})
