"""Relabelers and datasets, watched while batches are drawn: what goes wrong there names the part.

Numpy alone, as all that loader processes import.
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


_ORIGIN = "name an environment that shows it (obs.<key>) or records it (its recorded_space has the key)"


class TrajectoryChecker:
    """Finds what is wrong with the columns of trajectories, at little cost where they are alike.

    Args:
        observation_space: Of the task.
        action_space: Of the task.
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self._spaces = observation_space, action_space
        self._faultless: set[Any] = set()

    def fault(self, trajectory: Trajectory) -> str | None:
        """Return what `form_fault` returns."""
        form = _form(trajectory)
        if form in self._faultless:
            return None
        fault = form_fault(trajectory, *self._spaces)
        if fault is None:
            self._faultless.add(form)
        return fault

    def checked(self, columns: Any, who: str) -> Mapping[str, np.ndarray]:
        """Return the columns that somebody returned.

        Raises:
            AmagoError: If nothing can learn from them; it says who.
        """
        if not isinstance(columns, Mapping):
            raise AmagoError(f"{who} returned a {type(columns).__name__}, no columns.")
        fault = self.fault(Trajectory(columns))
        if fault is not None:
            raise AmagoError(f"what {who} returned cannot be learned from: {fault}.")
        return columns


def _form(trajectory: Trajectory) -> Any:
    """Return all that the fault of a trajectory depends on; None where its columns are no arrays."""
    try:
        length = trajectory.length
        columns = [(n, c.dtype, c.shape[1:], len(c) - length) for n, c in trajectory.columns.items()]
    except (AttributeError, KeyError, TypeError):
        return None
    return length > 0, tuple(columns)


class _NoColumnError(KeyError):
    """A column that was asked for is not there: its name, and the names of those that are."""


class _Columns(dict[str, "np.ndarray"]):
    """Columns of a trajectory that know which of them somebody missed."""

    def __missing__(self, name: str) -> np.ndarray:
        raise _NoColumnError(name, list(self))


@contextmanager
def missing_column_errors(who: str) -> Iterator[None]:
    """Say which column somebody needs that a trajectory does not have.

    Raises:
        AmagoError: In place of what the columns of a watched relabeler raise.
    """
    try:
        yield
    except _NoColumnError as error:
        name, there = error.args
        raise AmagoError(
            f"{who} needs the column {name!r}, and a trajectory has {', '.join(there)}: {_ORIGIN}, or "
            "write relabeler=none."
        ) from error


class CheckedRelabeler:
    """A relabeler whose errors name it, and whose results are checked.

    Args:
        relabeler: The part.
        use: Its full name.
        forms: Of what is learned from.
    """

    def __init__(self, relabeler: Relabeler, use: str, forms: TrajectoryChecker) -> None:
        self._relabeler, self._use, self._forms = relabeler, use, forms
        with part_errors("relabeler", use, "asking whether it changes anything"):
            self.identity = relabeler.identity

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return the trajectory as it is learned from.

        Raises:
            AmagoError: If the relabeler raises something, or nothing can learn from what it returns.
        """
        with part_errors("relabeler", self._use, "relabelling a trajectory"):
            who = f"the relabeler {self._use}"
            with missing_column_errors(who):
                columns = self._relabeler(_Columns(trajectory), rng)
            return self._forms.checked(columns, who)


class CheckedDataset:
    """A dataset whose errors name it, and whose trajectories are checked.

    Args:
        dataset: The part.
        use: Its full name.
        forms: Of what is learned from.
    """

    def __init__(self, dataset: Dataset, use: str, forms: TrajectoryChecker) -> None:
        self._dataset, self._use, self._forms = dataset, use, forms
        self.observation_space, self.action_space = dataset.observation_space, dataset.action_space

    def sample(self, rng: np.random.Generator, count: int, update: int) -> list[Trajectory]:
        """Draw ``count`` trajectories.

        Raises:
            AmagoError: If the dataset raises something.
            DatasetError: If what it gives is not what it was asked for, or nothing can learn from it.
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
        """Return what it holds."""
        with part_errors("dataset", self._use, "describing it"):
            return self._dataset.describe()

    def _check(self, drawn: Any) -> None:
        if not isinstance(drawn, Trajectory):
            raise DatasetError(
                f"the dataset {self._use} drew a {type(drawn).__name__} in place of a trajectory."
            )
        fault = self._forms.fault(drawn)
        if fault is not None:
            raise DatasetError(
                f"the dataset {self._use} cannot be learned from: of a trajectory, {fault}."
            )
