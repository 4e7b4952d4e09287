"""All action and observation spaces: collecting, training, resuming, evaluation, inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Choosy, Listener, Walk, tiny

import amago_core
from amago_core.acting.agent import Agent
from amago_core.acting.collector import Collector
from amago_core.acting.evaluator import Evaluator
from amago_core.acting.task import Task
from amago_core.acting.task_seeds import TaskSeeds
from amago_core.compose.build import compose_exploration
from amago_core.compose.networks import compose_agent
from amago_core.compose.tasks import compose_task
from amago_core.environments import make_environments
from amago_core.errors import AmagoError
from amago_core.replay.trajectory_checks import stored_copy
from amago_core.run_folder.inference import TrainedAgent
from amago_core.spec import RunSpec, load_spec
from amago_registry.trajectories import Trajectory

CHOICES = spaces.Discrete(4, start=2)
DIALS = spaces.MultiDiscrete([[3], [4]], start=[[-1], [5]])
MANY = spaces.Discrete(1000)
SPACES = [MANY, DIALS, spaces.MultiBinary([2, 2]), spaces.Box(-3, 9, (2, 2))]
EXPLORATIONS = [
    {"use": "epsilon-greedy", "end": 1.0},
    {"use": "bilevel", "horizon": 10, "randomize": False},
    {"use": "corridor", "length": 9, "random_actions": 9},
    {"use": "none"},
]
chances = settings(max_examples=6, deadline=None)


def choosy(space: spaces.Space[Any], exploration: Any = "none") -> tuple[RunSpec, Task, Agent]:
    spec = load_spec(tiny(environment=None, exploration=exploration), local_environment=True)
    task = compose_task(None, 0, lambda: Choosy(space))
    return spec, task, compose_agent(spec.agent, task)


def collect(spec: RunSpec, task: Task, agent: Agent, seed: int) -> list[Trajectory]:
    collector = Collector(
        agent,
        make_environments(task.make, task.name, 2),
        task.name,
        TaskSeeds(seed, 0, np.zeros(2, np.int64)),
        sample=True,
        exploration=compose_exploration(spec, task),
        rng=np.random.default_rng(seed),
    )
    trajectories: list[Trajectory] = []
    collector.start()
    collector.run(40, lambda one: trajectories.append(stored_copy(one)), [])
    return trajectories


@pytest.mark.parametrize("space", [CHOICES, DIALS], ids=["one choice", "two dials"])
@pytest.mark.parametrize("exploration", EXPLORATIONS, ids=lambda part: part["use"])
@chances
@given(seed=st.integers(0, 999))
def test_collecting_never_takes_a_masked_action(space: Any, exploration: Any, seed: int) -> None:
    """The environment raises on one."""
    torch.manual_seed(seed)
    assert len(collect(*choosy(space, exploration), seed)) == 8


@pytest.mark.parametrize("space", [CHOICES, DIALS], ids=["one choice", "two dials"])
@pytest.mark.parametrize("sample", [True, False])
@chances
@given(seed=st.integers(0, 999))
def test_evaluation_never_takes_a_masked_action(space: Any, sample: bool, seed: int) -> None:
    torch.manual_seed(seed)
    _, task, agent = choosy(space)
    evaluator = Evaluator(task, episodes=4, environments=2, sample=sample, seed=seed)
    assert evaluator(agent).mean_return == 10


@pytest.mark.parametrize("space", [CHOICES, DIALS], ids=["one choice", "two dials"])
@pytest.mark.parametrize("sample", [True, False])
@chances
@given(seed=st.integers(0, 999))
def test_a_loaded_agent_never_takes_a_masked_action(space: Any, sample: bool, seed: int) -> None:
    torch.manual_seed(seed)
    _, task, agent = choosy(space)
    loaded = TrainedAgent(agent.eval(), task.observation_space, task.action_space)
    env = Choosy(space)
    obs, _ = env.reset(seed=seed)
    for _ in range(10):
        action = loaded.act({key: np.asarray(x)[None] for key, x in obs.items()}, sample=sample)
        obs, _, _, _, _ = env.step(action[0])


def test_an_agent_without_masks_takes_masked_actions() -> None:
    """Shows that the tests above can fail."""
    spec, task, agent = choosy(CHOICES)
    agent.masked = False
    with pytest.raises(AmagoError, match="is forbidden by"):
        collect(spec, task, agent, 0)


def test_an_actor_without_masks_is_refused_where_there_is_a_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("amago_standard.heads.actor.MLPActor.forward", lambda self, state_NE: None)
    with pytest.raises(AmagoError, match=r"the actor standard/mlp does not support"):
        choosy(CHOICES)


def test_an_exploration_without_masks_is_refused_where_there_is_a_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, task, _ = choosy(CHOICES, "epsilon-greedy")
    monkeypatch.setattr(
        "amago_standard.exploration.epsilon_greedy.EpsilonGreedy.__call__",
        lambda self, action, time_B, step, rng: action,
    )
    with pytest.raises(AmagoError, match=r"the exploration standard/epsilon-greedy does not support"):
        compose_exploration(spec, task)


def weights(run: Path) -> torch.Tensor:
    from amago_core.run_folder.inference import load_agent
    from amago_core.run_folder.run_dir import RunDir

    return torch.cat(
        [value.flatten().double() for value in load_agent(RunDir(run)).state_dict().values()]
    )


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_agents_are_trained_resumed_and_used_with_every_space(tmp_path: Path, space: Any) -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return Walk(9, action=space, nested=True)

    spec, whole, parts = tiny(environment=None), tmp_path / "whole", tmp_path / "parts"
    amago_core.train(spec, environment=make, run=whole, reporter=Listener())
    for rounds in (2, 4):
        amago_core.train(
            spec, [f"training.rounds={rounds}"], environment=make, run=parts,
            resume=rounds == 4, reporter=Listener(),
        )  # fmt: skip
    assert torch.equal(weights(parts), weights(whole))
    agent, env = amago_core.load(whole), make()
    obs, _ = env.reset(seed=0)
    cell, pair = obs["eye"]["cell"][None], tuple(part[None] for part in obs["eye"]["pair"])
    (action,) = agent.act({"eye": {"cell": cell, "pair": pair}})
    assert space.contains(action)


@pytest.mark.parametrize("space", [CHOICES, DIALS], ids=["one choice", "two dials"])
def test_agents_are_trained_and_resumed_with_action_masks(tmp_path: Path, space: Any) -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return Choosy(space)

    spec, whole, parts = tiny(environment=None), tmp_path / "whole", tmp_path / "parts"
    amago_core.train(spec, environment=make, run=whole, reporter=Listener())
    for rounds in (2, 4):
        amago_core.train(
            spec, [f"training.rounds={rounds}"], environment=make, run=parts,
            resume=rounds == 4, reporter=Listener(),
        )  # fmt: skip
    assert torch.equal(weights(parts), weights(whole))
    assert amago_core.evaluate(whole, environment=make).mean_return == 10
