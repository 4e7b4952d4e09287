"""Moves on a square grid."""

from __future__ import annotations

from typing import Final, TypeAlias

Cell: TypeAlias = tuple[int, int]

MOVES: Final[tuple[Cell, ...]] = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Stay, right, left, down, up: x counts from the left, y from the top."""


def moved(cell: Cell, move: Cell, size: int) -> Cell:
    """Return the cell that a move leads to; the edge of the grid blocks."""
    x, y = cell[0] + move[0], cell[1] + move[1]
    last = size - 1
    return (0 if x < 0 else min(x, last)), (0 if y < 0 else min(y, last))
