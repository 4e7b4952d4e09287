"""Test helpers for goal tasks: recorded trajectories, and other goals for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from amago_registry.goals import present
from amago_standard.environments.goal_task import GoalTask

Columns = dict[str, np.ndarray]


def record(env: GoalTask, seed: int, policy: Callable[[], int], goals: Any = None) -> Columns:
    """Return the columns of one trajectory.

    Args:
        env: The environment.
        seed: Of the task.
        policy: Called before every step; no further step where it raises StopIteration.
        goals: Asked for in place of the task's own, unless None.
    """
    obs, info = env.reset(seed=seed, options=None if goals is None else {"goals": goals})
    moments, steps, over = [(obs, info)], [], False
    while not over:
        try:
            action = policy()
        except StopIteration:
            break
        obs, reward, terminated, truncated, info = env.step(action)
        moments.append((obs, info))
        steps.append((action, reward, terminated, truncated))
        over = terminated or truncated
    names = ("action", "reward", "terminated", "truncated")
    types = (np.int64, np.float32, np.bool_, np.bool_)
    return {
        **{f"obs.{key}": np.stack([obs[key] for obs, _ in moments]) for key in ("obs", "goals")},
        "achieved": np.stack([info["achieved"] for _, info in moments]),
        **{
            name: np.array(values, dtype)
            for name, values, dtype in zip(names, zip(*steps, strict=True), types, strict=True)
        },
    }


def plan(actions: Iterable[int]) -> Callable[[], int]:
    """Return a policy that takes these actions."""
    return iter(actions).__next__


def other_goals(env: GoalTask, columns: Columns, rng: np.random.Generator) -> np.ndarray:
    """Return goals in any order, also twice: most of them were achieved, others may not even exist."""
    space = env.observation_space["goals"]
    achieved = columns["achieved"][present(columns["achieved"])]
    goals = rng.integers(0, int(space.high.max()) + 1, space.shape).astype(space.dtype)
    for goal in goals:
        if len(achieved) and rng.random() < 0.8:
            goal[:] = rng.choice(achieved)
    if rng.random() < 0.5:
        goals = np.array(sorted(goals.tolist()), space.dtype)
    goals[: rng.integers(len(goals))] = -1
    return goals
