"""Components of amago-minigrid. Imported by every ``amago`` command: nothing heavy here."""

from __future__ import annotations

from collections.abc import Iterable

from amago_minigrid.options import GridEncoderOptions, MinigridOptions
from amago_registry import Component, hookimpl


@hookimpl
def amago_register_environments() -> Iterable[Component]:
    """Environments."""
    return [
        Component(
            "minigrid",
            "amago_minigrid.task:MinigridPart",
            MinigridOptions,
            "a game of MiniGrid or BabyAI by its id: rooms, doors and keys, asked for in words",
        )
    ]


@hookimpl
def amago_register_encoders() -> Iterable[Component]:
    """Encoders of timesteps."""
    return [
        Component(
            "minigrid",
            "amago_minigrid.grid_encoder:GridEncoder",
            GridEncoderOptions,
            "learned vectors for what is in each cell of a grid, read by small convolutions",
        )
    ]
