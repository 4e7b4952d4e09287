"""Environments registered with gymnasium, made by their id."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn, SupportsFloat

import gymnasium
from gymnasium.vector import VectorEnv, VectorWrapper

from amago_registry.contexts import EnvironmentContext
from amago_standard.environments.errors import EnvironmentMakeError, UnknownEnvironmentError
from amago_standard.environments.options import GymnasiumOptions


class TimeLimitTerminates(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrapper that reports ``truncated`` as ``terminated``: the time limit is part of the task."""

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step; an end of any kind is a termination."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated or truncated, False, info


class TimeLimitsTerminate(VectorWrapper):
    """:class:`TimeLimitTerminates` for many environments at once."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step; an end of any kind is a termination."""
        obs, reward, terminated, truncated, infos = self.env.step(actions)
        return obs, reward, terminated | truncated, truncated & False, infos


@dataclass(frozen=True)
class RegisteredEnvironment:
    """The part ``use: gymnasium``: an environment by its id.

    The step budget is that of the registration, ``env.spec.max_episode_steps``.

    Args:
        context: Supplied by the composer.
        options: The id, keyword arguments, and what a time limit means.
    """

    context: EnvironmentContext
    options: GymnasiumOptions

    def make(self) -> gymnasium.Env[Any, Any]:
        """Return a fresh environment.

        Raises:
            UnknownEnvironmentError: If no installed package registers the id.
            EnvironmentMakeError: If a package it needs is missing, or it cannot be made otherwise.
        """
        kwargs: dict[str, Any] = dict(self.options.kwargs)
        try:
            env = gymnasium.make(self.options.id, disable_env_checker=True, **kwargs)
        # Environments are third-party code and may raise any exception; its text goes to the user.
        except Exception as error:
            self._explain(error)
        return TimeLimitTerminates(env) if self.options.time_limit_terminates else env

    def make_vector(self, count: int) -> VectorEnv[Any, Any, Any]:
        """Return ``count`` environments in the vector form that the package registers for them.

        Raises:
            UnknownEnvironmentError: If no installed package registers the id.
            EnvironmentMakeError: If it has no vector form, or that cannot be made.
        """
        name = self.options.id
        kwargs: dict[str, Any] = dict(self.options.kwargs)
        known = gymnasium.registry.get(name)
        if known is not None and known.vector_entry_point is None:
            raise EnvironmentMakeError(
                f"the gymnasium environment '{name}' has no vector form of its own, which "
                "collector.vectorization=native needs: write collector.vectorization=sync, or async "
                "for slow ones"
            )
        mode = "vector_entry_point"
        try:
            vector = gymnasium.make_vec(name, num_envs=count, vectorization_mode=mode, **kwargs)
        except Exception as error:
            self._explain(error)
        return TimeLimitsTerminate(vector) if self.options.time_limit_terminates else vector

    def _explain(self, error: Exception) -> NoReturn:
        name = self.options.id
        if isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled):
            raise EnvironmentMakeError(
                f"the gymnasium environment '{name}' needs a package that is not installed: {error}"
            ) from error
        if isinstance(error, gymnasium.error.Error) and name not in gymnasium.registry:
            raise UnknownEnvironmentError(_unknown(name)) from error
        given = ", ".join(f"{key}={value!r}" for key, value in self.options.kwargs.items())
        raise EnvironmentMakeError(
            f"the gymnasium environment '{name}' could not be made with "
            f"{given or 'its registered arguments'}: {type(error).__name__}: {error}"
        ) from error


def _unknown(name: str) -> str:
    close = get_close_matches(name, gymnasium.registry, n=2)
    guess = f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
    return (
        f"no installed package registers the gymnasium environment '{name}'.{guess} "
        f"To list all {len(gymnasium.registry)} that are registered, type: "
        'python -c "import gymnasium; gymnasium.pprint_registry()"'
    )
