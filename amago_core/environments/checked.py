"""One environment, held to what it declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import gymnasium
import numpy as np

from amago_core.environments.faults import EnvironmentFault
from amago_registry.errors import AmagoError
from amago_registry.spaces import canonical_observation, flat_observation

MakeEnvironment = Callable[[], gymnasium.Env[Any, Any]]


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Names the environment, the step and the field when an environment misbehaves.

    Args:
        env: Any environment.
        name: What users call it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self.name, self.steps = name, 0
        self._seen = env.observation_space
        self._spaces = dict(canonical_observation(self._seen).items())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a task."""
        self.steps = 0
        try:
            obs, info = self.env.reset(seed=seed, options=options)
        except Exception as error:
            raise self._fault(f"reset raised {type(error).__name__}: {error}") from error
        self._check(obs)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step."""
        self.steps += 1
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
        except Exception as error:
            raise self._fault(f"step raised {type(error).__name__}: {error}") from error
        self._check(obs)
        # The engine reads nothing else of the info; gymnasium would batch every key of it.
        outcome = {"success": float(info["success"])} if "success" in info else {}
        return obs, self._number(reward), bool(terminated), bool(truncated), outcome

    def _number(self, reward: Any) -> float:
        if shape := np.shape(reward):
            raise self._fault(f"the reward has shape {shape} instead of being one number")
        try:
            return float(reward)
        except (TypeError, ValueError):
            raise self._fault(f"the reward is {reward!r} instead of being one number") from None

    def _check(self, obs: Any) -> None:
        given = flat_observation(obs, self._seen)
        if given.keys() != self._spaces.keys():
            raise self._fault(
                f"the observation has the keys {sorted(given)}, its space {sorted(self._spaces)}"
            )
        for key, space in self._spaces.items():
            values = np.asarray(given[key])
            if values.shape != space.shape:
                raise self._fault(
                    f"the observation {key!r} has shape {values.shape}, its space {space.shape}"
                )
            if values.dtype != space.dtype and not np.can_cast(
                values.dtype, cast(Any, space.dtype), "same_kind"
            ):
                raise self._fault(
                    f"the observation {key!r} is of type {values.dtype}, its space of {space.dtype}"
                )

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(f"environment {self.name}, step {self.steps} of its task: {what}.")


def make_checked(make: MakeEnvironment, name: str, count: int) -> list[CheckedEnv]:
    """Return ``count`` checked environments.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, or two are one.
    """
    envs = [_construct(make, name) for _ in range(count)]
    if len({id(env.unwrapped) for env in envs}) < count:
        raise EnvironmentFault(
            f"environment {name}: making it {count} times gave the same object twice; each call must "
            "return a new environment, for they are stepped side by side."
        )
    return envs


def _construct(make: MakeEnvironment, name: str) -> CheckedEnv:
    try:
        return CheckedEnv(make(), name)
    except AmagoError:
        raise
    except Exception as error:
        raise EnvironmentFault(
            f"environment {name} could not be constructed: {type(error).__name__}: {error}."
        ) from error


def step_budget(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return the most steps a trajectory lasts, where the environment says so."""
    horizon = getattr(env.unwrapped, "horizon", None)
    if isinstance(horizon, int):
        return horizon
    return env.spec.max_episode_steps if env.spec is not None else None
