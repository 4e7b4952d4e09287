"""A task: what an agent acts in, or what a dataset was recorded in."""

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
    """An environment to act in, or what a dataset was recorded in.

    Args:
        name: What users call it.
        make: Makes a fresh environment; None where a dataset is all there is.
        observation_space: As one environment declares it, or the dataset.
        action_space: As one environment declares it, or the dataset.
        horizon: Most steps a trajectory lasts; None if the environment does not say.
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
        """The observation space as the agent sees it."""
        return canonical_observation(self.observation_space)

    @property
    def acted(self) -> CanonicalAction:
        """The action space as the agent sees it."""
        return canonical_action(self.action_space)

    @property
    def columns(self) -> dict[str, tuple[int, ...]] | None:
        """Names of what is seen and recorded, and the shape of one timestep; None if not known."""
        if self.recorded_space is None:
            return None
        seen = {f"{OBSERVATION}{key}": leaf for key, leaf in self.observed.items()}
        return {name: leaf.shape or () for name, leaf in {**seen, **self.recorded_space}.items()}

    @property
    def masked(self) -> bool:
        """Whether observations show which actions may be taken."""
        return shows_mask(self.observed, self.acted)
