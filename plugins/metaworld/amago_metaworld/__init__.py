"""Meta-World's robot manipulation benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_metaworld.task import MetaworldPart, MetaworldTask

__all__ = ["MetaworldPart", "MetaworldTask"]

__getattr__ = lazy_exports(__name__, {"MetaworldPart": "task", "MetaworldTask": "task"})


def __dir__() -> list[str]:
    return __all__
