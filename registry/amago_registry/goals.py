"""Goals that are asked for in order, and what would have happened had others been asked for.

An environment of this kind shows the goals that are left and records what each timestep achieved:

* ``obs.goals`` (T+1, K, X): integers; the goals in their order, the last in the last place. Places in
  front that no goal fills, and those of goals that have been reached, hold :data:`ABSENT`.
* ``achieved`` (T+1, X), or (T+1, M, X) where several things can be achieved at once; :data:`ABSENT`
  where nothing is.

A step reaches at most one goal: the first that is left, if the timestep after the step achieved it.

Shape suffixes: T = transitions, K = places for goals, X = coordinates of a goal, G = goals, M = what a
timestep achieves at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Goals = NDArray[Any]
ABSENT: Final = -1
"""In all coordinates: no goal."""

GOALS: Final = "obs.goals"
ACHIEVED: Final = "achieved"


def present(goals: Goals) -> NDArray[np.bool_]:
    """Return which of the goals ``(..., X)`` are there: ``(...)``."""
    there: NDArray[np.bool_] = (goals != ABSENT).any(-1)
    return there


def shown(goals_GX: Goals, places: int) -> Goals:
    """Return goals that are left as they are shown: ``(K, X)``, places in front absent.

    Raises:
        ValueError: If there are more goals than places.
    """
    count = len(goals_GX)
    if count > places:
        raise ValueError(f"{count} goals do not fit into {places} places")
    shown_KX = np.full((places, goals_GX.shape[1]), ABSENT, goals_GX.dtype)
    shown_KX[places - count :] = goals_GX
    return shown_KX


def reached_steps(goals_GX: Goals, achieved: NDArray[Any]) -> list[int]:
    """Return the transitions that reach the goals, one after the other, as far as they are reached.

    Args:
        goals_GX: Goals in their order.
        achieved: As recorded; the first timestep comes before all transitions and reaches nothing.
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
    """Return what the same actions would have been recorded as, had other goals been asked for.

    For environments in which a goal pays 1, nothing else pays, and the last goal ends the task. The
    trajectory must begin with its task. It ends where the last goal is reached; where it had ended so
    and its new goals are not all reached, only its recording ends there.

    Args:
        trajectory: Columns of a whole task; left as they are. Goals, rewards and ends are returned as
            new arrays, the other columns as views.
        goals: ``(G, X)``, in their order; absent ones are left out.

    Raises:
        ValueError: If there is no goal, if there are more than the trajectory has places for, or if
            the type of its goals cannot hold them.
    """
    asked_GX = goals[present(goals)]
    if not len(asked_GX):
        raise ValueError("there is no goal to ask for: all are absent")
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


def _shown_T(goals_GX: Goals, steps: list[int], places: int, length: int) -> Goals:
    """Return what is shown at every timestep: ``(T+1, K, X)``."""
    shown_KX = shown(goals_GX, places)
    shown_TKX = np.empty((length + 1, *shown_KX.shape), shown_KX.dtype)
    shown_TKX[:] = shown_KX
    # Goals keep their places: one that is reached is absent from the timestep after the step on.
    for place, step in enumerate(steps, places - len(goals_GX)):
        shown_TKX[step + 1 :, place] = ABSENT
    return shown_TKX
