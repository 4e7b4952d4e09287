"""Sequence backbones and the attention kernels behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.backbones.deltanet import GatedDeltaNet
    from amago_standard.backbones.ffm import FFM
    from amago_standard.backbones.gru import GRU
    from amago_standard.backbones.hybrid import Hybrid
    from amago_standard.backbones.lru import LRU
    from amago_standard.backbones.lstm import LSTM
    from amago_standard.backbones.mamba import Mamba
    from amago_standard.backbones.minimal import MinGRU, MinLSTM
    from amago_standard.backbones.mlp import MLPBackbone
    from amago_standard.backbones.transformer import Transformer

__all__ = [
    "FFM",
    "GRU",
    "LRU",
    "LSTM",
    "GatedDeltaNet",
    "Hybrid",
    "MLPBackbone",
    "Mamba",
    "MinGRU",
    "MinLSTM",
    "Transformer",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "FFM": "ffm",
        "GRU": "gru",
        "GatedDeltaNet": "deltanet",
        "Hybrid": "hybrid",
        "LRU": "lru",
        "LSTM": "lstm",
        "MLPBackbone": "mlp",
        "Mamba": "mamba",
        "MinGRU": "minimal",
        "MinLSTM": "minimal",
        "Transformer": "transformer",
    },
)
