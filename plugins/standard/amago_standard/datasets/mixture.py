"""Weighted mixture of datasets.

Shape suffixes: D = datasets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amago_registry.contexts import DatasetContext
from amago_registry.errors import DatasetError
from amago_registry.protocols import Dataset
from amago_registry.trajectories import Trajectory
from amago_standard.datasets.options import MixtureOptions


class DatasetMixture:
    """Weighted mixture of datasets: every trajectory is drawn from one; weights may be annealed.

    Shares are the weights divided by their sum. They move linearly from the first to the final ones
    over ``anneal_updates``, such as from many mixed-quality demonstrations to few of an expert.

    Args:
        context: Supplied by the composer, and passed to the datasets.
        options: The datasets, and how they are mixed.

    Raises:
        DatasetError: If two datasets have different spaces.
    """

    def __init__(self, context: DatasetContext, options: MixtureOptions) -> None:
        parts = options.datasets
        self._names = _counted([part.use for part in parts])
        self._datasets: list[Dataset] = [context.build(part, context) for part in parts]
        self._first_D = _shares(options.weights or (1.0,) * len(parts))
        self._final_D = _shares(options.final_weights) if options.final_weights else self._first_D
        self._anneal_updates = options.anneal_updates
        for name, dataset in zip(self._names, self._datasets, strict=True):
            _check_same(self._names[0], self._datasets[0], name, dataset)
        self.observation_space = self._datasets[0].observation_space
        self.action_space = self._datasets[0].action_space

    def shares(self, update: int) -> NDArray[np.float64]:
        """Return ``shares_D``: how often each dataset is drawn at an update."""
        progress = min(update / self._anneal_updates, 1.0)
        return (1 - progress) * self._first_D + progress * self._final_D

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Sequence[Trajectory]:
        """Draw the number of trajectories per dataset, then these, in the order of the datasets."""
        counts_D = rng.multinomial(count, self.shares(update)).tolist()
        return [
            trajectory
            for dataset, drawn in zip(self._datasets, counts_D, strict=True)
            if drawn
            for trajectory in dataset.sample(rng, drawn, update)
        ]

    def describe(self) -> str:
        """Return what each of the datasets holds."""
        described = zip(self._names, self._datasets, strict=True)
        return "; ".join(f"{name}: {dataset.describe()}" for name, dataset in described)


def _shares(weights: Sequence[float]) -> NDArray[np.float64]:
    return np.array(weights, np.float64) / max(weights) / np.sum(np.array(weights) / max(weights))


def _counted(names: Sequence[str]) -> list[str]:
    """Return the names; if one occurs twice, all with their number in front."""
    if len(set(names)) == len(names):
        return list(names)
    return [f"{place}. {name}" for place, name in enumerate(names, 1)]


def _check_same(one: str, first: Dataset, other: str, dataset: Dataset) -> None:
    for what, wanted, given in (
        ("observations", first.observation_space, dataset.observation_space),
        ("actions", first.action_space, dataset.action_space),
    ):
        if wanted != given:
            raise DatasetError(
                f"the datasets {one} and {other} cannot be mixed: {what} of the first are {wanted}, "
                f"those of the second {given}."
            )
