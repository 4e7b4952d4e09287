"""Timestep encoders: observation, previous action and reward to one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.encoders.cnn import GridCNN, ImpalaCNN, NatureCNN
    from amago_standard.encoders.goals import GoalMLP, GoalRNN
    from amago_standard.encoders.mlp import MLPEncoder

__all__ = ["GoalMLP", "GoalRNN", "GridCNN", "ImpalaCNN", "MLPEncoder", "NatureCNN"]

__getattr__ = lazy_exports(
    __name__,
    {
        "GoalMLP": "goals",
        "GoalRNN": "goals",
        "GridCNN": "cnn",
        "ImpalaCNN": "cnn",
        "MLPEncoder": "mlp",
        "NatureCNN": "cnn",
    },
)
