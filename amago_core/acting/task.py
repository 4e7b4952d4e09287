"""The task description: an environment and its spaces, or those of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_core.acting.action_masks import shows_mask
from amago_core.environments import MakeEnvironment
from amago_registry.actions import CanonicalAction
from amago_registry.spaces import canonical_action, canonical_observation
from amago_registry.trajectories import OBSERVATION


@dataclass(frozen=True)
class Task:
    """An environment and its observation and action spaces, or those of a dataset.

    Args:
        name: Name of the environment.
        make: Makes one environment; None if there is only a dataset.
        observation_space: Declared by one environment, or by the dataset.
        action_space: Declared by one environment, or by the dataset.
        horizon: Largest number of steps of a trajectory; None if not known.
        with_goals: The environment's ``with_goals``, for hindsight relabeling; None if it has none.
        recorded_space: What is recorded beside observations; None if that is not known.
    """

    name: str
    make: MakeEnvironment | None
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    horizon: int | None
    with_goals: Callable[..., Mapping[str, np.ndarray]] | None = None
    recorded_space: spaces.Dict | None = None

    @property
    def observed(self) -> spaces.Dict:
        """The canonical observation space, which the agent sees."""
        return canonical_observation(self.observation_space)

    @property
    def acted(self) -> CanonicalAction:
        """The canonical action space, which the agent sees."""
        return canonical_action(self.action_space)

    @property
    def columns(self) -> dict[str, tuple[int, ...]] | None:
        """Shape of one timestep of each observation and recorded column; None if not known."""
        if self.recorded_space is None:
            return None
        seen = {f"{OBSERVATION}{key}": leaf for key, leaf in self.observed.items()}
        return {name: leaf.shape or () for name, leaf in {**seen, **self.recorded_space}.items()}

    @property
    def masked(self) -> bool:
        """Whether observations hold an action mask."""
        return shows_mask(self.observed, self.acted)
