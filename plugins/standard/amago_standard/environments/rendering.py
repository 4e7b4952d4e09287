"""Pictures of grids, for ``render_mode="rgb_array"``."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FLOOR: Final = 0
WALL: Final = 1
AGENT: Final = 2
GOAL: Final = 3
HOLE: Final = 4

_PALETTE = np.array(
    [(236, 240, 244), (55, 62, 72), (48, 116, 214), (64, 164, 92), (196, 82, 74)], dtype=np.uint8
)


def paint(cells_HW: NDArray[np.int64], scale: int) -> NDArray[np.uint8]:
    """Return an image ``(H * scale, W * scale, 3)`` of a grid of colour numbers, row 0 on top."""
    return _PALETTE[cells_HW].repeat(scale, axis=0).repeat(scale, axis=1)
