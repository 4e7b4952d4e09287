"""Multi-task mixture of environments: every trajectory plays one of them.

Shape suffixes: A = choices of the widest task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_registry.contexts import EnvironmentContext
from amago_registry.errors import UnsupportedSpaceError
from amago_standard.environments.options import MixtureOptions

TASK_KEY = "task"
"""Key of the present task: its index in the observation, its name in the info of a reset."""
MASK_KEY = "action_mask"

Space: TypeAlias = spaces.Space[Any]


@dataclass(frozen=True)
class MixedTask:
    """One task of a mixture.

    Args:
        name: Its name in the mixture; the key of its observations.
        env: The environment.
        weight: How often it is drawn, relative to the others.
        reward_scale: Its rewards are multiplied by this.
    """

    name: str
    env: gymnasium.Env[Any, Any]
    weight: float = 1.0
    reward_scale: float = 1.0


class Mixture(gymnasium.Env[dict[str, Any], Any]):
    """Multi-task environment that draws one of several tasks at every reset.

    Observations lie under the names of their tasks, ``{"t-maze": ..., "bandit": ...}``. Those of the
    tasks that are not being played are absent: zeros, or what their space has closest to zero.
    ``task`` is the index of the one that is; without ``show_task`` the agent must infer it.

    Actions are those of the tasks where all have the same ``Box``. With ``Discrete`` actions they count
    from 0 to the most choices of any task; where tasks differ in number, or show an ``action_mask`` of
    their own, the observation has an ``action_mask``. Infos and ends of trajectories are the task's,
    except that the info of a reset names the task: ``{"task": "bandit"}``; where the task is a mixture
    itself, ``{"task": "inner/bandit"}``. What tasks record beside their observations is not recorded,
    and goals cannot be relabelled: a mixture has neither ``recorded_space`` nor ``with_goals``.

    The drawn task and its seed both follow from the seed of ``reset``.

    Args:
        tasks: At least one, with different names.
        show_task: Whether the observation says which task is being played.

    Attributes:
        horizon: Most steps of the longest task; None where one task declares none.

    Raises:
        UnsupportedSpaceError: If the actions of the tasks cannot be made one, or an observation has a
            space without a value that could stand for its absence.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, tasks: Sequence[MixedTask], show_task: bool = True) -> None:
        self.tasks, self.show_task = tuple(tasks), show_task
        self.horizon = _longest(self.tasks)
        self.render_mode = self.tasks[0].env.render_mode
        self.action_space = _common_actions(self.tasks)
        self._masked = _needs_mask(self.tasks)
        seen: dict[str, Space] = {task.name: task.env.observation_space for task in self.tasks}
        for name, space in seen.items():
            _absent(name, space)  # Raises here, not at the first step, if there is no such value.
        if show_task:
            seen[TASK_KEY] = spaces.Discrete(len(self.tasks))
        if self._masked:
            seen[MASK_KEY] = spaces.MultiBinary(_size(self.action_space))
        self.observation_space = spaces.Dict(seen)
        weights = np.array([task.weight for task in self.tasks], float)
        weights /= weights.max()  # So that their sum is finite.
        self._probabilities = weights / weights.sum()
        self._index = 0

    @property
    def present(self) -> MixedTask:
        """The task that is being played."""
        return self.tasks[self._index]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw a task and begin it; ``options`` are passed on to it."""
        super().reset(seed=seed)
        self._index = int(self.np_random.choice(len(self.tasks), p=self._probabilities))
        inner_seed = int(self.np_random.integers(2**31))
        obs, info = self.present.env.reset(seed=inner_seed, options=options)
        inner = info.get(TASK_KEY)
        name = f"{self.present.name}/{inner}" if isinstance(inner, str) else self.present.name
        return self._observe(obs), {**info, TASK_KEY: name}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take one step of the present task.

        Raises:
            ValueError: If the present task has no such action.
        """
        obs, reward, terminated, truncated, info = self.present.env.step(self._inner(action))
        scaled = float(reward) * self.present.reward_scale
        return self._observe(obs), scaled, terminated, truncated, info

    def render(self) -> Any:
        """Return what the present task draws."""
        return self.present.env.render()

    def close(self) -> None:
        """Close all tasks."""
        for task in self.tasks:
            task.env.close()

    def _inner(self, action: Any) -> Any:
        """Return an action in the present task's own numbering."""
        space = self.present.env.action_space
        if not isinstance(space, spaces.Discrete):
            return action
        if not 0 <= action < space.n:
            raise ValueError(
                f"action {action} was taken in the task {self.present.name}, whose actions are 0 to "
                f"{space.n - 1}; the observation '{MASK_KEY}' says which there are"
            )
        return space.start + action

    def _observe(self, obs: Any) -> dict[str, Any]:
        # Absent observations are created at every step: a caller may keep one and write to it.
        seen = {
            task.name: obs if task is self.present else _absent(task.name, task.env.observation_space)
            for task in self.tasks
        }
        if self.show_task:
            seen[TASK_KEY] = np.int64(self._index)
        if self._masked:
            seen[MASK_KEY] = self._mask(obs)
        return seen

    def _mask(self, obs: Any) -> NDArray[np.int8]:
        mask_A = np.zeros(_size(self.action_space), np.int8)
        own = obs[MASK_KEY] if _shows_mask(self.present) else 1
        mask_A[: _size(self.present.env.action_space)] = np.ravel(own) != 0
        return mask_A


@dataclass(frozen=True)
class MixturePart:
    """The part ``use: mixture``.

    Tasks go by the names of their parts; from the second of a name on they are counted: ``bandit-2``.

    Args:
        context: Supplied by the composer, and passed to the tasks.
        options: The tasks, and how they are mixed.
    """

    context: EnvironmentContext
    options: MixtureOptions

    def make(self) -> Mixture:
        """Return a fresh mixture of fresh environments.

        Raises:
            AmagoError: If a task cannot be made, or does not go together with the others.
        """
        parts = self.options.tasks
        names = _distinct([part.use.rpartition("/")[-1] for part in parts])
        ones = (1.0,) * len(parts)
        rows = zip(
            names,
            [part.build(self.context).make() for part in parts],
            self.options.weights or ones,
            self.options.reward_scales or ones,
            strict=True,
        )
        return Mixture([MixedTask(*row) for row in rows], self.options.show_task)


def _distinct(names: Sequence[str]) -> list[str]:
    """Return distinct names: those already taken, or reserved, get a number appended."""
    taken = [TASK_KEY, MASK_KEY]
    for name in names:
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}-{number}"
        taken.append(free)
    return taken[2:]


def _longest(tasks: Sequence[MixedTask]) -> int | None:
    horizons = [_step_budget(task.env) for task in tasks]
    known = [horizon for horizon in horizons if horizon is not None]
    return max(known) if len(known) == len(horizons) else None


def _step_budget(env: gymnasium.Env[Any, Any]) -> int | None:
    horizon = getattr(env.unwrapped, "horizon", None)
    if isinstance(horizon, int):
        return horizon
    return env.spec.max_episode_steps if env.spec is not None else None


def _common_actions(tasks: Sequence[MixedTask]) -> Space:
    given = [task.env.action_space for task in tasks]
    if all(isinstance(space, spaces.Discrete) for space in given):
        return spaces.Discrete(max(_size(space) for space in given))
    if isinstance(given[0], spaces.Box) and all(space == given[0] for space in given):
        return given[0]
    listed = ", ".join(f"{task.name} {task.env.action_space}" for task in tasks)
    raise UnsupportedSpaceError(
        "a mixture takes tasks that all have Discrete actions, or all the same Box; these have: "
        f"{listed}. Leave out those that do not go together."
    )


def _needs_mask(tasks: Sequence[MixedTask]) -> bool:
    given = [task.env.action_space for task in tasks]
    if not isinstance(given[0], spaces.Discrete):
        return False
    return len({_size(space) for space in given}) > 1 or any(_shows_mask(task) for task in tasks)


def _shows_mask(task: MixedTask) -> bool:
    seen = task.env.observation_space
    return isinstance(seen, spaces.Dict) and MASK_KEY in seen.spaces


def _size(space: Space) -> int:
    assert isinstance(space, spaces.Discrete)
    return int(space.n)


def _absent(name: str, space: Space) -> Any:
    """Return the placeholder observation of a task that is not being played."""
    match space:
        case spaces.Dict():
            return {key: _absent(name, member) for key, member in space.spaces.items()}
        case spaces.Tuple():
            return tuple(_absent(name, member) for member in space.spaces)
        case spaces.Box():
            return np.asarray(np.clip(np.zeros_like(space.low), space.low, space.high))
        case spaces.MultiBinary():
            return np.zeros(space.shape, space.dtype)
        case spaces.Discrete() | spaces.MultiDiscrete():
            return np.asarray(space.start, space.dtype)[()]
    raise UnsupportedSpaceError(
        f"a mixture takes observations of Box, Discrete, MultiBinary and MultiDiscrete, also in a Dict "
        f"or Tuple; the task {name} shows {space}."
    )
