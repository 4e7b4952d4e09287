"""No exploration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amago_registry.contexts import ExplorationContext
from amago_standard.exploration.options import NoExplorationOptions


class NoExploration:
    """No exploration: the policy's own actions, for policies that explore by sampling.

    Args:
        context: Supplied by the composer; unused.
        options: There are none.
    """

    def __init__(self, context: ExplorationContext, options: NoExplorationOptions) -> None:
        del context, options

    def __call__(
        self,
        action: NDArray[Any],
        time_B: NDArray[np.int64],
        step: int,
        rng: np.random.Generator,
        action_mask_BA: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Return ``action`` itself; nothing is drawn."""
        del time_B, step, rng, action_mask_BA
        return action

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return an empty state."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Nothing to restore."""
