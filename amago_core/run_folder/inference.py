"""Inference: load a trained agent and act with it in another program.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from amago_core.acting.agent import Agent
from amago_core.run_folder.load_agent import load_agent
from amago_core.run_folder.run_dir import RunDir
from amago_core.run_folder.spaces_json import read_spaces
from amago_core.run_folder.weights import NEWEST
from amago_registry.actions import action_vector, action_width
from amago_registry.errors import AmagoError
from amago_registry.protocols import State
from amago_registry.spaces import (
    BARE_KEY,
    action_to_environment,
    canonical_action,
    canonical_observation,
    flat_observation,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Observation: TypeAlias = "Mapping[str, Observation] | tuple[Observation, ...] | ArrayLike"
"""Arrays ``(B, ...)``, alone or in dictionaries and tuples."""


def load(run: str | Path, checkpoint: str | int | Path = NEWEST) -> TrainedAgent:
    """Load the trained agent of a run for inference, without its environment and training code.

    Example::

        agent = amago_core.load("runs/t-maze")
        agent.reset(batch=1)
        action = agent.act(observation)                     # (1,) of the environment's actions
        action = agent.act(observation, reward, done)       # from the second step on

    Args:
        run: Folder of the run.
        checkpoint: ``newest``; ``best``, which had the highest mean return of all evaluations; the
            number of a round; or the folder of a checkpoint, of this run or of one with the same agent.
            Where the newest is damaged the one before it is loaded, with a warning.

    Raises:
        AmagoError: If the folder holds no run or no such checkpoint; a plugin is missing, with what to
            install; or the weights do not fit the agent that its ``spec.yaml`` describes.
    """
    folder = RunDir(Path(run))
    return TrainedAgent(load_agent(folder, checkpoint), *read_spaces(folder.spaces))


class TrainedAgent:
    """A trained agent with its acting state (memory) for B environments.

    Args:
        agent: The networks.
        observation_space: The environment's.
        action_space: The environment's.
    """

    def __init__(self, agent: Agent, observation_space: Any, action_space: Any) -> None:
        self.agent = agent
        self._observation_space = observation_space
        self._observed = canonical_observation(observation_space)
        self._action_space, self._canonical = action_space, canonical_action(action_space)
        self.reset(1)

    def reset(self, batch: int = 1) -> None:
        """Reset the memory, and set the number of environments to ``batch``.

        Raises:
            AmagoError: If ``batch`` is not a positive integer.
        """
        if not isinstance(batch, int | np.integer) or batch < 1:
            raise AmagoError(
                f"reset(batch={batch!r}): batch is the number of environments, a positive integer."
            )
        self._state: State = self.agent.initial_state(batch)
        self._time_B = np.zeros(batch, np.int64)
        self._prev_action_BA = torch.zeros(batch, action_width(self._canonical))

    def act(
        self,
        observation: Observation,
        reward: ArrayLike = 0.0,
        done: ArrayLike = False,
        *,
        sample: bool = False,
    ) -> np.ndarray:
        """Choose an action per environment.

        Args:
            observation: Observations ``(B, ...)``, or a dictionary or tuple of them, nested as the
                environment's. Actions that an ``action_mask`` among them forbids are not chosen.
            reward: Rewards ``(B,)`` of the previous actions, or one for all; 0 at a task's start.
            done: ``(B,)`` or one for all, true where a new task begins with this observation.
            sample: Draw from the policy instead of taking its mode.

        Returns:
            Actions ``(B, ...)`` of the environment's action space.

        Raises:
            AmagoError: If keys, shape or type differ from the environment's; the memory is then
                unchanged.
        """
        obs = self._checked(observation)
        done_B = self._per_environment("done", done, np.dtype(bool))
        reward_B = self._per_environment("reward", reward, np.dtype(np.float32))
        if done_B.any():
            self._reset_done(done_B)
            reward_B[done_B] = 0.0
        action, self._state = self.agent.act(
            {key: torch.from_numpy(values) for key, values in obs.items()},
            self._prev_action_BA,
            torch.from_numpy(reward_B),
            torch.from_numpy(self._time_B),
            self._state,
            sample=sample,
        )
        self._prev_action_BA = action_vector(action, self._canonical)
        self._time_B += 1
        return action_to_environment(action.numpy(), self._action_space)

    def _reset_done(self, done_B: np.ndarray) -> None:
        fresh_B = torch.from_numpy(done_B)
        self._time_B[done_B] = 0
        self._prev_action_BA = self._prev_action_BA.masked_fill(fresh_B[:, None], 0)
        self._state = self.agent.reset(self._state, fresh_B)

    def _checked(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return observations ``(B, ...)`` by key, in the dtypes that the agent was trained on."""
        named = flat_observation(observation, self._observation_space)
        if named.keys() != self._observed.keys():
            bare = named.keys() == {BARE_KEY} and not isinstance(observation, Mapping)
            given = "no keys" if bare else _listed(named)
            raise AmagoError(
                f"the observation has {given}, this agent was trained on {_listed(self._observed)}."
            )
        return {
            key: self._observation(key, named[key], space.shape or (), space.dtype)
            for key, space in self._observed.items()
        }

    def _observation(
        self, key: str, values: ArrayLike, shape: tuple[int, ...], dtype: Any
    ) -> np.ndarray:
        name = f"observation {key!r}"
        array = _numbers(name, values, np.dtype(np.float32) if dtype == np.float64 else dtype)
        if array.shape == (len(self._time_B), *shape):
            return array
        hint = self._hint(array) if array.shape[1:] == shape else ""
        raise AmagoError(
            f"{name} has shape {array.shape}, expected {(len(self._time_B), *shape)}: "
            f"B environments first.{hint}"
        )

    def _per_environment(self, name: str, values: ArrayLike, dtype: np.dtype[Any]) -> np.ndarray:
        """Return values given per environment, or once for all, as a new array ``(B,)``."""
        array = _numbers(name, values, dtype)
        shape = self._time_B.shape
        if array.shape in (shape, ()):
            return np.full(shape, array)
        hint = self._hint(array) if array.ndim == 1 else ""
        raise AmagoError(
            f"{name} has shape {array.shape}, expected {shape}: one per environment.{hint}"
        )

    def _hint(self, array: np.ndarray) -> str:
        return f" To act in {len(array)} environments, call reset(batch={len(array)}) first."


def _numbers(name: str, values: ArrayLike, dtype: np.dtype[Any]) -> np.ndarray:
    """Return values as an array of that dtype; raise where the conversion would change them."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise AmagoError(f"{name} is not an array: its rows have different lengths.") from error
    is_integer = array.dtype.kind in "biu"
    if is_integer or (array.dtype.kind == dtype.kind == "f"):
        # Not "safe" casting: lists of Python integers are int64, and images are uint8.
        with np.errstate(over="ignore"):
            converted = np.array(array, dtype, order="C")
        if dtype.kind == "f" and not np.isfinite(converted).all():
            # It would stay in the memory and corrupt all later actions.
            raise AmagoError(f"{name} is not finite: {np.array2string(converted, threshold=8)}.")
        if dtype.kind == "f" or np.array_equal(converted, array):
            return converted
    raise AmagoError(f"{name} is of type {array.dtype} and cannot become {dtype} without loss.")


def _listed(named: Mapping[str, Any]) -> str:
    keys = ", ".join(repr(key) for key in sorted(named, key=str))
    return f"the keys {keys}" if len(named) != 1 else f"the key {keys}"
