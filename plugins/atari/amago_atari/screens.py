"""Downscaling of Atari screens to square observations.

Shape suffixes: Y, X = rows and columns of a screen, C = channels, S = rows or columns of the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Picture:
    """Downscales screens to a square by area averaging: each pixel is the mean of what it covers.

    Games have screens of unlike heights; all become the same square.

    Args:
        height: Rows of a screen.
        width: Columns of a screen.
        size: Rows and columns of the picture.
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        # Sums of whole numbers below 2**24 are exact in float32, in whatever order they are added.
        assert 255 * height * width < 2**24
        self._rows_SY = _overlaps(height, size)
        self._columns_XS = _overlaps(width, size).T
        self._area = np.float32(height * width)

    def __call__(self, screen_YXC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture ``(S, S, C)``."""
        screen_CYX = screen_YXC.transpose(2, 0, 1).astype(np.float32)
        sums_CSS = self._rows_SY @ screen_CYX @ self._columns_XS
        means_CSS = np.floor(sums_CSS / self._area + np.float32(0.5)).astype(np.uint8)
        return np.ascontiguousarray(means_CSS.transpose(1, 2, 0))


def _overlaps(length: int, size: int) -> NDArray[np.float32]:
    """Return how much of each of ``length`` cells lies in each of ``size`` cells of the same whole.

    In units in which a cell of the first kind has ``size``, one of the second ``length``: whole
    numbers.
    """
    left_S1 = np.arange(size)[:, None] * length
    left_Y = np.arange(length) * size
    shared_SY = np.minimum(left_S1 + length, left_Y + size) - np.maximum(left_S1, left_Y)
    overlaps_SY: NDArray[np.float32] = np.maximum(shared_SY, 0).astype(np.float32)
    return overlaps_SY
