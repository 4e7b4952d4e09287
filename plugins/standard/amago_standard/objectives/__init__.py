"""Objectives: the losses that train an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.objectives.amago import AmagoObjective
    from amago_standard.objectives.behavior_cloning import BehaviorCloning

__all__ = ["AmagoObjective", "BehaviorCloning"]

__getattr__ = lazy_exports(__name__, {"AmagoObjective": "amago", "BehaviorCloning": "behavior_cloning"})
