"""Exploration for corridor tasks such as the T-maze, where few random actions are allowed in between.

Shape suffixes: B = environments acting side by side, A = action features, X = axes of an action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amago_registry.contexts import ExplorationContext
from amago_standard.exploration.errors import ExplorationError
from amago_standard.exploration.noise import add_exploration, anneal
from amago_standard.exploration.options import CorridorOptions
from amago_standard.exploration.scale import ScaledByTask, TaskScale

_LAST_STEPS = 4


class Corridor(ScaledByTask):
    """Explores at both ends of a trajectory and rarely between, as the T-maze needs (arXiv:2310.09971).

    Epsilon falls from ``start`` to ``end`` over ``anneal_steps`` of one environment, on step 0 and
    on the last four steps of the trajectory; with ``randomize`` it is multiplied there by each task's
    own u ~ U[0, 1), as in every exploration, so that some tasks are played with few random actions
    from the beginning of training. On the steps between it is ``random_actions / length``: about
    ``random_actions`` random actions in the whole passage, so that a policy that walks straight on
    still arrives.

    A ``length`` of None is the step budget less 1: right for the passive T-maze. Set it for the active
    one, whose budget also counts the steps to the oracle and back.

    On other tasks it does the same: all actions but the first and the last four are nearly the
    policy's own, which is too little exploration for a task whose decisions lie elsewhere. For
    continuous actions epsilon is the standard deviation of the noise.

    Args:
        context: Action space and step budget; supplied by the composer.
        options: See :class:`CorridorOptions`.

    Raises:
        ExplorationError: If neither options nor context say how long the corridor is.
    """

    def __init__(self, context: ExplorationContext, options: CorridorOptions) -> None:
        if options.length is None and context.horizon is None:
            raise ExplorationError(
                "exploration 'corridor' explores on the first and last steps of a trajectory, but this "
                "environment does not say how many steps one has. Set exploration.length=<steps - 1>, "
                "or choose exploration=epsilon-greedy"
            )
        self._horizon = context.horizon or (options.length or 0) + 1
        self._between = min(options.random_actions / (options.length or max(self._horizon - 1, 1)), 1.0)
        self._space = context.action_space
        self._options = options
        self._scale = TaskScale(context.environments, options.randomize)

    def __call__(
        self,
        action: NDArray[Any],
        time_B: NDArray[np.int64],
        step: int,
        rng: np.random.Generator,
        action_mask_BA: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Return the actions to take, shaped as the policy's ``(B,)`` or ``(B, X)``."""
        options = self._options
        ends = anneal(step, options.anneal_steps, options.start, options.end)
        ends_B = ends * self._scale(time_B, rng)
        at_an_end_B = (time_B == 0) | (time_B >= self._horizon - _LAST_STEPS)
        epsilon_B = np.where(at_an_end_B, ends_B, self._between)
        return add_exploration(action, epsilon_B, self._space, rng, action_mask_BA)
