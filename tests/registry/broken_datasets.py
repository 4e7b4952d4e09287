"""Correct datasets, small enough to read, and ways of breaking each law."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from threading import get_ident
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry import Options
from amago_registry.contexts import DatasetContext
from amago_registry.recordings import recorded_trajectory
from amago_registry.trajectories import Trajectory


class NoOptions(Options):
    """No options."""


class Counts:
    """Twenty trajectories of 1 to 5 steps, whose observations tell them apart: obeys every law."""

    observation_space: Any = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space: Any = spaces.Discrete(3, start=1)
    held = 20

    def __init__(self, context: DatasetContext, options: NoOptions) -> None:
        self.context = context
        self.trajectories = [self.change(self.make(number), number) for number in range(self.held)]

    def make(self, number: int) -> Trajectory:
        length = 1 + number % 5
        seen = np.stack([np.arange(length + 1), np.full(length + 1, number)], -1).astype(np.float64)
        last = np.arange(length) == length - 1
        return recorded_trajectory(
            seen,
            1 + np.arange(length) % 3,
            np.full(length, number / 2),
            last & (number % 2 == 0),
            last & (number % 2 == 1),
            self.observation_space,
            self.action_space,
            seed=number,
        )

    def change(self, trajectory: Trajectory, number: int) -> Any:
        for column in trajectory.columns.values():
            column.flags.writeable = False
        return trajectory

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return [self.trajectories[self.choose(rng)] for _ in range(count)]

    def choose(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.held))

    def describe(self) -> Any:
        return f"{self.held} trajectories"


class Copies(Counts):
    """Returns writable copies: obeys every law."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return [self.copy(trajectory) for trajectory in super().sample(rng, count, update)]

    def copy(self, trajectory: Trajectory) -> Trajectory:
        columns = {name: column.copy() for name, column in trajectory.columns.items()}
        return replace(trajectory, columns=columns)


class HoldsOne(Counts):
    """Has one trajectory: obeys every law."""

    held = 1


class Pieces(Counts):
    """Has segments of trajectories: obeys every law."""

    before: Any = np.uint8(2)
    time: Any = 3
    reward = 0.5

    def change(self, trajectory: Trajectory, number: int) -> Any:
        held = super().change(trajectory, number)
        return replace(held, start_time=self.time, prev_action=self.before, prev_reward=self.reward)


class WithColumns(Counts):
    """Has additional columns."""

    def change(self, trajectory: Trajectory, number: int) -> Any:
        columns = self.columns({**trajectory.columns}, number)
        return super().change(replace(trajectory, columns=columns), number)

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"achieved": np.zeros(len(columns["reward"]) + 1, np.int64)}


class CannotSample(Counts):
    """Has no ``sample``."""

    sample: Any = None


class SaysNothing(Counts):
    """Describes itself with an empty string."""

    def describe(self) -> Any:
        return ""


class Unbounded(Counts):
    """Has unbounded actions, which are not supported."""

    def __init__(self, context: DatasetContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.action_space = spaces.Box(-np.inf, np.inf, (1,))


class StopsAtTen(Counts):
    """Returns at most all of its trajectories."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return super().sample(rng, min(count, 10), update)


class Dries(Counts):
    """Returns nothing after a million updates."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return super().sample(rng, count if update < 10**6 else 0, update)


class Overflows(Counts):
    """Raises OverflowError at large updates."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return super().sample(rng, count + int(2.0 ** (update // 10**5) * 0), update)


class GivesColumns(Counts):
    """Returns dictionaries instead of trajectories."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return [trajectory.columns for trajectory in super().sample(rng, count, update)]


class KeepsDoubles(WithColumns):
    """Returns float64 observations."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"obs.observation": columns["obs.observation"].astype(np.float64)}


class ForgetsTheLast(WithColumns):
    """Lacks the last observation."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"obs.observation": columns["obs.observation"][:-1]}


class WithoutEnds(WithColumns):
    """Lacks ``truncated``."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return {name: column for name, column in columns.items() if name != "truncated"}


class SometimesMore(WithColumns):
    """Adds a column to some trajectories."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return super().columns(columns, number) if number % 2 else columns


class CountsFromOne(WithColumns):
    """Returns actions that count from 1."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"action": columns["action"] + np.uint8(1)}


class DividesByNothing(WithColumns):
    """Returns nan rewards."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"reward": np.full_like(columns["reward"], np.nan)}


class GoesOn(WithColumns):
    """Is terminated before the last transition."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"terminated": np.ones_like(columns["terminated"])}


class ForgetsWhatWasBefore(Pieces):
    """A segment without the previous action."""

    before = None


class BeginsTwice(Pieces):
    """A beginning with a previous action."""

    time = 0


class BeforeTheBeginning(Pieces):
    """Has a negative ``start_time``."""

    time = -1


class LeadsInVectors(Pieces):
    """Returns the previous action as an action vector."""

    before = np.array([0, 0, 1], np.float32)


class LeadsInNothing(Pieces):
    """Has a nan ``prev_reward``."""

    reward = float("nan")


class TakesTurns(Counts):
    """Depends on earlier calls."""

    turns = 0

    def choose(self, rng: np.random.Generator) -> int:
        self.turns += 1
        return (super().choose(rng) + self.turns) % self.held


class ShufflesOnce(Counts):
    """Is shuffled differently by every instance."""

    built = 0

    def __init__(self, context: DatasetContext, options: NoOptions) -> None:
        super().__init__(context, options)
        type(self).built += 1
        self.shift = type(self).built

    def choose(self, rng: np.random.Generator) -> int:
        return (super().choose(rng) + self.shift) % self.held


class IgnoresTheGenerator(Counts):
    """Always returns its first trajectories."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return [self.trajectories[number % self.held] for number in range(count)]


class SeedsGlobally(Counts):
    """Seeds numpy's global generator."""

    def choose(self, rng: np.random.Generator) -> int:
        random.seed(0)
        return super().choose(rng)


class ReusesABuffer(Counts):
    """Reuses a ring of buffers, so that results are overwritten later."""

    ring = 30

    def __init__(self, context: DatasetContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.buffers: dict[int, Any] = {}

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        # One ring per thread, so that only the law about later calls is broken.
        place, ring = self.buffers.setdefault(get_ident(), [0, np.zeros((self.ring, 6), np.float32)])
        given = []
        for trajectory in super().sample(rng, count, update):
            row = ring[place % self.ring, : trajectory.length]
            row[:] = trajectory.columns["reward"]
            view = row.view()
            view.flags.writeable = False
            given.append(replace(trajectory, columns={**trajectory.columns, "reward": view}))
            place += 1
        self.buffers[get_ident()][0] = place
        return given


class Shares(Counts):
    """Returns its own arrays, writable."""

    def change(self, trajectory: Trajectory, number: int) -> Any:
        return trajectory


class PassesThroughItself(Counts):
    """Shares the generator between threads in an attribute."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Sequence[Trajectory]:
        self.rng = rng
        time.sleep(0.001)
        return [self.trajectories[self.choose(self.rng)] for _ in range(count)]
