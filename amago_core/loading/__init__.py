"""Batches, drawn and packed ahead of the learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.loading.loader import Loader, make_loader
    from amago_core.loading.workers import LoaderError

__all__ = ["Loader", "LoaderError", "make_loader"]

__getattr__ = lazy_exports(
    __name__, {"Loader": "loader", "LoaderError": "workers", "make_loader": "loader"}
)


def __dir__() -> list[str]:
    return __all__
