"""Relabelers: they rewrite a sampled trajectory's goals and rewards, as in hindsight relabeling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.relabelers.chain import Chain
    from amago_standard.relabelers.errors import RelabelerError
    from amago_standard.relabelers.hindsight import Hindsight
    from amago_standard.relabelers.none import NoRelabeler

__all__ = ["Chain", "Hindsight", "NoRelabeler", "RelabelerError"]

__getattr__ = lazy_exports(
    __name__,
    {
        "Chain": "chain",
        "Hindsight": "hindsight",
        "NoRelabeler": "none",
        "RelabelerError": "errors",
    },
)
