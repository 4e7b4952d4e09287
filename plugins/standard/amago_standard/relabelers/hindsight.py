"""Hindsight relabeling: achieved goals replace the goals that were asked for.

Shape suffixes: T = transitions, K = places for goals, X = coordinates of a goal, G = goals of the task,
R = goals that were reached, M = what a timestep achieves at once, C = candidates: timesteps of which
something may become a goal.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amago_registry.contexts import RelabelerContext
from amago_registry.goals import ACHIEVED, GOALS, Goals, present
from amago_standard.relabelers.errors import RelabelerError
from amago_standard.relabelers.options import HindsightOptions

LEAST, MOST = 1e-3, 1e5
"""Limits of the weights by rarity."""

Columns = Mapping[str, np.ndarray]


class Hindsight:
    """Hindsight instruction relabelling (AMAGO; arXiv:2310.09971).

    Of a task of G goals, R were reached. Between them are put ``h`` others that were achieved, in the
    order of their timesteps; the task's own goals fill up the rest. The environment's ``with_goals``
    computes observations and rewards under this instruction. The return is never less than before, so
    that there is a reward to learn from where rewards are rare. With one goal per task, this is
    hindsight experience replay (HER) over whole trajectories.

    A trajectory that reached all its goals, achieved nothing else, or drew ``h = 0``, comes back as it
    is.

    With ``rarity``, a timestep is drawn in proportion to ``(-log10 f) ** rarity``, clipped to [1e-3,
    1e5], where ``f`` is how frequent its goal is among the candidates of its own trajectory. AMAGO
    counts over many trajectories, and weighs otherwise from draw to draw; here a batch must be the same
    when it is drawn again, whatever was drawn before.

    Args:
        context: Supplied by the composer; must have ``with_goals``.
        options: How many goals, and which; see :class:`HindsightOptions`.

    Raises:
        RelabelerError: If the environment has no ``with_goals``, observes no goals, or does not record
            what was achieved.
    """

    identity = False

    def __init__(self, context: RelabelerContext, options: HindsightOptions) -> None:
        if context.with_goals is None:
            raise RelabelerError(_no_with_goals(context.environment))
        if context.columns is not None:
            _check_form(context.columns, f"environment {context.environment}")
        self._with_goals, self._options = context.with_goals, options

    def __call__(self, trajectory: Columns, rng: np.random.Generator) -> Columns:
        """Return the trajectory under another instruction, or itself.

        Raises:
            RelabelerError: If the trajectory does not hold its goals, or what was achieved.
        """
        _check_form({name: column.shape[1:] for name, column in trajectory.items()}, "a trajectory")
        goals_GX = self._instruction(trajectory[GOALS], trajectory[ACHIEVED], rng)
        return trajectory if goals_GX is None else self._with_goals(trajectory, goals_GX)

    def _instruction(self, shown_TKX: Goals, achieved: Goals, rng: np.random.Generator) -> Goals | None:
        """Return other goals for the task; None to leave it its own."""
        if self._options.probability < 1 and rng.random() >= self._options.probability:
            return None
        asked_GX, reached_R = _task(shown_TKX)
        count = self._count(len(asked_GX) - len(reached_R), rng)
        if not count:
            return None
        time_C, goal_CX, weight_C = self._candidates(achieved, reached_R, rng)
        drawn = self._draw(count, time_C, weight_C, len(achieved) - 1, rng)
        if not len(drawn):
            return None
        true_X = np.concatenate([asked_GX[: len(reached_R)], goal_CX[drawn]])
        true_X = true_X[np.concatenate([reached_R, time_C[drawn]]).argsort()]
        return np.concatenate([true_X, asked_GX[len(true_X) :]])

    def _count(self, left: int, rng: np.random.Generator) -> int:
        """Return how many of the goals that were not reached are replaced by achieved ones."""
        return left if self._options.goals == "all" else int(rng.integers(left + 1))

    def _candidates(
        self, achieved: Goals, reached_R: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], Goals, NDArray[np.float64]]:
        """Return candidates for goals: their timesteps, goals and weights."""
        achieved_TMX = achieved[:, None] if achieved.ndim == 2 else achieved
        open_TM = present(achieved_TMX)
        open_TM[0], open_TM[reached_R] = False, False
        if self._options.candidates == "changed":
            open_TM[1:] &= ~_kept(achieved_TMX)
        time, slot = open_TM.nonzero()
        goal = achieved_TMX[time, slot]
        weight = _rarity(goal, self._options.rarity)
        if achieved_TMX.shape[1] > 1:
            one_C = _one_of_each(time, weight, rng)
            time, goal, weight = time[one_C], goal[one_C], weight[one_C]
        return time, goal, weight

    def _draw(
        self,
        count: int,
        time_C: NDArray[np.int64],
        weight_C: NDArray[np.float64],
        last: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return the indices of at most ``count`` candidates, which are ordered by timestep."""
        if self._options.strategy == "final":
            return np.arange(len(time_C))[-count:]
        first = 0
        if self._options.strategy == "future":
            first = int(time_C.searchsorted(rng.integers(last), side="right"))
        return first + _race(weight_C[first:], rng).argsort()[:count]


def _task(shown_TKX: Goals) -> tuple[Goals, NDArray[np.int64]]:
    """Return the goals that were asked for, and the timesteps that reached the first of them."""
    left_TK = present(shown_TKX)
    left_T = left_TK.sum(-1)
    return shown_TKX[0, left_TK[0]], (left_T[1:] < left_T[:-1]).nonzero()[0] + 1


def _kept(achieved_TMX: Goals) -> NDArray[np.bool_]:
    """Return, from timestep 1 on, which goals the timestep before had achieved too: ``(T, M)``."""
    same_TMM = (achieved_TMX[1:, :, None] == achieved_TMX[:-1, None]).all(-1)
    kept_TM: NDArray[np.bool_] = same_TMM.any(-1)
    return kept_TM


def _rarity(goal_CX: Goals, power: float) -> NDArray[np.float64]:
    """Return sampling weights of candidates by the rarity of their goals."""
    if not power or not len(goal_CX):
        return np.ones(len(goal_CX))
    _, kind_C, counts = np.unique(goal_CX, axis=0, return_inverse=True, return_counts=True)
    weight: NDArray[np.float64] = (-np.log10(counts / len(goal_CX))) ** power
    return weight.clip(LEAST, MOST)[kind_C]


def _race(weight_C: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return exponential race times: the h smallest are h weighted draws without replacement."""
    return rng.exponential(size=len(weight_C)) / weight_C


def _one_of_each(
    time_C: NDArray[np.int64], weight_C: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the index of one candidate per timestep, drawn by weight."""
    order_C = np.lexsort([_race(weight_C, rng), time_C])
    _, first = np.unique(time_C, return_index=True)
    return order_C[first]


def _check_form(columns: Mapping[str, tuple[int, ...]], whose: str) -> None:
    """Raise unless the columns hold goals and achieved goals in the usual shapes."""
    lacking = [name for name in (GOALS, ACHIEVED) if name not in columns]
    if lacking:
        raise RelabelerError(
            f"hindsight reads the columns {GOALS} and {ACHIEVED}, and {whose} has no "
            f"{' and no '.join(lacking)}, only {', '.join(sorted(columns))}. Record it with an "
            "environment that shows 'goals' and has 'achieved' in its recorded_space, or write "
            "relabeler=none."
        )
    goals, achieved = columns[GOALS], columns[ACHIEVED]
    if len(goals) != 2 or len(achieved) not in (1, 2) or goals[-1] != achieved[-1]:
        raise RelabelerError(
            f"hindsight reads {GOALS} of (places, coordinates) per timestep, and {ACHIEVED} of "
            f"(coordinates) or (several, coordinates); {whose} has {goals} and {achieved}. Goals of "
            "another form need a relabeler of their own: see registry/README.md."
        )


def _no_with_goals(environment: str) -> str:
    asked = (
        "hindsight asks the environment what its actions would have been paid under other goals, and"
    )
    if not environment:
        return (
            f"{asked} there is none. Name the environment that the dataset was recorded in, "
            "environment: {use: ...}, or write relabeler=none."
        )
    return (
        f"{asked} {environment} has no with_goals. maze-runner and package-delivery have one, but no "
        "mixture has. Write relabeler=none, or give the environment's part the method with_goals (a "
        "class of environments one that is static), a local function the attribute "
        "(make.with_goals = ...): see registry/README.md."
    )
