"""One environment, held to what it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from amago_core.environments.errors import LARGEST, EnvironmentFault, close_quietly, one_number
from amago_registry.errors import AmagoError
from amago_registry.recordings import recorded_fault, recorded_space_of
from amago_registry.spaces import BARE_KEY, canonical_observation, flat_observation

MakeEnvironment = Callable[[], gymnasium.Env[Any, Any]]


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Names the environment, the step and the field when an environment misbehaves.

    What is exactly as declared passes by a few comparisons; anything else is looked at closely.

    Args:
        env: Any environment.
        name: What users call it.

    Attributes:
        recorded_space: What it records beside its observations; without a key where it says nothing.
        recorded: What it put into its last info of that space.

    Raises:
        EnvironmentFault: If that space is none of arrays, or a key of it means something else.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self.name, self.steps = name, 0
        self.recorded_space = _recorded_space(env, name)
        self.recorded: Mapping[str, Any] = {}
        self._kept = [(key, leaf.dtype, leaf.shape) for key, leaf in self.recorded_space.items()]
        self._seen = env.observation_space
        self._spaces = dict(canonical_observation(self._seen).items())
        self._leaves = [(key, space.dtype, space.shape) for key, space in self._spaces.items()]
        self._bare = self._leaves[0][1:] if list(self._spaces) == [BARE_KEY] else (None, None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a task."""
        self.steps = 0
        try:
            obs, info = self.env.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:
            raise self._fault(f"reset raised {type(error).__name__}: {error}") from error
        self.named(obs)
        self._require_mapping(info)
        if self._kept:
            self.recorded = self._recorded_of(info)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; of the info only ``success`` is kept."""
        obs, reward, terminated, truncated, success = self.take(action)
        self.named(obs)
        return obs, reward, terminated, truncated, {} if success != success else {"success": success}

    def take(self, action: Any) -> tuple[Any, float, bool, bool, float]:
        """Take one step; return ``success`` in place of the info, NaN where it holds none.

        The observation is for :meth:`named` to check; what the info records is ``recorded``.
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
        if self._kept:
            self.recorded = self._recorded_of(info)
        # What it records and its success are all that the engine reads of the info.
        success = self._success(info["success"]) if "success" in info else nan
        return obs, reward, terminated, truncated, success

    def close(self) -> None:
        """Close it; it raises nothing."""
        close_quietly(self.name, self.env.close)

    def named(self, obs: Any) -> Mapping[str, Any]:
        """Return an observation by the keys of the canonical space.

        Raises:
            EnvironmentFault: If it is not what the space says.
        """
        if type(obs) is np.ndarray:
            dtype, shape = self._bare
            if obs.dtype is dtype and obs.shape == shape:
                return {BARE_KEY: obs}
        elif type(obs) is dict and len(obs) == len(self._leaves) and self._is_exact(obs):
            return obs
        return self._looked_at(obs)

    def _is_exact(self, obs: Mapping[str, Any]) -> bool:
        for key, dtype, shape in self._leaves:
            value: Any = obs.get(key)
            if getattr(value, "dtype", None) is not dtype or value.shape != shape:
                return False
        return True

    def _looked_at(self, obs: Any) -> Mapping[str, Any]:
        given = flat_observation(obs, self._seen)
        if given.keys() != self._spaces.keys():
            raise self._fault(
                f"the observation has the keys {sorted(given)}, its space {sorted(self._spaces)}"
            )
        for key, space in self._spaces.items():
            self._check_array(f"the observation {key!r}", given[key], space)
        return given

    def _recorded_of(self, info: Mapping[str, Any]) -> Mapping[str, Any]:
        for key, dtype, shape in self._kept:
            value: Any = info.get(key)
            if getattr(value, "dtype", None) is not dtype or value.shape != shape:
                if key not in info:
                    raise self._fault(f"the info has no {key!r}, which recorded_space says it has")
                self._check_array(f"info[{key!r}]", value, self.recorded_space[key])
        return info

    def _check_array(self, what: str, given: Any, space: spaces.Space[Any]) -> None:
        """Refuse what cannot become an array of a space."""
        try:
            values = np.asarray(given)
        except (TypeError, ValueError):
            raise self._fault(f"{what} is no array: {given!r}") from None
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
            return one_number(value)
        except ValueError as error:
            raise self._fault(f"{what} {error}") from None

    def _success(self, value: Any) -> float:
        success = self._number("info['success']", value)
        if abs(success) > LARGEST:  # NaN says that there is none.
            raise self._fault(f"info['success'] is {success}, which is too large")
        return success

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(f"environment {self.name}, step {self.steps} of its task: {what}.")


def make_checked(make: MakeEnvironment, name: str, count: int) -> list[CheckedEnv]:
    """Return ``count`` checked environments.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, or two are one.
    """
    envs: list[CheckedEnv] = []
    try:
        envs.extend(_construct(make, name) for _ in range(count))
        if len({id(env.unwrapped) for env in envs}) < count:
            raise EnvironmentFault(
                f"environment {name}: making it {count} times gave the same object twice; each call "
                "must return a new environment, for they are stepped side by side."
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
    """Return what an environment records; an empty space where it does not say.

    Raises:
        EnvironmentFault: If that cannot be recorded.
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
    """Return the most steps a trajectory lasts, where the environment says so."""
    horizon = getattr(env.unwrapped, "horizon", None)
    if isinstance(horizon, int):
        return horizon
    return env.spec.max_episode_steps if env.spec is not None else None
