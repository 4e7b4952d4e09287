"""Playing an environment the way a collector does, for laws: what it raises is a broken law."""

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
"""Observation to action."""

STEPS = 100
"""Most steps of a trajectory that a law looks at, unless it says otherwise."""

MANY = 64
"""Most actions of a ``Discrete`` space that are tried one by one."""


@dataclass(frozen=True)
class Moment:
    """What an environment returned at one timestep; the first of a trajectory is that of the reset.

    ``keys`` are those of the info that are recorded.
    """

    obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: Any
    keys: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether the trajectory ends here."""
        return bool(self.terminated or self.truncated)

    @property
    def outcome(self) -> dict[str, Any]:
        """What the info says of an attempt that ended."""
        info = self.info if isinstance(self.info, dict) else {}
        return {key: info[key] for key in ("attempt", "success") if key in info}

    @property
    def recorded(self) -> dict[str, Any]:
        """What the info has of all that is recorded."""
        info = self.info if isinstance(self.info, dict) else {}
        return {key: info[key] for key in self.keys if key in info}

    def value(self) -> Hashable:
        """Return by value all that learning and evaluation read."""
        ends = bool(self.terminated), bool(self.truncated)
        return frozen((self.obs, self.reward, *ends, self.outcome, self.recorded))


@dataclass(frozen=True)
class Player:
    """An environment, and the component to blame.

    Args:
        component: The part.
        env: What it made.
        part: The part, built.
    """

    component: Component
    env: Env
    part: Any = None

    @cached_property
    def recorded_space(self) -> Any:
        """What the environment says that it records; None where it does not."""
        try:
            return recorded_space_of(self.env)
        except Exception as error:
            raise self._fault(f"recorded_space raised {reason(error)}") from error

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        space = self.recorded_space
        return tuple(space.spaces) if isinstance(space, spaces.Dict) else ()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Moment:
        """Begin a trajectory."""
        words = {} if options is None else {"options": options}
        try:
            returned = self.env.reset(seed=seed, **words)
        except Exception as error:
            raise self._fault(f"reset raised {reason(error)}") from error
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise self._fault(f"reset returned {returned!r} instead of (observation, info)")
        return Moment(returned[0], 0.0, False, False, returned[1], self._keys)

    def step(self, action: Any) -> Moment:
        """Take one step."""
        try:
            returned = self.env.step(action)
        except Exception as error:
            raise self._fault(f"step({action!r}) raised {reason(error)}") from error
        if not isinstance(returned, tuple) or len(returned) != 5:
            wanted = "(observation, reward, terminated, truncated, info)"
            raise self._fault(f"step returned {returned!r} instead of {wanted}")
        return Moment(*returned, self._keys)

    def close(self) -> None:
        """Close the environment."""
        try:
            self.env.close()
        except Exception as error:
            raise self._fault(f"close raised {reason(error)}") from error

    def _fault(self, what: str) -> AssertionError:
        # Not require: its sentence would be written at every step, which takes longer than many a step.
        return AssertionError(f"{self.component.name}: {what}.")

    def moments(
        self, seed: int | None, policy: Policy | None = None, steps: int = STEPS
    ) -> Iterator[Moment]:
        """Yield the moments of a trajectory, until it is over or has had so many steps.

        Args:
            seed: What to reset with.
            policy: Observation to action; by default at random, always the same.
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
        """Return a trajectory by value, played in a world where global generators begin alike."""
        with global_randomness(0):
            return [moment.value() for moment in self.moments(seed, policy, steps)]


@contextmanager
def players(component: Component, count: int = 1) -> Iterator[list[Player]]:
    """Build the part, make environments, and close them in the end.

    Raises:
        AssertionError: If the part is no ``Environment``, or does not make new environments.
    """
    part = make_part(component, EnvironmentContext())
    require_protocol(part, Environment, component)
    made: list[Env] = [part.make() for _ in range(count)]
    for env in made:
        sentence = f"make() returned {type(env).__name__}, no gymnasium.Env."
        require(isinstance(env, gymnasium.Env), component, sentence)
    made_players = [Player(component, env, part) for env in made]
    try:
        yield made_players
    finally:
        for player in made_players:
            with suppress(AssertionError):  # One law asks whether it can be closed.
                player.close()


def at_random(space: Space, seed: int = 0) -> Policy:
    """Return a policy that draws from a space, by a generator of its own, what a mask allows."""
    own = deepcopy(space)
    own.seed(seed)
    return lambda obs: allowed(own.sample(), space, obs)


def in_turn(space: Space, actions: list[Any]) -> Policy:
    """Return a policy that takes some actions again and again, or the next that a mask allows."""
    taken = -1

    def policy(obs: Any) -> Any:
        nonlocal taken
        taken += 1
        return allowed(deepcopy(actions[taken % len(actions)]), space, obs)

    return policy


def corners(space: Space) -> list[Any]:
    """Return the extreme actions of a space; of a small ``Discrete`` all."""
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
    """Return the action, each factor moved on to the next that is allowed, where there is a mask."""
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
    """Return the most steps a trajectory lasts, where the environment says so."""
    horizon = getattr(env.unwrapped, "horizon", None)
    if isinstance(horizon, int):
        return horizon
    return env.spec.max_episode_steps if env.spec is not None else None
