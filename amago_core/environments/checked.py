"""A wrapper that checks one environment against the spaces it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from amago_core.environments.environment_errors import (
    MAX_FLOAT32,
    EnvironmentFault,
    close_quietly,
    to_float,
)
from amago_registry.errors import AmagoError
from amago_registry.recordings import recorded_fault, recorded_space_of
from amago_registry.spaces import BARE_KEY, canonical_observation, flat_observation

MakeEnvironment = Callable[[], gymnasium.Env[Any, Any]]


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Checks observations, rewards, termination flags and infos.

    Errors name the environment, the step and the field.

    Values of exactly the declared type and shape pass after a few comparisons; others are checked and
    converted.

    Args:
        env: Any environment.
        name: Name of the environment, for errors.

    Attributes:
        recorded_space: Arrays that its infos hold beside the observations; empty if it declares none.
        recorded: The last info, which holds the values of ``recorded_space``.

    Raises:
        EnvironmentFault: If ``recorded_space`` is not a space of arrays, or has a reserved key.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self.name, self.steps = name, 0
        self.recorded_space = _recorded_space(env, name)
        self.recorded: Mapping[str, Any] = {}
        self._recorded_leaves = [
            (key, leaf.dtype, leaf.shape) for key, leaf in self.recorded_space.items()
        ]
        self._obs_space = env.observation_space
        self._spaces = dict(canonical_observation(self._obs_space).items())
        self._leaves = [(key, space.dtype, space.shape) for key, space in self._spaces.items()]
        self._single_leaf = self._leaves[0][1:] if list(self._spaces) == [BARE_KEY] else (None, None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a task."""
        self.steps = 0
        try:
            obs, info = self.env.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:
            raise self._fault(f"reset raised {type(error).__name__}: {error}") from error
        self.canonical_obs(obs)
        self._require_mapping(info)
        if self._recorded_leaves:
            self.recorded = self._checked_records(info)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; of the info only ``success`` is kept."""
        obs, reward, terminated, truncated, success = self.take(action)
        self.canonical_obs(obs)
        return obs, reward, terminated, truncated, {} if success != success else {"success": success}

    def take(self, action: Any) -> tuple[Any, float, bool, bool, float]:
        """Take one step; return ``info["success"]`` in place of the info, NaN if absent.

        The observation is not checked yet: :meth:`canonical_obs` does. Recorded values are in
        ``recorded``.
        """
        self.steps += 1
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
        except (Exception, SystemExit) as error:
            raise self._fault(f"step raised {type(error).__name__}: {error}") from error
        if type(reward) is not float:
            reward = self._number("the reward", reward)
        if type(terminated) is not bool:
            terminated = self._flag("terminated", terminated)
        if type(truncated) is not bool:
            truncated = self._flag("truncated", truncated)
        if type(info) is not dict:
            self._require_mapping(info)
        if self._recorded_leaves:
            self.recorded = self._checked_records(info)
        # The recorded values and the success are all that the engine reads of the info.
        success = self._success(info["success"]) if "success" in info else nan
        return obs, reward, terminated, truncated, success

    def close(self) -> None:
        """Close the environment; an error is logged, not raised."""
        close_quietly(self.name, self.env.close)

    def canonical_obs(self, obs: Any) -> Mapping[str, Any]:
        """Return an observation by the keys of the canonical space.

        Raises:
            EnvironmentFault: If the space does not contain it.
        """
        if type(obs) is np.ndarray:
            dtype, shape = self._single_leaf
            if obs.dtype is dtype and obs.shape == shape:
                return {BARE_KEY: obs}
        elif type(obs) is dict and len(obs) == len(self._leaves) and self._is_exact(obs):
            return obs
        return self._converted_obs(obs)

    def _is_exact(self, obs: Mapping[str, Any]) -> bool:
        for key, dtype, shape in self._leaves:
            value: Any = obs.get(key)
            if getattr(value, "dtype", None) is not dtype or value.shape != shape:
                return False
        return True

    def _converted_obs(self, obs: Any) -> Mapping[str, Any]:
        given = flat_observation(obs, self._obs_space)
        if given.keys() != self._spaces.keys():
            raise self._fault(
                f"the observation has the keys {sorted(given)}, its space {sorted(self._spaces)}"
            )
        for key, space in self._spaces.items():
            self._check_array(f"the observation {key!r}", given[key], space)
        return given

    def _checked_records(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        for key, dtype, shape in self._recorded_leaves:
            value: Any = info.get(key)
            if getattr(value, "dtype", None) is not dtype or value.shape != shape:
                if key not in info:
                    raise self._fault(f"the info has no {key!r}, which recorded_space declares")
                self._check_array(f"info[{key!r}]", value, self.recorded_space[key])
        return info

    def _check_array(self, what: str, given: Any, space: spaces.Space[Any]) -> None:
        """Check that a value can be converted to an array of a space."""
        try:
            values = np.asarray(given)
        except (TypeError, ValueError):
            raise self._fault(f"{what} is not an array: {given!r}") from None
        if values.shape != space.shape:
            raise self._fault(f"{what} has shape {values.shape}, its space {space.shape}")
        if values.dtype != space.dtype and not np.can_cast(
            values.dtype, cast(Any, space.dtype), "same_kind"
        ):
            raise self._fault(f"{what} is of type {values.dtype}, its space of {space.dtype}")

    def _require_mapping(self, info: Any) -> None:
        if not isinstance(info, Mapping):
            raise self._fault(f"the info is {info!r} instead of being a dictionary")

    def _flag(self, what: str, value: Any) -> bool:
        if shape := np.shape(value):
            raise self._fault(f"{what} has shape {shape} instead of being true or false")
        return bool(value)

    def _number(self, what: str, value: Any) -> float:
        try:
            return to_float(value)
        except ValueError as error:
            raise self._fault(f"{what} {error}") from None

    def _success(self, value: Any) -> float:
        success = self._number("info['success']", value)
        if abs(success) > MAX_FLOAT32:  # NaN means no success, and passes.
            raise self._fault(f"info['success'] is {success}, which is too large")
        return success

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(f"environment {self.name}, step {self.steps} of its task: {what}.")


def make_checked(make: MakeEnvironment, name: str, count: int) -> list[CheckedEnv]:
    """Make ``count`` checked environments.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, or two calls return the same one.
    """
    envs: list[CheckedEnv] = []
    try:
        envs.extend(_construct(make, name) for _ in range(count))
        if len({id(env.unwrapped) for env in envs}) < count:
            raise EnvironmentFault(
                f"environment {name}: making it {count} times gave the same object twice; each call "
                "must return a new environment, because they are stepped together."
            )
    except BaseException:
        for env in envs:
            env.close()
        raise
    return envs


def _construct(make: MakeEnvironment, name: str) -> CheckedEnv:
    try:
        return CheckedEnv(make(), name)
    except AmagoError:
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentFault(
            f"environment {name} could not be constructed: {type(error).__name__}: {error}."
        ) from error


def _recorded_space(env: gymnasium.Env[Any, Any], name: str) -> spaces.Dict:
    """Return the recorded space of an environment; empty if it declares none.

    Raises:
        EnvironmentFault: If that space cannot be recorded.
    """
    space = recorded_space_of(env)
    if space is None:
        return spaces.Dict()
    fault = recorded_fault(space)
    if fault is not None:
        raise EnvironmentFault(f"environment {name}: {fault}.")
    found: spaces.Dict = space
    return found


def step_budget(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return the largest number of steps of a trajectory; None if the environment declares none."""
    horizon = getattr(env.unwrapped, "horizon", None)
    if isinstance(horizon, int):
        return horizon
    return env.spec.max_episode_steps if env.spec is not None else None
