"""Bilevel epsilon-greedy exploration, annealed over training and within each trajectory.

Shape suffixes: B = environments acting side by side, A = action features, X = axes of an action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amago_registry.contexts import ExplorationContext
from amago_standard.exploration.errors import ExplorationError
from amago_standard.exploration.noise import add_exploration, anneal
from amago_standard.exploration.options import BilevelOptions
from amago_standard.exploration.scale import ScaledByTask, TaskScale


class Bilevel(ScaledByTask):
    """Epsilon-greedy that explores early in a trajectory and exploits late (AMAGO, arXiv:2310.09971).

    It suits several attempts at one task, where what is found early is used late, provided that
    trajectories are as long as the horizon says. Over ``anneal_steps`` of one environment the epsilon
    of a trajectory's start falls from ``start`` to ``end`` and that of its end from ``late_start`` to
    ``late_end``; in between it is linear in time / horizon, at most 1.

    Args:
        context: Action space, number of environments and step budget; supplied by the composer.
        options: See :class:`BilevelOptions`.

    Raises:
        ExplorationError: If neither options nor context know the horizon.
    """

    def __init__(self, context: ExplorationContext, options: BilevelOptions) -> None:
        horizon = options.horizon or context.horizon
        if horizon is None:
            raise ExplorationError(
                "exploration 'bilevel' explores less towards the end of a trajectory, but this "
                "environment does not say how many steps one has. Set exploration.horizon=<steps>, or "
                "choose exploration=epsilon-greedy"
            )
        self._horizon = horizon
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
        epsilon_B = self._epsilon(time_B, step) * self._scale(time_B, rng)
        return add_exploration(action, epsilon_B, self._space, rng, action_mask_BA)

    def _epsilon(self, time_B: NDArray[np.int64], step: int) -> NDArray[np.float64]:
        options = self._options
        early = anneal(step, options.anneal_steps, options.start, options.end)
        late = anneal(step, options.anneal_steps, options.late_start, options.late_end)
        progress_B = np.minimum(time_B / self._horizon, 1.0)
        return early + (late - early) * progress_B
