"""Random exploration factor per environment, redrawn with every task.

Shape suffix: B = environments acting side by side.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from amago_standard.exploration.errors import ExplorationError


class TaskScale:
    """Factor u ~ U[0, 1) per environment and task: the replay then holds more and less random play.

    Args:
        environments: B.
        randomize: If false the factor is always 1 and there is no state.
    """

    def __init__(self, environments: int, randomize: bool) -> None:
        self._randomize = randomize
        self._scale_B = np.ones(environments)

    def __call__(self, time_B: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the factors, after drawing those of environments whose task begins (time 0)."""
        if self._randomize:
            self._scale_B = np.where(time_B == 0, rng.random(len(time_B)), self._scale_B)
        return self._scale_B

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return the state to store for an exact resume."""
        return {"scale": self._scale_B} if self._randomize else {}

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Restore a stored state.

        Raises:
            ExplorationError: If it was stored with another ``randomize`` or number of environments.
        """
        if ("scale" in state) != self._randomize:
            raise ExplorationError(
                f"the stored exploration has randomize={'true' if 'scale' in state else 'false'}; "
                "to resume, set exploration.randomize to that"
            )
        if not self._randomize:
            return
        stored, wanted = len(state["scale"]), len(self._scale_B)
        if stored != wanted:
            raise ExplorationError(
                f"the stored exploration is that of {stored} environments, this run has {wanted}; "
                f"to resume, set collector.environments={stored}"
            )
        self._scale_B = np.array(state["scale"], dtype=np.float64)


class ScaledByTask:
    """Mixin that stores and restores the state of explorations whose only state is a TaskScale."""

    _scale: TaskScale

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return the state to store for an exact resume; empty without ``randomize``."""
        return self._scale.state()

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Restore a stored state.

        Raises:
            ExplorationError: If it was stored with another ``randomize`` or number of environments.
        """
        self._scale.load_state(state)
