"""Minari's offline datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_minari.dataset import MinariDataset

__all__ = ["MinariDataset"]

__getattr__ = lazy_exports(__name__, {"MinariDataset": "dataset"})


def __dir__() -> list[str]:
    return __all__
