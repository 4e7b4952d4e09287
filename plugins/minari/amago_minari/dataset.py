"""Minari dataset, read episode by episode."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from amago_minari.opening import open_storage
from amago_minari.options import MinariOptions
from amago_registry.contexts import DatasetContext
from amago_registry.errors import AmagoError, DatasetError, reason
from amago_registry.recordings import recorded_trajectory
from amago_registry.trajectories import Trajectory

_MIB = 2**20


class MinariDataset:
    """Minari dataset: draws whole episodes, with an LRU cache of episodes in memory.

    The environment that the dataset names is not made, so that only the data is needed.

    Args:
        context: Supplied by the composer.
        options: Which dataset, and how much of it.

    Raises:
        DatasetError: If it is not on this machine, or cannot be read.
    """

    def __init__(self, context: DatasetContext, options: MinariOptions) -> None:
        del context
        self._id = options.id
        self._storage: MinariStorage = open_storage(options.id, download=options.download)
        self.observation_space = self._storage.observation_space
        self.action_space = self._storage.action_space
        self._lengths = self._read_lengths(options.episodes)
        self._episodes = np.flatnonzero(self._lengths)
        if not len(self._episodes):
            raise DatasetError(f"the Minari dataset {options.id} holds no transition.")
        self._ends = np.cumsum(self._lengths[self._episodes])
        self._by_timesteps = options.by == "timesteps"
        self._cache = _EpisodeCache(options.memory * _MIB)
        self._reading = Lock()

    def sample(self, rng: np.random.Generator, count: int, update: int) -> list[Trajectory]:
        """Draw ``count`` episodes.

        Raises:
            DatasetError: If an episode cannot be learned from.
        """
        if self._by_timesteps:
            steps = rng.integers(self._ends[-1], size=count)
            drawn = np.searchsorted(self._ends, steps, "right")
        else:
            drawn = rng.integers(len(self._ends), size=count)
        return [self._episode(index) for index in self._episodes[drawn].tolist()]

    def describe(self) -> str:
        """Return which dataset it is and how much there is."""
        return f"{self._id}: {len(self._ends):,} trajectories, {self._ends[-1]:,} timesteps"

    def _episode(self, index: int) -> Trajectory:
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        with self._reading:  # Files are read by one thread at a time anyway.
            cached = self._cache.get(index)
            return cached if cached is not None else self._cache.put(index, self._read(index))

    def _read_lengths(self, most: int | None) -> NDArray[np.int64]:
        """Return the number of steps of each episode, from the episodes' metadata."""
        try:
            count = min(self._storage.total_episodes, most or self._storage.total_episodes)
            episodes = self._storage.get_episode_metadata(range(count))
            lengths = np.array([metadata["total_steps"] for metadata in episodes], np.int64)
        except Exception as error:
            raise DatasetError(
                f"the Minari dataset {self._id} cannot be read: {reason(error)}."
            ) from error
        if (lengths < 0).any():
            raise DatasetError(
                f"the Minari dataset {self._id} cannot be read: an episode has {lengths.min()} steps."
            )
        return lengths

    def _read(self, index: int) -> Trajectory:
        try:
            (metadata,) = self._storage.get_episode_metadata([index])
            (episode,) = self._storage.get_episodes([index])
            trajectory = recorded_trajectory(
                episode["observations"],
                episode["actions"],
                episode["rewards"],
                episode["terminations"],
                episode["truncations"],
                self.observation_space,
                self.action_space,
            )
        except Exception as error:
            message = str(error) if isinstance(error, AmagoError) else f"{reason(error)}."
            raise DatasetError(
                f"episode {index} of the Minari dataset {self._id}: {message}"
            ) from error
        if trajectory.length != self._lengths[index]:
            raise DatasetError(
                f"episode {index} of the Minari dataset {self._id} has {trajectory.length} steps, and "
                f"its description says {self._lengths[index]}."
            )
        for column in trajectory.columns.values():
            column.flags.writeable = False
        return replace(trajectory, seed=_seed(metadata))


class _EpisodeCache:
    """LRU cache of episodes, limited in bytes.

    Args:
        most: Bytes of columns.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes, self._lock = most, 0, Lock()
        self._episodes: OrderedDict[int, Trajectory] = OrderedDict()

    def get(self, index: int) -> Trajectory | None:
        """Return an episode if it is in the cache."""
        with self._lock:
            if index in self._episodes:
                self._episodes.move_to_end(index)
            return self._episodes.get(index)

    def put(self, index: int, episode: Trajectory) -> Trajectory:
        """Insert a new episode, evict the least recently used ones beyond the limit, and return it."""
        with self._lock:
            self._episodes[index] = episode
            self._bytes += _size(episode)
            while self._bytes > self._most:
                self._bytes -= _size(self._episodes.popitem(last=False)[1])
        return episode


def _size(episode: Trajectory) -> int:
    return sum(column.nbytes for column in episode.columns.values())


def _seed(metadata: dict[str, Any]) -> int:
    """Return the seed of the episode's reset; 0 if the dataset has none."""
    seed = metadata.get("seed")
    return int(seed) if isinstance(seed, int | np.integer) and 0 <= seed < 2**63 else 0
