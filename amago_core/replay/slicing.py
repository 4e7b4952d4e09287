"""Where a sequence lies in a trajectory, as pure functions of one integer.

A window of L transitions is laid over T transitions, T > L. Each way of cutting counts the places it
may be laid at; all of a way's places are equally likely, so what a way does to early and late
timesteps can be counted.
"""

from __future__ import annotations

from typing import Literal

Slices = Literal["even", "inside", "left", "right", "both"]


def places(slices: Slices, length: int, window: int) -> int:
    """Return how many places there are for ``window`` transitions of ``length``, at least 1."""
    if length <= window:
        return 1
    if slices == "inside":
        return length - window + 1
    return length if slices in ("left", "right") else length + window - 1


def cut(slices: Slices, place: int, length: int, window: int) -> tuple[int, int]:
    """Return the first transition of a slice, and the one after its last.

    Args:
        slices: ``inside``: everywhere at full length; an end is in one slice only. ``even``: also
            beyond both ends, from where the slice is pushed back inside, so that the ends are met at
            least a third as often as any other transition. ``both``: the same, and what lies outside is
            cut off, so that every transition is met equally often. ``right``, ``left``: the slice
            begins, or ends, at every transition alike; what lies outside is cut off at that end alone.
        place: From 0 to ``places(...) - 1``.
        length: T; a trajectory not longer than the window is taken whole.
        window: L.
    """
    if length <= window:
        return 0, length
    if slices == "left":
        return max(0, place + 1 - window), place + 1
    if slices in ("inside", "right"):
        return place, min(place + window, length)
    start = place + 1 - window
    if slices == "even":
        start = min(max(start, 0), length - window)
        return start, start + window
    return max(0, start), min(start + window, length)
