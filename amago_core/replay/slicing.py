"""Where a training slice lies in its trajectory, as pure functions of one integer.

A window of L transitions is laid over a trajectory of T transitions, T > L. Each slicing mode has a
number of positions, all equally likely. So how often a mode trains on early and late timesteps can be
counted.
"""

from __future__ import annotations

from typing import Literal

Slices = Literal["even", "inside", "left", "right", "both"]


def count_positions(slices: Slices, length: int, window: int) -> int:
    """Return the number of positions of a window in ``length`` transitions, at least 1."""
    if length <= window:
        return 1
    if slices == "inside":
        return length - window + 1
    return length if slices in ("left", "right") else length + window - 1


def slice_bounds(slices: Slices, position: int, length: int, window: int) -> tuple[int, int]:
    """Return the bounds of a slice: its first transition, and the one after its last.

    Args:
        slices: The slicing mode. ``inside``: the window is anywhere inside the trajectory, so an end is
            in one slice only. ``even``: the window may also stick out at both ends and is then shifted
            back inside, so that the ends are drawn at least a third as often as any other transition.
            ``both``: as ``even``, but the part that sticks out is cut off instead, so that every
            transition is drawn equally often. ``right``, ``left``: the window begins, or ends, at every
            transition equally often, and sticks out at that end alone, where it is cut off.
        position: From 0 to ``count_positions(...) - 1``.
        length: T; a trajectory not longer than the window is taken whole.
        window: L.
    """
    if length <= window:
        return 0, length
    if slices == "left":
        return max(0, position + 1 - window), position + 1
    if slices in ("inside", "right"):
        return position, min(position + window, length)
    start = position + 1 - window
    if slices == "even":
        start = min(max(start, 0), length - window)
        return start, start + window
    return max(0, start), min(start + window, length)
