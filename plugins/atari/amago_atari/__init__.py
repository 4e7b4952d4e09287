"""Atari 2600 games."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_atari.task import AtariPart, AtariTask

__all__ = ["AtariPart", "AtariTask"]

__getattr__ = lazy_exports(__name__, {"AtariPart": "task", "AtariTask": "task"})


def __dir__() -> list[str]:
    return __all__
