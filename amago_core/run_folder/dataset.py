"""The dataset ``shards``: the replay of a run, or any folder of shards, to learn from offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_core.replay import Replay, TrajectoryGoneError
from amago_core.run_folder.dataset_options import ShardsOptions
from amago_core.run_folder.run_dir import RunDir
from amago_registry.contexts import DatasetContext
from amago_registry.errors import DatasetError
from amago_registry.recordings import form_fault
from amago_registry.trajectories import Trajectory

MAX_REDRAWS = 1000
"""Damaged trajectories that may be drawn in a row before sampling raises."""


class ShardsDataset:
    """A dataset of all trajectories in a folder of shards when it is opened, protected ones included.

    Damaged and deleted shards are left out; ``describe`` counts the damaged ones. The folder is only
    read. Spaces are those of the run that the folder belongs to, else of the spec's environment.

    Args:
        context: Supplied by the composer.
        options: The folder, and how trajectories are drawn.

    Raises:
        DatasetError: If there is no trajectory, or its spaces are unknown.
    """

    def __init__(self, context: DatasetContext, options: ShardsOptions) -> None:
        self._folder = _shards_folder(Path(options.folder))
        self._replay = Replay(self._folder, None, read_only=True)
        # A view never changes, so sampling is reproducible even while a run writes to the folder.
        self._view = self._replay.view()
        self._ends = self._view.ends
        if not len(self._view) or not self._ends[-1]:
            raise DatasetError(f"{self._folder} holds no trajectory to learn from{self._left_out()}.")
        self.observation_space, self.action_space = _spaces(self._folder, context)
        self._draw_index = self._by_timesteps if options.by == "timesteps" else self._by_trajectories
        self._form = self._checked(self._draw(np.random.default_rng(0)))

    def sample(self, rng: np.random.Generator, count: int, update: int) -> list[Trajectory]:
        """Draw ``count`` trajectories.

        Raises:
            DatasetError: If a trajectory has other columns than the first, or none can be read.
        """
        return [self._same_form(self._draw(rng)) for _ in range(count)]

    def describe(self) -> str:
        """Return the number of trajectories, timesteps, and damaged shards that are left out."""
        trajectories = int(np.count_nonzero(self._view.lengths))
        timesteps = int(self._ends[-1])
        return f"{trajectories:,} trajectories, {timesteps:,} timesteps{self._left_out()}"

    def _left_out(self) -> str:
        damaged = self._replay.quarantined
        return f"; {damaged} damaged shard{'s' * (damaged != 1)} left out" if damaged else ""

    def _draw(self, rng: np.random.Generator) -> Trajectory:
        for _ in range(MAX_REDRAWS):
            try:
                return self._view.trajectory(self._draw_index(rng))
            except TrajectoryGoneError:  # It stays gone, so a repeated run redraws the same ones.
                continue
        raise DatasetError(f"{self._folder} holds no trajectory that can be read{self._left_out()}.")

    def _by_trajectories(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self._ends)))

    def _by_timesteps(self, rng: np.random.Generator) -> int:
        return int(np.searchsorted(self._ends, rng.integers(self._ends[-1]), "right"))

    def _same_form(self, trajectory: Trajectory) -> Trajectory:
        if _form(trajectory) == self._form:
            return trajectory
        form = self._checked(trajectory)
        raise DatasetError(
            f"trajectories in {self._folder} have different columns: {_listed(self._form - form)} in "
            f"one, {_listed(form - self._form)} in another. Put each kind in a folder of its own and "
            "use a mixture."
        )

    def _checked(self, trajectory: Trajectory) -> set[tuple[str, Any, Any, int]]:
        fault = form_fault(trajectory, self.observation_space, self.action_space)
        if fault is not None:
            raise DatasetError(f"{self._folder} does not fit its spaces: of a trajectory, {fault}.")
        return _form(trajectory)


def _form(trajectory: Trajectory) -> set[tuple[str, Any, Any, int]]:
    """Return name, dtype, shape and rows in excess of the transitions of every column."""
    length = trajectory.length
    return {
        (name, column.dtype, column.shape[1:], len(column) - length)
        for name, column in trajectory.columns.items()
    }


def _listed(form: set[tuple[str, Any, Any, int]]) -> str:
    columns = sorted(f"{name} {dtype} {shape}" for name, dtype, shape, _ in form)
    return ", ".join(columns) or "nothing"


def _shards_folder(given: Path) -> Path:
    if not given.is_dir():
        what = "is not a folder" if given.exists() else "does not exist"
        relative = (
            ""
            if given.is_absolute()
            else f" A relative path begins in the working directory, {Path.cwd()}."
        )
        make = "" if given.exists() else f" A run records one: amago train SPEC --run {given}"
        raise DatasetError(f"dataset.folder {given} {what}.{relative}{make}")
    run = RunDir(given)
    return run.replay if run.replay.is_dir() else given


def _spaces(folder: Path, context: DatasetContext) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    run = RunDir(folder.parent)
    if run.replay == folder and run.spaces.is_file():
        return run.read_spaces()
    if context.observation_space is None or context.action_space is None:
        raise DatasetError(
            f"the observation and action spaces of the shards in {folder} are unknown: it is not the "
            "replay of a run, which stores them, and the spec has no environment."
        )
    return context.observation_space, context.action_space
