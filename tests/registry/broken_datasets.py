"""Honest datasets, small enough to read, and ways of breaking each law."""

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
    """Hands out copies that anybody may write to: obeys every law."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return [self.copy(trajectory) for trajectory in super().sample(rng, count, update)]

    def copy(self, trajectory: Trajectory) -> Trajectory:
        columns = {name: column.copy() for name, column in trajectory.columns.items()}
        return replace(trajectory, columns=columns)


class HoldsOne(Counts):
    """One trajectory is all there is, whatever the generator: obeys every law."""

    held = 1


class Pieces(Counts):
    """What was recorded in pieces: obeys every law."""

    before: Any = np.uint8(2)
    time: Any = 3
    reward = 0.5

    def change(self, trajectory: Trajectory, number: int) -> Any:
        held = super().change(trajectory, number)
        return replace(held, start_time=self.time, prev_action=self.before, prev_reward=self.reward)


class WithColumns(Counts):
    """Hands out other columns."""

    def change(self, trajectory: Trajectory, number: int) -> Any:
        columns = self.columns({**trajectory.columns}, number)
        return super().change(replace(trajectory, columns=columns), number)

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"achieved": np.zeros(len(columns["reward"]) + 1, np.int64)}


class CannotSample(Counts):
    """No dataset."""

    sample: Any = None


class SaysNothing(Counts):
    """What it holds stays its secret."""

    def describe(self) -> Any:
        return ""


class Unbounded(Counts):
    """No agent takes its actions; and none is stored."""

    def __init__(self, context: DatasetContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.action_space = spaces.Box(-np.inf, np.inf, (1,))


class StopsAtTen(Counts):
    """Everything once, if it is asked for more than it has."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return super().sample(rng, min(count, 10), update)


class Dries(Counts):
    """Gives nothing after a million updates."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return super().sample(rng, count if update < 10**6 else 0, update)


class Overflows(Counts):
    """Anneals by a power."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return super().sample(rng, count + int(2.0 ** (update // 10**5) * 0), update)


class GivesColumns(Counts):
    """Dictionaries for trajectories."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return [trajectory.columns for trajectory in super().sample(rng, count, update)]


class KeepsDoubles(WithColumns):
    """As the environment gave them, not as they are stored."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"obs.observation": columns["obs.observation"].astype(np.float64)}


class ForgetsTheLast(WithColumns):
    """As many observations as actions."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"obs.observation": columns["obs.observation"][:-1]}


class WithoutEnds(WithColumns):
    """Nobody knows whether it is over."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return {name: column for name, column in columns.items() if name != "truncated"}


class SometimesMore(WithColumns):
    """Some know of a goal."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return super().columns(columns, number) if number % 2 else columns


class CountsFromOne(WithColumns):
    """The environment's own names of actions."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"action": columns["action"] + np.uint8(1)}


class DividesByNothing(WithColumns):
    """A mean over nothing."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"reward": np.full_like(columns["reward"], np.nan)}


class GoesOn(WithColumns):
    """Two tasks in one."""

    def columns(self, columns: dict[str, Any], number: int) -> dict[str, Any]:
        return columns | {"terminated": np.ones_like(columns["terminated"])}


class ForgetsWhatWasBefore(Pieces):
    """A piece without its lead-in."""

    before = None


class BeginsTwice(Pieces):
    """A beginning with something before it."""

    time = 0


class BeforeTheBeginning(Pieces):
    """Negative time."""

    time = -1


class LeadsInVectors(Pieces):
    """The vector form, where the stored one is asked for."""

    before = np.array([0, 0, 1], np.float32)


class LeadsInNothing(Pieces):
    """No number."""

    reward = float("nan")


class TakesTurns(Counts):
    """Remembers what it gave."""

    turns = 0

    def choose(self, rng: np.random.Generator) -> int:
        self.turns += 1
        return (super().choose(rng) + self.turns) % self.held


class ShufflesOnce(Counts):
    """In another order every time it is built."""

    built = 0

    def __init__(self, context: DatasetContext, options: NoOptions) -> None:
        super().__init__(context, options)
        type(self).built += 1
        self.shift = type(self).built

    def choose(self, rng: np.random.Generator) -> int:
        return (super().choose(rng) + self.shift) % self.held


class IgnoresTheGenerator(Counts):
    """The first ones, always."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        return [self.trajectories[number % self.held] for number in range(count)]


class SeedsGlobally(Counts):
    """Good for nothing."""

    def choose(self, rng: np.random.Generator) -> int:
        random.seed(0)
        return super().choose(rng)


class ReusesABuffer(Counts):
    """A ring of arrays: what was given is overwritten in time."""

    ring = 30

    def __init__(self, context: DatasetContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.buffers: dict[int, Any] = {}

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Any:
        # A ring for every thread: nobody else's drawing matters.
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
    """Its own arrays, for everybody to write to."""

    def change(self, trajectory: Trajectory, number: int) -> Any:
        return trajectory


class PassesThroughItself(Counts):
    """Keeps the generator for a moment, for all threads."""

    def sample(self, rng: np.random.Generator, count: int, update: int) -> Sequence[Trajectory]:
        self.rng = rng
        time.sleep(0.001)
        return [self.trajectories[self.choose(self.rng)] for _ in range(count)]
