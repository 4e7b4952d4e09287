from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_standard.environments.mazes import maze, open_rows, sight


def drawn(size: int, seed: int) -> np.ndarray:
    return np.array(maze(size, np.random.default_rng(seed))).reshape(size, size)


def grid(*rows: str) -> bytearray:
    return bytearray(symbol == "." for symbol in "".join(rows))


def reachable(free: np.ndarray) -> set[tuple[int, int]]:
    found, ahead = {(1, 1)}, [(1, 1)]
    while ahead:
        row, column = ahead.pop()
        for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if free[cell] and cell not in found:
                found.add(cell)
                ahead.append(cell)
    return found


@given(half=st.integers(1, 12), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_every_free_cell_can_always_be_reached(half: int, seed: int) -> None:
    free = drawn(2 * half + 1, seed)
    assert free[1::2, 1::2].all()
    assert len(reachable(free)) == free.sum()


@given(half=st.integers(1, 12), seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_edge_is_always_wall_and_nothing_lies_beyond(half: int, seed: int) -> None:
    free = drawn(2 * half + 1, seed)
    edges = np.concatenate([free[0], free[-1], free[:, 0], free[:, -1]])
    assert not edges.any()


def test_in_the_smallest_maze_a_wall_reaches_the_edge_or_the_post_stands_alone() -> None:
    # Three walls begin, each at one of nine posts: the one within, four between corners that can
    # grow to it, four corners that cannot. What happens first to the one within: 1/5 it is drawn
    # itself, and stands alone or grows nowhere; 1/5 each: a wall from one of the four sides.
    mazes = [drawn(5, seed) for seed in range(2000)]
    doors = [(int(one[1, 2]), int(one[2, 1]), int(one[2, 3]), int(one[3, 2])) for one in mazes]
    untouched = (4 / 9) ** 3
    walled = (1 - untouched) / 5
    assert doors.count((1, 1, 1, 1)) / 2000 == pytest.approx(untouched + walled, abs=0.03)
    for side in ((0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)):
        assert doors.count(side) / 2000 == pytest.approx(walled, abs=0.03)
    assert np.mean([one[2, 2] for one in mazes]) == pytest.approx(untouched, abs=0.02)


def test_equal_generators_draw_equal_mazes() -> None:
    assert drawn(15, 3).tolist() == drawn(15, 3).tolist()
    assert drawn(15, 3).tolist() != drawn(15, 4).tolist()


def test_rows_are_opened_up_to_the_edge() -> None:
    free = grid("#####", "#.#.#", "#.#.#", "#...#", "#####")
    open_rows(free, 5, range(1, 3))
    assert free == grid("#####", "#...#", "#...#", "#...#", "#####")


def test_sight_ends_at_the_next_wall() -> None:
    free = grid("#####", "#...#", "#.#.#", "#...#", "#####")
    west, north, east, south = -1, -5, 1, 5
    assert [sight(free, 6, step) for step in (west, north, east, south)] == [0, 0, 2, 2]
    assert [sight(free, 17, step) for step in (west, north, east, south)] == [1, 0, 1, 0]
