"""Random mazes on square grids.

A grid is a ``bytearray`` of ``size * size`` cells, row by row: 1 is free, 0 is wall.
"""

from __future__ import annotations

import numpy as np

_DENSITY = 0.75
"""Walls that begin to grow, per 2 x 2 cells."""


def maze(size: int, rng: np.random.Generator) -> bytearray:
    """Return a maze in which every free cell can be reached from every other, often in several ways.

    Posts stand where row and column are even. One after the other, some posts become wall, drawn
    with those of the edge and those that are wall already. From each a wall grows to a random next
    post that is none yet, and on from there, until there is none. So no wall ever closes a ring.

    Args:
        size: Rows, and columns: odd, at least 3. Those at the edge are wall.
        rng: Draws; asked the same way for mazes of one size.
    """
    half = size // 2
    free = bytearray(size * size)
    open_rows(free, size, range(1, size - 1))
    width, taken = half + 2, _edge_posts(half)
    directions = ((-width, -size), (-1, -1), (1, 1), (width, size))
    draws = iter(rng.random((half - 1) ** 2).tolist())
    for start in rng.integers((half + 1) ** 2, size=int(_DENSITY * half**2)).tolist():
        row, column = divmod(start, half + 1)
        post, cell = row * width + column, 2 * row * size + 2 * column
        taken[post], free[cell] = 1, 0
        while ways := [way for way in directions if not taken[post + way[0]]]:
            to_post, to_cell = ways[int(next(draws) * len(ways))]
            free[cell + to_cell] = free[cell + 2 * to_cell] = 0
            post, cell = post + to_post, cell + 2 * to_cell
            taken[post] = 1
    return free


def _edge_posts(half: int) -> bytearray:
    """Return which posts are wall at first, row by row.

    One more row and column than there are posts, all of them wall: a look beyond any edge ends there.
    """
    width = half + 2
    taken = bytearray(b"\x01") * width**2
    for row in range(1, half):
        taken[row * width + 1 : row * width + half] = bytes(half - 1)
    return taken


def open_rows(free: bytearray, size: int, rows: range) -> None:
    """Open all cells of some rows but those at the edge."""
    for row in rows:
        free[row * size + 1 : (row + 1) * size - 1] = b"\x01" * (size - 2)


def sight(free: bytearray, cell: int, step: int) -> int:
    """Return how many free cells lie in a row beyond a cell; ``step`` is the way to the next."""
    count = 0
    while free[cell + step]:
        cell += step
        count += 1
    return count
