"""Chain of relabelers, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amago_registry.contexts import RelabelerContext
from amago_registry.options import Part
from amago_registry.protocols import Relabeler
from amago_standard.relabelers.options import ChainOptions


class Chain:
    """Chain of relabelers: each rewrites the trajectory that the one before it returned.

    Such as hindsight, and then one of your own that changes something else. All draw from the same
    generator. It is the identity if all of them are.

    Args:
        context: Supplied by the composer, and passed to the relabelers.
        options: The relabelers, in their order.
    """

    def __init__(self, context: RelabelerContext, options: ChainOptions) -> None:
        build = context.build or Part.build
        parts: list[Relabeler] = [build(part, context) for part in options.relabelers]
        self._relabelers = [part for part in parts if not part.identity]
        self.identity = not self._relabelers

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return the trajectory after all relabelers."""
        for relabeler in self._relabelers:
            trajectory = relabeler(trajectory, rng)
        return trajectory
