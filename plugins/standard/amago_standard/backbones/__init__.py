"""Sequence backbones and the attention kernels behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.backbones.gru import GRU
    from amago_standard.backbones.mlp import MLPBackbone
    from amago_standard.backbones.transformer import Transformer

__all__ = ["GRU", "MLPBackbone", "Transformer"]

__getattr__ = lazy_exports(__name__, {"GRU": "gru", "MLPBackbone": "mlp", "Transformer": "transformer"})
