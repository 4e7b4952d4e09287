"""Timestep encoders: observation, previous action and reward to one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.encoders.mlp import MLPEncoder

__all__ = ["MLPEncoder"]

__getattr__ = lazy_exports(__name__, {"MLPEncoder": "mlp"})
