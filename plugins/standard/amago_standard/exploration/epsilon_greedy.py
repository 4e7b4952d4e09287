"""Epsilon-greedy exploration.

Shape suffixes: B = environments acting side by side, A = action features, X = axes of an action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amago_registry.contexts import ExplorationContext
from amago_standard.exploration.noise import add_exploration, anneal
from amago_standard.exploration.options import EpsilonGreedyOptions
from amago_standard.exploration.scale import ScaledByTask, TaskScale


class EpsilonGreedy(ScaledByTask):
    """Epsilon-greedy with linear annealing (AMAGO, arXiv:2310.09971): the safe default.

    Epsilon falls linearly from ``start`` to ``end`` over ``anneal_steps`` of one environment.
    Continuous: Gaussian noise of standard deviation epsilon, the result clipped to [-1, 1]. All others:
    with probability epsilon a random action, uniform over those that an action mask allows.

    Args:
        context: Action space and number of environments; supplied by the composer.
        options: See :class:`EpsilonGreedyOptions`.
    """

    def __init__(self, context: ExplorationContext, options: EpsilonGreedyOptions) -> None:
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
        epsilon = anneal(step, options.anneal_steps, options.start, options.end)
        epsilon_B = epsilon * self._scale(time_B, rng)
        return add_exploration(action, epsilon_B, self._space, rng, action_mask_BA)
