"""Two states that follow each other: values learned from recordings, compared with the exact ones.

Shape suffixes: N = timesteps of a packed batch, C = ensemble members, G = discounts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from amago_core.acting.agent import Agent
from amago_core.acting.collector import Collector
from amago_core.acting.task import Task
from amago_core.acting.task_seeds import TaskSeeds
from amago_core.compose.networks import compose_agent, compose_objective
from amago_core.environments import make_environments
from amago_core.learning.batch import PackedBatch, pack
from amago_core.learning.learner import Learner
from amago_core.replay.trajectory_checks import stored_copy
from amago_core.spec import RunSpec, load_spec
from amago_registry.protocols import Critic
from amago_registry.trajectories import Trajectory

DISCOUNTS = (0.5, 0.9)
UPDATES = 500


class TwoStates(gymnasium.Env[Any, Any]):
    """A, then B, then A again, for any action: reward 1 for leaving A, 2 for leaving B."""

    def __init__(self, *, ends_after_b: bool) -> None:
        self.ends_after_b = ends_after_b
        self.observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.in_b = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward, terminated = 1.0 + self.in_b, self.ends_after_b and self.in_b == 1
        self.in_b = 1 - self.in_b
        return self._observe(), reward, terminated, False, {}

    def _observe(self) -> np.ndarray:
        return np.array([1 - self.in_b, self.in_b], np.float32)


ENDINGS: dict[str, Callable[[], gymnasium.Env[Any, Any]]] = {
    "a termination": lambda: TwoStates(ends_after_b=True),
    "a time limit of 5": lambda: TimeLimit(TwoStates(ends_after_b=False), 5),
}
CRITICS: dict[str, dict[str, Any]] = {
    "popart ensemble": {"use": "ensemble", "hidden_dims": [64, 64]},
    "two-hot": {"use": "two-hot", "hidden_dims": [64, 64], "bins": 32, "low": -100.0, "high": 100.0},
}


def exact(ending: str, discount: float) -> list[float]:
    """Return the values of A and B in closed form."""
    if ending == "a termination":
        return [1 + 2 * discount, 2.0]
    # V(A) = 1 + discount V(B) and V(B) = 2 + discount V(A), without end.
    return [(1 + 2 * discount) / (1 - discount**2), (2 + discount) / (1 - discount**2)]


def written(critic: dict[str, Any], n_step: int) -> RunSpec:
    agent = {
        "context_length": 8,
        "discount": DISCOUNTS[-1],
        "auxiliary_discounts": DISCOUNTS[:-1],
        # The observation is the whole state; with more, A after a truncation would be another state.
        "encoder": {
            "use": "mlp", "hidden_dims": [], "out_dim": 16, "hide_action": True, "hide_reward": True,
        },
        "backbone": {"use": "mlp", "layers": 1, "width": 32},
        "actor": {"use": "mlp", "hidden_dims": [16]},
        "critic": critic,
        "objective": {"use": "amago", "reward_scale": 1.0, "tau": 0.2, "n_step": n_step},
    }  # fmt: skip
    training = {
        "learning_rate": 1e-2, "weight_decay": 0.0, "warmup": 50,
        "schedule": "linear", "rounds": 1, "updates_per_round": UPDATES,
    }  # fmt: skip
    return load_spec({"agent": agent, "training": training}, local_environment=True)


def recorded(task: Task, agent: Agent) -> list[Trajectory]:
    """Return what a collector records of four environments."""
    vector = make_environments(task.make, task.name, 4)
    trajectories: list[Trajectory] = []
    collector = Collector(agent, vector, task.name, TaskSeeds(0, 0, np.zeros(4, np.int64)), sample=True)
    collector.start()
    collector.run(10, lambda trajectory: trajectories.append(stored_copy(trajectory)), [])
    vector.close()
    return trajectories


def learned_values(agent: Agent, batch: PackedBatch) -> Tensor:
    """Return the values ``(N, C, G)`` of every timestep under the first action."""
    agent.eval()
    with torch.no_grad():
        state_NE = agent.represent(batch.obs, batch.prev_action_NA, batch.prev_reward_N, batch.layout)
        critic = cast(Critic, agent.critic)
        if critic.enumerates:
            return critic.value(critic.predict_all(state_NE))[..., 0]
        first_NGA = torch.tensor([1.0, 0.0]).expand(len(state_NE), len(DISCOUNTS), 2)
        return critic.value(critic.predict(state_NE, first_NGA))


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_termination_stops_bootstrapping_and_a_time_limit_does_not(
    ending: str, critic: dict[str, Any], n_step: int
) -> None:
    torch.manual_seed(0)
    spec, env = written(critic, n_step), ENDINGS[ending]()
    task = Task("two states", ENDINGS[ending], env.observation_space, env.action_space, None)
    agent = compose_agent(spec.agent, task)
    learner = Learner(agent, compose_objective(spec.agent, agent, task), spec.training)
    batch = pack([t.slice(0, t.length) for t in recorded(task, agent)], task.acted)
    for _ in range(UPDATES):
        learner.update(batch)
    value_NCG = learned_values(agent, batch)
    exact_2G = torch.tensor([exact(ending, discount) for discount in DISCOUNTS]).T
    exact_NCG = exact_2G[batch.obs["observation"][:, 1].long()][:, None].expand_as(value_NCG)
    # The timestep after a termination has no value to compare.
    compared = batch.rows_M if ending == "a termination" else slice(None)
    torch.testing.assert_close(value_NCG[compared], exact_NCG[compared], rtol=0.01, atol=0.0)
