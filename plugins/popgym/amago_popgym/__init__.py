"""POPGym's memory benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_popgym.task import PopgymPart, PopgymTask

__all__ = ["PopgymPart", "PopgymTask"]

__getattr__ = lazy_exports(__name__, {"PopgymPart": "task", "PopgymTask": "task"})


def __dir__() -> list[str]:
    return __all__
