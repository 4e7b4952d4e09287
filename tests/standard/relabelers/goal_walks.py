"""Walks towards goals, small enough to check by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amago_registry import RelabelerContext
from amago_registry.goals import GOALS, with_goals

CONTEXT = RelabelerContext(with_goals=with_goals, environment="tests/walk")


def walk(achieved: Sequence[object], goals: Sequence[int], places: int = 3) -> dict[str, np.ndarray]:
    """What was recorded on the way along these cells; a list is achieved all at once."""
    length = len(achieved) - 1
    columns = {
        "obs.obs": np.arange(length + 1, dtype=np.float32)[:, None],
        GOALS: np.full((length + 1, places, 1), 99, np.int16),
        "achieved": np.array(achieved, np.int16)[..., None],
        "action": np.arange(length, dtype=np.uint8),
        "reward": np.zeros(length, np.float32),
        "terminated": np.zeros(length, bool),
        "truncated": np.arange(length) == length - 1,
    }
    return with_goals(columns, np.array(goals)[:, None])


def asked(columns: object) -> list[int]:
    """The goals that are shown first."""
    goals = columns[GOALS][0, :, 0].tolist()  # type: ignore[index]
    return [goal for goal in goals if goal != -1]
