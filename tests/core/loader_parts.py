"""A relabeler and a dataset that loader processes import by name; the relabeler fails on request."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amago_registry import AmagoError, Component, Options, Part
from amago_registry.catalog import Entry
from amago_registry.trajectories import Trajectory

Columns = Mapping[str, np.ndarray]


class WrongError(AmagoError):
    """An error that the relabeler raises on purpose."""


class TwofoldError(AmagoError):
    """An error that cannot be pickled: its constructor takes two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class HowOptions(Options):
    """Options of both parts."""

    how: str = ""


class Relabeler:
    """Adds a random reward; otherwise behaves as ``how`` says."""

    identity = False

    def __init__(self, context: Any, options: HowOptions) -> None:
        self.how, self.with_goals = options.how, context.with_goals
        self.environment, self.columns = context.environment, context.columns
        if self.how.startswith("within "):
            self.inner = context.build(relabeling(self.how.removeprefix("within ")), context)
        if self.how == "goals" and self.with_goals is None:
            raise WrongError(f"goals of {context.environment or 'no environment'} cannot be changed")

    def __call__(self, trajectory: Columns, rng: np.random.Generator) -> Columns:
        reward = trajectory["reward"] + rng.integers(1000)
        how = self.how
        if how.startswith("within "):
            return self.inner(trajectory, rng)
        if how == "goals":
            return self.with_goals(trajectory, np.array([[3], [4]]))
        if how == "ask":
            raise WrongError(f"the environment is called {self.environment} and has {self.columns}")
        if how == "achieved":
            return {**trajectory, "reward": trajectory["achieved"]}
        if how == "refuse":
            raise WrongError("goals are missing: write goals=3")
        if how == "fail":
            raise KeyError("goal")
        if how == "unpicklable":
            raise TwofoldError("this", "that")
        if how == "exit":
            sys.exit(3)
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if how.startswith("sleep "):
            Path(how.removeprefix("sleep ")).touch()
            time.sleep(600)
        if how == "none":
            return None  # type: ignore[return-value]
        if how == "empty":
            return {name: column[: len(column) - len(reward)] for name, column in trajectory.items()}
        if how == "blind":
            return {name: column for name, column in trajectory.items() if "obs" not in name}
        if how == "wide":
            return {**trajectory, "obs.observation": trajectory["obs.observation"].astype(np.float64)}
        if how == "half":
            return {**trajectory, "action": trajectory["action"] + 0.5}
        if how == "torch":
            reward = reward + 100_000 * ("torch" in sys.modules)
        if how == "threads":
            reward = 0 * reward + int(os.environ["OMP_NUM_THREADS"])
        return {**trajectory, "reward": reward.astype(np.float32)}


class Dataset:
    """A dataset of trajectories of one transition, with random seeds."""

    def __init__(self, context: Any, options: HowOptions) -> None:
        self.observation_space, self.action_space = context.observation_space, context.action_space

    def sample(self, rng: np.random.Generator, count: int, update: int) -> list[Trajectory]:
        return [recording(int(number), 1) for number in rng.integers(500, 600, count)]

    def describe(self) -> str:
        return "drawn"


def recording(number: int, length: int) -> Trajectory:
    """Return a trajectory for three actions whose observations identify it."""
    place_T = np.arange(length + 1, dtype=np.float32)
    return Trajectory(
        {
            "obs.observation": np.stack([100 * number + place_T, place_T], 1),
            "action": (np.arange(length) % 3).astype(np.uint8),
            "reward": np.arange(length, dtype=np.float32),
            "terminated": np.zeros(length, bool),
            "truncated": np.zeros(length, bool),
        },
        seed=number,
    )


def relabeling(how: str) -> Part[Any]:
    """Return the relabeler as a part of a spec."""
    return _part("relabeler", "Relabeler", how)


def dataset() -> Part[Any]:
    """Return the dataset as a part of a spec."""
    return _part("dataset", "Dataset", "")


def _part(kind: str, name: str, how: str) -> Part[Any]:
    component = Component(name.lower(), f"loader_parts:{name}", HowOptions, "for tests")
    return Part(kind, Entry(kind, "tests", component), HowOptions(how=how))
