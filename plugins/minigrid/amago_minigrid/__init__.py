"""MiniGrid's and BabyAI's environments, and an encoder of their grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_minigrid.grid_encoder import GridEncoder
    from amago_minigrid.missions import MissionError, mission
    from amago_minigrid.task import MinigridPart, MinigridTask

__all__ = ["GridEncoder", "MinigridPart", "MinigridTask", "MissionError", "mission"]

__getattr__ = lazy_exports(
    __name__,
    {
        "GridEncoder": "grid_encoder",
        "MinigridPart": "task",
        "MinigridTask": "task",
        "MissionError": "missions",
        "mission": "missions",
    },
)


def __dir__() -> list[str]:
    return __all__
