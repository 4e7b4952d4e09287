"""Base class of this room's environments (seeding, step budget, rendering), and their component."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from numpy.typing import NDArray

from amago_registry.contexts import EnvironmentContext
from amago_registry.options import Options

Observation: TypeAlias = NDArray[np.float32]


class Task(gymnasium.Env[Any, np.int64]):
    """An environment whose ``reset`` draws a new hidden task and whose trajectories end ``terminated``.

    Args:
        horizon: Most steps of one trajectory; readable as ``env.unwrapped.horizon``.
        render_mode: None or ``"rgb_array"``.

    Raises:
        ValueError: If the render mode is another.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, horizon: int, render_mode: str | None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; choose None or 'rgb_array'")
        self.horizon = horizon
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw a new task: from ``seed``, or without one the next of the present generator."""
        super().reset(seed=seed, options=options)
        return self._begin(), {}

    def render(self) -> Any:
        """Return a picture ``(height, width, 3)``, uint8; None without a render mode."""
        return self._picture() if self.render_mode else None

    @abstractmethod
    def _begin(self) -> Any:
        """Draw the hidden part from ``self.np_random`` and return the first observation."""

    @abstractmethod
    def _picture(self) -> NDArray[np.uint8]:
        """Return the picture of the present state."""


@dataclass(frozen=True)
class Factory:
    """Component of an environment class with flat arguments: options become its arguments.

    Args:
        environment: The class.
        context: Supplied by the composer.
        options: Named as the arguments of the class.
    """

    environment: Callable[..., Task]
    context: EnvironmentContext
    options: Options

    def make(self) -> Task:
        """Return a fresh environment."""
        return self.environment(**self.options.model_dump())
