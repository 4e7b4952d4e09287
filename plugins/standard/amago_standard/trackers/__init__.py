"""Trackers: logs of a run's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.trackers.jsonl import JsonlTracker

__all__ = ["JsonlTracker"]

__getattr__ = lazy_exports(__name__, {"JsonlTracker": "jsonl"})
