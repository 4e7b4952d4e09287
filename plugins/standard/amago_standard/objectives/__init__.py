"""Objectives: the losses that train an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.objectives.amago import AmagoObjective

__all__ = ["AmagoObjective"]

__getattr__ = lazy_exports(__name__, {"AmagoObjective": "amago"})
