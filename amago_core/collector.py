"""Acting in many environments at once.

Shape suffixes: B = environments, A = action features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amago_core.agent import Agent
from amago_core.environments import Environments, check_finite
from amago_core.masks import action_mask, shows_mask
from amago_core.recording import Outcome, Recorder
from amago_core.replay.trajectory import checksum
from amago_registry.actions import action_vector, action_width
from amago_registry.protocols import Exploration, State
from amago_registry.spaces import action_to_environment, canonical_action, canonical_observation
from amago_registry.trajectories import Trajectory

Sink = Callable[[Trajectory], None]


def task_seed(run_seed: int, stream: int, number: int) -> int:
    """Return the seed of one task: reproducible, and unrelated to those of its neighbours.

    Args:
        run_seed: Seed of the run.
        stream: 0 for training, 1 for evaluation.
        number: Counts the tasks of the stream.
    """
    words = np.random.SeedSequence([run_seed, stream, number]).generate_state(1)
    return int(words[0] >> 1)


@dataclass
class Tasks:
    """Which task each environment is in.

    Args:
        run_seed: Seed of the run.
        stream: 0 for training, 1 for evaluation.
        number_B: Number of each environment's task.
        begun: Tasks begun so far.
    """

    run_seed: int
    stream: int
    number_B: np.ndarray
    begun: int = 0

    def begin(self, mask_B: np.ndarray) -> list[int | None]:
        """Give environments where ``mask_B`` is true new tasks; return their seeds, else None."""
        for index in np.flatnonzero(mask_B):
            self.number_B[index] = self.begun
            self.begun += 1
        return [self.seed(index) if fresh else None for index, fresh in enumerate(mask_B)]

    def seed(self, index: int) -> int:
        """Return the seed of one environment's task."""
        return self.seed_of(int(self.number_B[index]))

    def seed_of(self, number: int) -> int:
        """Return the seed of one task of the stream."""
        return task_seed(self.run_seed, self.stream, number)


class Collector:
    """Steps a vector of environments with an agent and hands over finished trajectories.

    Environments never reset themselves: the collector resets those that ended, each with a seed of its
    own, so that every trajectory can be replayed.

    Args:
        agent: The policy.
        environments: Where to act.
        name: What users call the environment.
        tasks: Source of task seeds.
        sample: Draw actions from the policy instead of taking its mode.
        exploration: Changes the policy's actions; None to leave them.
        rng: Randomness of the exploration.
        step_limit: Steps after which a trajectory is cut, whatever the environment says; None never.
    """

    def __init__(
        self,
        agent: Agent,
        environments: Environments,
        name: str,
        tasks: Tasks,
        *,
        sample: bool,
        exploration: Exploration | None = None,
        rng: np.random.Generator | None = None,
        step_limit: int | None = None,
    ) -> None:
        self.agent, self.environments, self.name, self.tasks = agent, environments, name, tasks
        self.sample, self.exploration = sample, exploration
        self.rng = rng or np.random.default_rng(0)
        self._step_limit = step_limit
        self.steps = 0
        self._action_space = environments.action_space
        self._canonical = canonical_action(self._action_space)
        observed = canonical_observation(environments.observation_space)
        self._masked = shows_mask(observed, self._canonical)
        self.recorder = Recorder(observed, self._canonical, environments.count)
        self._state: State = {}
        self._prev_action_BA = torch.zeros(0, 0)
        self._prev_reward_B = np.zeros(0, np.float32)

    @property
    def size(self) -> int:
        """B: environments."""
        return self.environments.count

    def start(self) -> None:
        """Begin a task in every environment."""
        self._clear()
        self._begin(np.ones(self.size, bool))

    def restart(self, facts: Mapping[str, Any]) -> None:
        """Begin new tasks in every environment, with the counters of a stored state."""
        self._load_counters(facts)
        self.start()

    def run(self, steps: int, sink: Sink | None, outcomes: list[Outcome]) -> None:
        """Take ``steps`` steps in every environment.

        Args:
            steps: Per environment.
            sink: Receives each finished trajectory, as views that the next step overwrites.
            outcomes: Receives how each finished trajectory went.
        """
        self.agent.eval()
        for _ in range(steps):
            ended_B = self._step()
            if ended_B.any():
                self._finish(ended_B, sink, outcomes)
                self._begin(ended_B)

    def state(self) -> tuple[State, dict[str, Any]]:
        """Return the acting state as tensors, and the facts needed to bring environments back to it."""
        tensors: State = {"backbone": self._state}
        if self.exploration is not None:
            stored = self.exploration.state()
            tensors["exploration"] = {key: torch.from_numpy(x.copy()) for key, x in stored.items()}
        for index in range(self.size):
            tensors[f"actions-{index}"] = torch.from_numpy(self.recorder.actions(index))
        facts = {
            "recorded": self._checksums(),
            "steps": self.steps,
            "begun": self.tasks.begun,
            "numbers": self.tasks.number_B.tolist(),
            "rng": self.rng.bit_generator.state,
        }
        return tensors, facts

    def load_state(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
        """Bring environments, acting state and counters back to a stored state.

        Every environment is reset to its task and its actions are replayed. Where that does not lead
        to the recording there was, the environment is not reproducible: new tasks begin instead.

        Returns:
            Whether the environments were brought back.
        """
        self._load_counters(facts)
        if self.exploration is not None:
            self.exploration.load_state({k: v.numpy() for k, v in tensors["exploration"].items()})
        self._clear()
        actions = [tensors[f"actions-{index}"].numpy() for index in range(self.size)]
        if (
            not self.environments.reproducible
            or not self._replay(actions)
            or self._checksums() != facts["recorded"]
        ):
            self.start()
            return False
        self._state = _to(tensors["backbone"], self.agent.device)
        return True

    def _checksums(self) -> list[int]:
        """Return what tells whether the started trajectories are the same, to the bit."""
        recordings = [self.recorder.trajectory(index, 0) for index in range(self.size)]
        return [checksum(recording, 0) for recording in recordings]

    def _load_counters(self, facts: Mapping[str, Any]) -> None:
        self.steps, self.tasks.begun = facts["steps"], facts["begun"]
        self.tasks.number_B[:] = facts["numbers"]
        self.rng.bit_generator.state = facts["rng"]

    def _clear(self) -> None:
        self._prev_action_BA = torch.zeros(self.size, action_width(self._canonical))
        self._prev_reward_B = np.zeros(self.size, np.float32)
        self._state = self.agent.initial_state(self.size)

    def _begin(self, mask_B: np.ndarray) -> None:
        self.environments.reset(self.tasks.begin(mask_B))
        self._enter()

    def _enter(self) -> None:
        """Forget the past where a new task has begun."""
        began_B = self.environments.began_B
        self.recorder.begin(self._observed(np.zeros(self.size, np.int64)), began_B)
        fresh_B = torch.from_numpy(began_B)
        self._prev_action_BA = self._prev_action_BA.masked_fill(fresh_B[:, None], 0)
        self._prev_reward_B[began_B] = 0
        self._state = self.agent.reset(self._state, fresh_B.to(self.agent.device))

    def _step(self) -> np.ndarray:
        action, environments = self._act(), self.environments
        environments.step(action_to_environment(action, self._action_space))
        self._record(action)
        self.steps += 1
        if environments.began_B.any():
            self._enter()
        ended_B: np.ndarray = np.logical_or(environments.terminated_B, environments.truncated_B)
        if self._step_limit is not None:
            ended_B |= self.recorder.time_B >= self._step_limit
        ended_B &= environments.played_B
        return ended_B

    def _act(self) -> np.ndarray:
        device, obs = self.agent.device, self.recorder.observation
        action, self._state = self.agent.act(
            {key: torch.from_numpy(values).to(device) for key, values in obs.items()},
            self._prev_action_BA.to(device),
            torch.from_numpy(self._prev_reward_B).to(device),
            torch.from_numpy(self.recorder.time_B).to(device),
            self._state,
            sample=self.sample,
        )
        chosen = action.cpu().numpy()
        if self.exploration is None:
            return chosen
        mask = (action_mask(obs),) if self._masked else ()
        explored = self.exploration(chosen, self.recorder.time_B, self.steps, self.rng, *mask)
        # What is recorded must be what was done, to the bit, or replaying it leads elsewhere.
        return explored.astype(chosen.dtype, copy=False)

    def _record(self, action: np.ndarray) -> None:
        """Append the step that environments have taken, where they have."""
        step_B, environments = self.recorder.time_B + 1, self.environments
        played_B = environments.played_B
        check_finite(self.name, step_B, reward=environments.reward_B)
        self.recorder.step(
            np.flatnonzero(played_B),
            self._observed(step_B),
            action=action,
            reward=environments.reward_B,
            terminated=environments.terminated_B,
            truncated=environments.truncated_B,
            success=environments.success_B,
        )
        vector_BA = action_vector(torch.from_numpy(action), self._canonical)
        self._prev_action_BA[played_B] = vector_BA[played_B]
        self._prev_reward_B[played_B] = environments.reward_B[played_B]

    def _observed(self, step_B: np.ndarray) -> Mapping[str, np.ndarray]:
        obs = self.environments.obs
        check_finite(self.name, step_B, **{f"observation {key!r}": x for key, x in obs.items()})
        return obs

    def _finish(self, ended_B: np.ndarray, sink: Sink | None, outcomes: list[Outcome]) -> None:
        for index in np.flatnonzero(ended_B).tolist():
            seed, task = self.tasks.seed(index), self.environments.task_B[index]
            outcome = self.recorder.outcome(index, seed, task)
            outcomes.append(outcome)
            if sink is not None:
                sink(self.recorder.trajectory(index, seed, task, outcome.success))

    def _replay(self, actions: Sequence[np.ndarray]) -> bool:
        """Reset every environment to its task and take the given actions.

        Returns:
            False if one ended on the way, where the recording goes on.
        """
        environments = self.environments
        environments.reset([self.tasks.seed(index) for index in range(self.size)])
        self._enter()
        longest = max(len(taken) for taken in actions)
        for time in range(longest):
            active_B = np.array([time < len(taken) for taken in actions])
            action = np.stack(
                [
                    taken[min(time, len(taken) - 1)]
                    if len(taken)
                    else np.zeros(taken.shape[1:], taken.dtype)
                    for taken in actions
                ]
            )
            environments.step(action_to_environment(action, self._action_space), active_B)
            self._record(action)
            ended_B = np.logical_or(environments.terminated_B, environments.truncated_B)
            if (ended_B & environments.played_B).any():
                return False
        return True


def _to(state: Mapping[str, Any], device: torch.device) -> State:
    return {
        key: value.to(device) if isinstance(value, Tensor) else _to(value, device)
        for key, value in state.items()
    }
