"""Rollouts for laws of environments; exceptions of the environment become AssertionErrors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces

from amago_registry.actions import choices
from amago_registry.component import Component
from amago_registry.contexts import EnvironmentContext
from amago_registry.errors import reason
from amago_registry.protocols import Environment
from amago_registry.recordings import recorded_space_of
from amago_registry.testing.arrays import frozen, global_randomness, make_part
from amago_registry.testing.building import require, require_protocol
from amago_registry.testing.spaces import MASK_KEY, Space

Env: TypeAlias = gymnasium.Env[Any, Any]
Policy: TypeAlias = Callable[[Any], Any]
"""A function from observation to action."""

STEPS = 100
"""Most steps of a rollout by default."""

MANY = 64
"""Most actions of a ``Discrete`` space for each of which a rollout is made."""


@dataclass(frozen=True)
class Moment:
    """The return values of one step; the first of a trajectory are those of the reset.

    ``keys`` are the keys of ``recorded_space``.
    """

    obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: Any
    keys: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether the trajectory has ended."""
        return bool(self.terminated or self.truncated)

    @property
    def attempt_info(self) -> dict[str, Any]:
        """The keys ``attempt`` and ``success`` of the info, which end an attempt."""
        info = self.info if isinstance(self.info, dict) else {}
        return {key: info[key] for key in ("attempt", "success") if key in info}

    @property
    def recorded(self) -> dict[str, Any]:
        """The recorded keys of the info."""
        info = self.info if isinstance(self.info, dict) else {}
        return {key: info[key] for key in self.keys if key in info}

    def value(self) -> Hashable:
        """Return a hashable value of everything that learning and evaluation read."""
        ends = bool(self.terminated), bool(self.truncated)
        return frozen((self.obs, self.reward, *ends, self.attempt_info, self.recorded))


@dataclass(frozen=True)
class Player:
    """An environment with its component, which error messages name.

    Args:
        component: The component.
        env: The environment.
        part: The part that made the environment.
    """

    component: Component
    env: Env
    part: Any = None

    @cached_property
    def recorded_space(self) -> Any:
        """The environment's ``recorded_space``; None if it has none."""
        try:
            return recorded_space_of(self.env)
        except Exception as error:
            raise self._error(f"recorded_space raised {reason(error)}") from error

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        space = self.recorded_space
        return tuple(space.spaces) if isinstance(space, spaces.Dict) else ()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Moment:
        """Reset the environment."""
        kwargs = {} if options is None else {"options": options}
        try:
            returned = self.env.reset(seed=seed, **kwargs)
        except Exception as error:
            raise self._error(f"reset raised {reason(error)}") from error
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise self._error(f"reset returned {returned!r} instead of (observation, info)")
        return Moment(returned[0], 0.0, False, False, returned[1], self._keys)

    def step(self, action: Any) -> Moment:
        """Take one step."""
        try:
            returned = self.env.step(action)
        except Exception as error:
            raise self._error(f"step({action!r}) raised {reason(error)}") from error
        if not isinstance(returned, tuple) or len(returned) != 5:
            wanted = "(observation, reward, terminated, truncated, info)"
            raise self._error(f"step returned {returned!r} instead of {wanted}")
        return Moment(*returned, self._keys)

    def close(self) -> None:
        """Close the environment."""
        try:
            self.env.close()
        except Exception as error:
            raise self._error(f"close raised {reason(error)}") from error

    def _error(self, what: str) -> AssertionError:
        # Not require: formatting its sentence at every step would take longer than many steps.
        return AssertionError(f"{self.component.name}: {what}.")

    def moments(
        self, seed: int | None, policy: Policy | None = None, steps: int = STEPS
    ) -> Iterator[Moment]:
        """Yield the moments of a rollout, until it ends or reaches a number of steps.

        Args:
            seed: Seed of the reset.
            policy: From observation to action; by default random with a fixed seed.
            steps: Most steps.
        """
        policy = policy or at_random(self.env.action_space)
        moment = self.reset(seed)
        yield moment
        for _ in range(steps):
            if moment.over:
                return
            moment = self.step(policy(moment.obs))
            yield moment

    def play(
        self, seed: int | None, policy: Policy | None = None, steps: int = STEPS
    ) -> list[Hashable]:
        """Return the hashable values of a rollout, with global random generators seeded equally."""
        with global_randomness(0):
            return [moment.value() for moment in self.moments(seed, policy, steps)]


@contextmanager
def players(component: Component, count: int = 1) -> Iterator[list[Player]]:
    """Build the part and make environments; close them at the end.

    Raises:
        AssertionError: If the part is not an ``Environment``, or makes no gymnasium environments.
    """
    part = make_part(component, EnvironmentContext())
    require_protocol(part, Environment, component)
    made: list[Env] = [part.make() for _ in range(count)]
    for env in made:
        sentence = f"make() returned {type(env).__name__}, not a gymnasium.Env."
        require(isinstance(env, gymnasium.Env), component, sentence)
    made_players = [Player(component, env, part) for env in made]
    try:
        yield made_players
    finally:
        for player in made_players:
            with suppress(AssertionError):  # Another law tests close().
                player.close()


def at_random(space: Space, seed: int = 0) -> Policy:
    """Return a policy of random actions with its own seed; masked actions are never taken."""
    own = deepcopy(space)
    own.seed(seed)
    return lambda obs: allowed(own.sample(), space, obs)


def in_turn(space: Space, actions: list[Any]) -> Policy:
    """Return a policy that cycles through actions; a masked one is replaced by the next allowed."""
    taken = -1

    def policy(obs: Any) -> Any:
        nonlocal taken
        taken += 1
        return allowed(deepcopy(actions[taken % len(actions)]), space, obs)

    return policy


def corners(space: Space) -> list[Any]:
    """Return the extreme actions of a space; all actions of a small ``Discrete``."""
    match space:
        case spaces.Discrete():
            count = int(space.n)
            tried = range(count) if count <= MANY else (0, count - 1)
            return [space.dtype.type(space.start + index) for index in tried]
        case spaces.MultiDiscrete():
            ends = (space.start, space.start + space.nvec - 1)
            return [np.asarray(end, space.dtype) for end in ends]
        case spaces.MultiBinary():
            return [np.full(space.shape, bit, space.dtype) for bit in (0, 1)]
        case spaces.Box() if space.is_bounded():
            odd = np.arange(space.low.size).reshape(space.shape) % 2 == 1
            mixed = np.where(odd, space.low, space.high).astype(space.dtype)
            return [space.low.copy(), space.high.copy(), mixed]
    return [space.sample()]


def allowed(action: Any, space: Space, obs: Any) -> Any:
    """Return the action, with each masked factor replaced by the next allowed one."""
    factors = choices(space)
    mask = obs.get(MASK_KEY) if isinstance(obs, Mapping) else None
    if mask is None or not factors or np.size(mask) != sum(factors):
        return action
    start: Any = getattr(space, "start", 0)
    index = np.ravel(np.asarray(action) - start)
    for axis, may in enumerate(np.split(np.ravel(mask) != 0, np.cumsum(factors)[:-1])):
        while may.any() and not may[index[axis]]:
            index[axis] = (index[axis] + 1) % len(may)
    return np.asarray(index.reshape(space.shape) + start, space.dtype)[()]


def step_budget(env: Env) -> int | None:
    """Return the most steps of a trajectory; None if the environment does not declare it."""
    horizon = getattr(env.unwrapped, "horizon", None)
    if isinstance(horizon, int):
        return horizon
    return env.spec.max_episode_steps if env.spec is not None else None
