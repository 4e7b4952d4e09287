"""Hindsight relabeling for sequences of goals: ``with_goals`` and the columns that it needs.

An environment of this form has the remaining goals in its observation and records what each timestep
achieved:

* ``obs.goals`` (T+1, K, X): integers; the goals in order, the last goal in the last slot. Unused slots
  at the front, and the slots of goals that have been reached, hold :data:`ABSENT`.
* ``achieved`` (T+1, X), or (T+1, M, X) if a timestep can achieve several goals; :data:`ABSENT` where
  none is achieved.

A step reaches at most one goal: the first remaining one, if the timestep after the step achieved it.

Shape suffixes: T = transitions, K = slots for goals, X = coordinates of a goal, G = goals, M = goals
achieved at one timestep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Goals = NDArray[Any]
ABSENT: Final = -1
"""Value of all coordinates of an empty goal slot."""

GOALS: Final = "obs.goals"
ACHIEVED: Final = "achieved"


def present(goals: Goals) -> NDArray[np.bool_]:
    """Return a mask ``(...)`` of the goals ``(..., X)`` that are not absent."""
    mask: NDArray[np.bool_] = (goals != ABSENT).any(-1)
    return mask


def shown(goals_GX: Goals, places: int) -> Goals:
    """Return remaining goals in the form of the observation: ``(K, X)``, unused slots at the front.

    Args:
        goals_GX: The remaining goals, in order.
        places: K, the number of slots.

    Raises:
        ValueError: If there are more goals than slots.
    """
    count = len(goals_GX)
    if count > places:
        raise ValueError(f"{count} goals do not fit into {places} slots")
    shown_KX = np.full((places, goals_GX.shape[1]), ABSENT, goals_GX.dtype)
    shown_KX[places - count :] = goals_GX
    return shown_KX


def reached_steps(goals_GX: Goals, achieved: NDArray[Any]) -> list[int]:
    """Return the transitions that reach the goals in sequence, up to the first one not reached.

    Args:
        goals_GX: Goals in order.
        achieved: As recorded; the first timestep, before all transitions, reaches nothing.
    """
    achieved_TMX = achieved[1:, None] if achieved.ndim == 2 else achieved[1:]
    match_GT = (achieved_TMX == goals_GX[:, None, None]).all(-1).any(-1)
    steps: list[int] = []
    first = 0
    for match_T in match_GT:
        later = match_T[first:].nonzero()[0]
        if not later.size:
            break
        steps.append(first + int(later[0]))
        first = steps[-1] + 1
    return steps


def with_goals(trajectory: Mapping[str, NDArray[Any]], goals: Goals) -> dict[str, NDArray[Any]]:
    """Return the trajectory that the same actions would have produced with other goals.

    For environments in which each goal has reward 1, everything else has reward 0, and the last goal
    ends the task. The trajectory must begin at the start of its task. The result is terminated where
    the last goal is reached. If the trajectory was terminated by its old goals and the new ones are not
    all reached, the result is truncated at its last transition.

    Args:
        trajectory: Columns of a whole task; not modified. Goals, rewards, ``terminated`` and
            ``truncated`` are returned as new arrays, the other columns as views.
        goals: ``(G, X)``, in order; absent ones are ignored.

    Raises:
        ValueError: If there is no goal, if there are more goals than slots, or if the dtype of the
            trajectory's goals cannot hold them.
    """
    asked_GX = goals[present(goals)]
    if not len(asked_GX):
        raise ValueError("there is no goal: all are absent")
    goals_GX = asked_GX.astype(trajectory[GOALS].dtype)
    if (goals_GX != asked_GX).any():
        raise ValueError(f"{GOALS} is {goals_GX.dtype}, which cannot hold {asked_GX.tolist()}")
    steps = reached_steps(goals_GX, trajectory[ACHIEVED])
    most = len(trajectory["reward"])
    done = len(steps) == len(goals_GX)
    length = steps[-1] + 1 if done else most
    cut = {name: column[: length + len(column) - most] for name, column in trajectory.items()}
    cut[GOALS] = _shown_T(goals_GX, steps, trajectory[GOALS].shape[1], length)
    cut["reward"] = np.zeros_like(cut["reward"])
    cut["reward"][steps] = 1
    cut["terminated"], cut["truncated"] = cut["terminated"].copy(), cut["truncated"].copy()
    if done or not present(trajectory[GOALS][-1]).any():
        cut["terminated"][-1], cut["truncated"][-1] = done, not done
    return cut


def _shown_T(goals_GX: Goals, steps: list[int], slots: int, length: int) -> Goals:
    """Return the observed goals of every timestep: ``(T+1, K, X)``."""
    shown_KX = shown(goals_GX, slots)
    shown_TKX = np.empty((length + 1, *shown_KX.shape), shown_KX.dtype)
    shown_TKX[:] = shown_KX
    # Goals keep their slots: a goal is absent from the timestep after the step that reached it.
    for slot, step in enumerate(steps, slots - len(goals_GX)):
        shown_TKX[step + 1 :, slot] = ABSENT
    return shown_TKX
