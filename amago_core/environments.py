"""Environments side by side, held to what they declare.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from amago_core.spaces import canonical_observation, flat_observation
from amago_registry.errors import AmagoError

MakeEnvironment = Callable[[], gymnasium.Env[Any, Any]]


class EnvironmentFault(AmagoError):
    """An environment that cannot be made, raises, or returns what it did not declare."""


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


def make_environments(make: MakeEnvironment, name: str, count: int) -> SyncVectorEnv:
    """Return ``count`` checked environments that are stepped together and reset by mask.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, or two are one.
    """

    def checked() -> gymnasium.Env[Any, Any]:
        try:
            return CheckedEnv(make(), name)
        except AmagoError:
            raise
        except Exception as error:
            raise EnvironmentFault(
                f"environment {name} could not be constructed: {type(error).__name__}: {error}."
            ) from error

    vector = SyncVectorEnv([checked] * count, copy=False, autoreset_mode=AutoresetMode.DISABLED)
    if len({id(env.unwrapped) for env in vector.envs}) < count:
        raise EnvironmentFault(
            f"environment {name}: making it {count} times gave the same object twice; each call must "
            "return a new environment, for they are stepped side by side."
        )
    return vector


def check_finite(name: str, step_B: np.ndarray, **fields: np.ndarray) -> None:
    """Refuse NaN and infinity in what environments returned.

    Args:
        name: What users call the environment.
        step_B: Steps since each environment's task began.
        fields: Arrays ``(B, ...)`` by the name of the field.

    Raises:
        EnvironmentFault: Naming the first field, environment and step.
    """
    for field, values in fields.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            finite_B = np.isfinite(values).reshape(len(values), -1).all(1)
            worst = int(np.flatnonzero(~finite_B)[0])
            raise EnvironmentFault(
                f"environment {name}, step {int(step_B[worst])} of its task: {field} is not finite: "
                f"{np.array2string(values[worst], threshold=8)}."
            )


def step_budget(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return the most steps a trajectory lasts, where the environment says so."""
    horizon = getattr(env.unwrapped, "horizon", None)
    if isinstance(horizon, int):
        return horizon
    return env.spec.max_episode_steps if env.spec is not None else None
