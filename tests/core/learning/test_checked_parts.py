"""Checked datasets: errors while batches are drawn name the dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from loader_parts import recording

from amago_core.errors import AmagoError
from amago_core.learning.checked_parts import CheckedDataset, TrajectoryChecker
from amago_registry.trajectories import Trajectory

SEEN, ACTED = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Discrete(3)
COLUMNS_FAULT = "cannot be learned from: of a trajectory,"


class FaultyDataset:
    """A dataset that is valid at update 0 and returns ``later`` afterwards."""

    observation_space, action_space = SEEN, ACTED

    def __init__(self, later: Callable[[int], Any]) -> None:
        self._later = later

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return self._later(count) if update else [recording(1, 3)] * count

    def describe(self) -> str:
        return "3 steps"


def lost(count: int) -> Any:
    raise OSError(5, "Input/output error")


def cut(count: int) -> list[Trajectory]:
    columns = dict(recording(1, 3).columns)
    return [Trajectory({**columns, "reward": columns["reward"][:2]})] * count


FAULTS: dict[str, tuple[Callable[[int], Any], str]] = {
    "raises": (
        lost,
        "cannot be used: drawing for update 4 raised OSError: [Errno 5] Input/output error",
    ),
    "nothing": (
        lambda count: None,
        "cannot be used: drawing for update 4 raised TypeError: 'NoneType' object is not iterable",
    ),
    "few": (
        lambda count: [recording(1, 3)] * (count - 2),
        "drew the wrong number of trajectories for update 4: 3 instead of 5.",
    ),
    "columns": (lambda count: [{}] * count, "drew a dict in place of a trajectory."),
    "empty": (lambda count: [recording(1, 0)] * count, f"{COLUMNS_FAULT} it has no transition."),
    "lists": (
        lambda count: [Trajectory({k: list(v) for k, v in recording(1, 3).columns.items()})] * count,
        f"{COLUMNS_FAULT} obs.observation is not an array with rows.",
    ),
    "rows": (cut, f"{COLUMNS_FAULT} obs.observation has 4 rows instead of 3."),
}


@pytest.mark.parametrize(("later", "fault"), FAULTS.values(), ids=FAULTS)
def test_the_error_of_a_dataset_names_it(later: Callable[[int], Any], fault: str) -> None:
    dataset = CheckedDataset(FaultyDataset(later), "evil/walks", TrajectoryChecker(SEEN, ACTED))
    rng = np.random.default_rng(0)
    assert [drawn.length for drawn in dataset.sample(rng, 2, 0)] == [3, 3]
    with pytest.raises(AmagoError) as caught:
        dataset.sample(rng, 5, 4)
    assert str(caught.value) == f"the dataset evil/walks {fault}"


def test_a_dataset_can_return_a_generator() -> None:
    dataset = CheckedDataset(
        FaultyDataset(lambda count: (recording(1, n + 1) for n in range(count))),
        "x",
        TrajectoryChecker(SEEN, ACTED),
    )
    drawn = dataset.sample(np.random.default_rng(0), 3, 1)
    assert [trajectory.length for trajectory in drawn] == [1, 2, 3]
