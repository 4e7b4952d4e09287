"""Datasets of others, while batches are drawn: what goes wrong names them."""

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
FORM = "cannot be learned from: of a trajectory,"


class Given:
    """A dataset that gives what it is told to, and is right at first."""

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
    "empty": (lambda count: [recording(1, 0)] * count, f"{FORM} it has no transition."),
    "lists": (
        lambda count: [Trajectory({k: list(v) for k, v in recording(1, 3).columns.items()})] * count,
        f"{FORM} obs.observation is no array with rows.",
    ),
    "rows": (cut, f"{FORM} obs.observation has 4 rows instead of 3."),
}


@pytest.mark.parametrize(("later", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_dataset_that_goes_wrong_later_is_named(later: Callable[[int], Any], fault: str) -> None:
    dataset = CheckedDataset(Given(later), "evil/walks", TrajectoryChecker(SEEN, ACTED))
    rng = np.random.default_rng(0)
    assert [drawn.length for drawn in dataset.sample(rng, 2, 0)] == [3, 3]
    with pytest.raises(AmagoError) as caught:
        dataset.sample(rng, 5, 4)
    assert str(caught.value) == f"the dataset evil/walks {fault}"


def test_a_generator_is_as_good_as_a_list() -> None:
    dataset = CheckedDataset(
        Given(lambda count: (recording(1, n + 1) for n in range(count))),
        "x",
        TrajectoryChecker(SEEN, ACTED),
    )
    drawn = dataset.sample(np.random.default_rng(0), 3, 1)
    assert [trajectory.length for trajectory in drawn] == [1, 2, 3]
