"""Toy relabelers that record their calls, and a catalog of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amago_registry import Component, Field, Options, RelabelerContext
from amago_registry.catalog import Catalog, Plugin
from amago_standard.hooks import amago_register_relabelers


class ToyOptions(Options):
    """Options of the toys."""

    bonus: float = Field(0.0, description="Added to every reward, then it is doubled.")


class Toy:
    """Twice the reward and its bonus, and a number from the generator."""

    identity = False

    def __init__(self, context: RelabelerContext, options: ToyOptions) -> None:
        self.context, self.bonus = context, options.bonus

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        drawn = [*trajectory.get("drawn", ()), rng.random()]
        return {"reward": 2 * (trajectory["reward"] + self.bonus), "drawn": np.array(drawn)}


PARTS = {component.name: component for component in amago_register_relabelers()}
TOY = Component("toy", "toy_relabelers:Toy", ToyOptions, "for tests")
CATALOG = Catalog(
    [
        Plugin("toys", "amago-toys", "1", (("relabeler", TOY),)),
        Plugin("standard", "amago-standard", "1", tuple(("relabeler", p) for p in PARTS.values())),
    ]
)
