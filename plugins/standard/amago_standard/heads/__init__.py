"""Actors and critics: the heads on top of the state representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.heads.actor import MLPActor, ResidualMLPActor
    from amago_standard.heads.classification import HLGaussCritic, TwoHotCritic
    from amago_standard.heads.critic import EnsembleCritic

__all__ = ["EnsembleCritic", "HLGaussCritic", "MLPActor", "ResidualMLPActor", "TwoHotCritic"]

__getattr__ = lazy_exports(
    __name__,
    {
        "EnsembleCritic": "critic",
        "HLGaussCritic": "classification",
        "TwoHotCritic": "classification",
        "MLPActor": "actor",
        "ResidualMLPActor": "actor",
    },
)
