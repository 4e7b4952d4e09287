"""No relabelling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amago_registry.contexts import RelabelerContext
from amago_standard.relabelers.options import NoRelabelerOptions


class NoRelabeler:
    """No relabelling: trajectories stay as they are; only the sampled slice is read from disk."""

    identity = True

    def __init__(self, context: RelabelerContext, options: NoRelabelerOptions) -> None:
        del context, options

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return the trajectory itself."""
        return trajectory
