"""Actors and critics: what hangs on the state representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.heads.actor import MLPActor
    from amago_standard.heads.critic import EnsembleCritic

__all__ = ["EnsembleCritic", "MLPActor"]

__getattr__ = lazy_exports(__name__, {"EnsembleCritic": "critic", "MLPActor": "actor"})
