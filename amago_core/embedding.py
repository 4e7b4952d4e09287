"""A trained agent inside another program.

Shape suffixes: B = environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from amago_core.agent import Agent
from amago_core.checkpoints import CheckpointStore
from amago_core.compose import Task, compose_agent
from amago_core.run_dir import RunDir
from amago_core.spaces import (
    BARE_KEY,
    action_to_environment,
    action_width,
    canonical_action,
    previous_action,
)
from amago_registry.errors import AmagoError
from amago_registry.protocols import State


def load(run: str | Path) -> EmbeddedAgent:
    """Load the agent of a run's newest checkpoint, without its environment.

    Example::

        agent = amago_core.load("runs/t-maze")
        agent.reset(batch=1)
        action = agent.act(observation)                     # (1,) of the environment's actions
        action = agent.act(observation, reward, done)       # from the second step on

    Raises:
        AmagoError: If the folder holds no run or no checkpoint.
    """
    folder = RunDir(Path(run))
    folder.check()
    _, action_space = folder.read_spaces()
    return EmbeddedAgent(load_agent(folder), action_space)


def load_agent(folder: RunDir) -> Agent:
    """Return the agent of a run's newest checkpoint, in evaluation mode on the CPU.

    Only the plugins of the agent's own parts are needed, not those of its environment or trackers.
    """
    from amago_core.spec import load_spec

    stored = yaml.safe_load(folder.spec.read_text(encoding="utf-8"))
    spec = load_spec({"agent": stored["agent"]}, local_environment=True)
    observation_space, action_space = folder.read_spaces()
    task = Task("the run's environment", _not_made, observation_space, action_space, None)
    with torch.random.fork_rng():
        agent = compose_agent(spec.agent, task)
    store = CheckpointStore(folder.checkpoints, keep=1)
    checkpoint = store.latest()
    if checkpoint is None:
        raise AmagoError(f"{folder.path} holds no checkpoint.")
    tensors, _ = store.load(checkpoint)
    agent.load_state_dict(tensors["model"])
    return agent.eval()


def _not_made() -> Any:
    raise AssertionError("an embedded agent makes no environment")


class EmbeddedAgent:
    """Remembers what each of B environments has shown it, and acts.

    Args:
        agent: The networks.
        action_space: The environment's.
    """

    def __init__(self, agent: Agent, action_space: Any) -> None:
        self.agent = agent
        self._space, self._canonical = action_space, canonical_action(action_space)
        self.reset(1)

    def reset(self, batch: int = 1) -> None:
        """Forget everything; from now on act in ``batch`` environments."""
        self._state: State = self.agent.initial_state(batch)
        self._time_B = np.zeros(batch, np.int64)
        self._prev_action_BA = np.zeros((batch, action_width(self._canonical)), np.float32)

    def act(
        self,
        observation: Mapping[str, np.ndarray] | np.ndarray,
        reward: np.ndarray | float = 0.0,
        done: np.ndarray | bool = False,
        *,
        sample: bool = False,
    ) -> np.ndarray:
        """Choose an action per environment.

        Args:
            observation: Observations ``(B, ...)``, or a dictionary of them.
            reward: Rewards ``(B,)`` of the actions before; 0 at a task's start.
            done: ``(B,)``, true where a new task begins with this observation.
            sample: Draw from the policy instead of taking its mode.

        Returns:
            Actions ``(B, ...)`` of the environment's action space.
        """
        batch = len(self._time_B)
        done_B = np.broadcast_to(np.asarray(done, bool), batch)
        reward_B = np.where(done_B, 0.0, np.broadcast_to(reward, batch)).astype(np.float32)
        self._time_B[done_B], self._prev_action_BA[done_B] = 0, 0
        self._state = self.agent.reset(self._state, torch.from_numpy(done_B.copy()))
        named = observation if isinstance(observation, Mapping) else {BARE_KEY: observation}
        action, self._state = self.agent.act(
            {key: torch.from_numpy(_single(np.asarray(value))) for key, value in named.items()},
            torch.from_numpy(self._prev_action_BA),
            torch.from_numpy(reward_B),
            torch.from_numpy(self._time_B),
            self._state,
            sample=sample,
        )
        chosen = action.numpy()
        self._prev_action_BA = previous_action(chosen, self._canonical).copy()
        self._time_B += 1
        return action_to_environment(chosen, self._space)


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float64 else values
