"""Relabelers and datasets with checked results; every error names the part that caused it.

Numpy alone: loader processes import this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amago_core.errors import part_errors
from amago_registry.errors import AmagoError, DatasetError
from amago_registry.recordings import form_fault
from amago_registry.trajectories import Trajectory

if TYPE_CHECKING:
    import numpy as np
    from gymnasium import spaces

    from amago_registry.protocols import Dataset, Relabeler


_COLUMN_SOURCES = (
    "name an environment that shows it (obs.<key>) or records it (its recorded_space has the key)"
)


class TrajectoryChecker:
    """Checks the columns of trajectories against the task's spaces.

    A schema that has passed once is not checked again, so checking similar trajectories costs little.

    Args:
        observation_space: Of the task.
        action_space: Of the task.
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self._spaces = observation_space, action_space
        self._passed: set[Any] = set()

    def fault(self, trajectory: Trajectory) -> str | None:
        """Return what is wrong with a trajectory's columns, in words; None if nothing is."""
        schema = _schema(trajectory)
        if schema in self._passed:
            return None
        fault = form_fault(trajectory, *self._spaces)
        if fault is None:
            self._passed.add(schema)
        return fault

    def checked(self, columns: Any, source: str) -> Mapping[str, np.ndarray]:
        """Return the columns that ``source`` returned, checked.

        Raises:
            AmagoError: If they cannot be trained on; the message names ``source``.
        """
        if not isinstance(columns, Mapping):
            raise AmagoError(f"{source} returned a {type(columns).__name__} instead of columns.")
        fault = self.fault(Trajectory(columns))
        if fault is not None:
            raise AmagoError(f"what {source} returned cannot be learned from: {fault}.")
        return columns


def _schema(trajectory: Trajectory) -> Any:
    """Return everything that the check depends on; None if a column is not an array."""
    try:
        length = trajectory.length
        columns = [(n, c.dtype, c.shape[1:], len(c) - length) for n, c in trajectory.columns.items()]
    except (AttributeError, KeyError, TypeError):
        return None
    return length > 0, tuple(columns)


class _NoColumnError(KeyError):
    """A column is missing. Its arguments: the column's name, and the names of those that exist."""


class _Columns(dict[str, "np.ndarray"]):
    """Columns of a trajectory, which raise `_NoColumnError` for a missing one."""

    def __missing__(self, name: str) -> np.ndarray:
        raise _NoColumnError(name, list(self))


@contextmanager
def missing_column_errors(part: str) -> Iterator[None]:
    """Turn the error of a missing column into one that names the part and the existing columns.

    Raises:
        AmagoError: Instead of the `KeyError` that a `CheckedRelabeler`'s columns raise.
    """
    try:
        yield
    except _NoColumnError as error:
        name, existing = error.args
        raise AmagoError(
            f"{part} needs the column {name!r}, and a trajectory has {', '.join(existing)}: "
            f"{_COLUMN_SOURCES}, or "
            "write relabeler=none."
        ) from error


class CheckedRelabeler:
    """A relabeler whose errors name it, and whose results are checked.

    Args:
        relabeler: The part.
        use: Its full name.
        checker: Checks the relabeled trajectories.
    """

    def __init__(self, relabeler: Relabeler, use: str, checker: TrajectoryChecker) -> None:
        self._relabeler, self._use, self._checker = relabeler, use, checker
        with part_errors("relabeler", use, "asking whether it changes anything"):
            self.identity = relabeler.identity

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return the relabeled trajectory.

        Raises:
            AmagoError: If the relabeler raises, or what it returns cannot be trained on.
        """
        with part_errors("relabeler", self._use, "relabelling a trajectory"):
            name = f"the relabeler {self._use}"
            with missing_column_errors(name):
                columns = self._relabeler(_Columns(trajectory), rng)
            return self._checker.checked(columns, name)


class CheckedDataset:
    """A dataset whose errors name it, and whose trajectories are checked.

    Args:
        dataset: The part.
        use: Its full name.
        checker: Checks the dataset's trajectories.
    """

    def __init__(self, dataset: Dataset, use: str, checker: TrajectoryChecker) -> None:
        self._dataset, self._use, self._checker = dataset, use, checker
        self.observation_space, self.action_space = dataset.observation_space, dataset.action_space

    def sample(self, rng: np.random.Generator, count: int, update: int) -> list[Trajectory]:
        """Draw ``count`` trajectories.

        Raises:
            AmagoError: If the dataset raises.
            DatasetError: If it returns the wrong number of trajectories, something else, or
                trajectories that cannot be trained on.
        """
        with part_errors("dataset", self._use, f"drawing for update {update}"):
            drawn = list(self._dataset.sample(rng, count, update))
            if len(drawn) != count:
                raise DatasetError(
                    f"the dataset {self._use} drew the wrong number of trajectories for update "
                    f"{update}: {len(drawn)} instead of {count}."
                )
            for trajectory in drawn:
                self._check(trajectory)
        return drawn

    def describe(self) -> str:
        """Return the dataset's description."""
        with part_errors("dataset", self._use, "describing it"):
            return self._dataset.describe()

    def _check(self, drawn: Any) -> None:
        if not isinstance(drawn, Trajectory):
            raise DatasetError(
                f"the dataset {self._use} drew a {type(drawn).__name__} in place of a trajectory."
            )
        fault = self._checker.fault(drawn)
        if fault is not None:
            raise DatasetError(
                f"the dataset {self._use} cannot be learned from: of a trajectory, {fault}."
            )
