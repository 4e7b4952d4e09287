"""Datasets of few trajectories that say where they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry import Component, Field, Options, Part
from amago_registry.catalog import Catalog, Plugin
from amago_registry.contexts import DatasetContext
from amago_registry.recordings import recorded_trajectory
from amago_registry.trajectories import Trajectory
from amago_standard.hooks import amago_register_datasets


class ToyOptions(Options):
    """Options of the toys."""

    mark: float = Field(0.0, description="Reward of every step.")
    actions: int = Field(2, ge=1, description="Choices.")
    width: int = Field(1, ge=1, description="Numbers of an observation.")


class Toy:
    """Ten trajectories of two steps, all with the same reward."""

    def __init__(self, context: DatasetContext, options: ToyOptions) -> None:
        self.context, self.options = context, options
        self.observation_space: Any = spaces.Box(-1, 1, (options.width,))
        self.action_space: Any = spaces.Discrete(options.actions)

    def sample(self, rng: np.random.Generator, count: int, update: int) -> list[Trajectory]:
        assert count >= 1
        return [self._make(int(rng.integers(10))) for _ in range(count)]

    def describe(self) -> str:
        return f"10 trajectories of {self.options.mark:g}"

    def _make(self, seed: int) -> Trajectory:
        seen, ends = np.zeros((3, self.options.width)), ([False, True], [False, False])
        paid = [self.options.mark] * 2
        declared = (self.observation_space, self.action_space)
        return recorded_trajectory(seen, [0, 0], paid, *ends, *declared, seed=seed)


TOY = Component("toy", "toy_datasets:Toy", ToyOptions, "for tests")
(MIXTURE,) = amago_register_datasets()
CATALOG = Catalog(
    [
        Plugin("standard", "amago-standard", "0.1.0", (("dataset", MIXTURE),)),
        Plugin("toys", "amago-toys", "1.0", (("dataset", TOY),)),
    ]
)


def build(part: Part[Any], context: Any) -> Any:
    return part.build(context)


CONTEXT = DatasetContext(context_length=4, observation_space=None, action_space=None, build=build)


def options(**given: Any) -> Any:
    """Return options of a mixture as a spec would give them."""
    return MIXTURE.options.model_validate(given, context={"catalog": CATALOG})
