"""Dry run: one forward and backward pass on random timesteps before training starts.

Shape suffixes: N = timesteps (two here), D = encoder features, E = state features, G = discounts,
A = action features.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from amago_core.acting.action_masks import MASK_KEY
from amago_core.acting.agent import Agent
from amago_core.errors import part_errors
from amago_core.learning.batch import PackedBatch, pack
from amago_core.learning.checked_parts import CheckedDataset, TrajectoryChecker
from amago_registry.actions import action_vector
from amago_registry.errors import AmagoError, DatasetError
from amago_registry.protocols import Backbone, Critic, Dataset, Encoder, Objective, Proposes
from amago_registry.recordings import number_fault
from amago_registry.trajectories import Trajectory

if TYPE_CHECKING:
    from amago_core.acting.task import Task
    from amago_core.spec import AgentSpec


def dry_run(
    agent: Agent, objective: nn.Module, task: Task, spec: AgentSpec, *, bf16: bool = False
) -> None:
    """Compute one acting step, and one loss with its gradient, on random timesteps.

    Parts that cannot run on the agent's device, or do not fit together, raise here and not after an
    hour of collecting. Running statistics and the global random state are left unchanged.

    Args:
        agent: The networks.
        objective: The loss that trains them.
        task: The task whose spaces the random timesteps are drawn from.
        spec: The agent's spec, for the names of the parts.
        bf16: Whether the run computes in bfloat16 (autocast).

    Raises:
        AmagoError: If a part raises or returns a wrong shape; the message names the part.
    """
    batch = _random_batch(task, agent.device)
    with torch.random.fork_rng(), torch.no_grad():
        try:
            with torch.autocast(agent.device.type, torch.bfloat16, enabled=bf16):
                _learn(agent.train(), objective, batch, task, spec)
            _act(agent.eval(), batch, spec)
        finally:
            for module in (*agent.modules(), *objective.modules()):
                if isinstance(module, Proposes):
                    module.forget()


def dry_run_dataset(dataset: Dataset, use: str, task: Task) -> None:
    """Sample one trajectory from a dataset and check that it fits the task's spaces.

    Args:
        dataset: The dataset to sample from.
        use: Its full name.
        task: The task that its trajectories must fit.

    Raises:
        AmagoError: If the dataset raises.
        DatasetError: If the sample is not a trajectory, or does not have the task's columns.
    """
    checked = CheckedDataset(dataset, use, TrajectoryChecker(task.observation_space, task.action_space))
    (trajectory,) = checked.sample(np.random.default_rng(0), 1, 0)
    fault = number_fault(trajectory, task.observation_space, task.action_space)
    if fault is not None:
        raise DatasetError(f"the dataset {use} cannot be learned from: of a trajectory, {fault}.")
    checked.describe()


def _random_batch(task: Task, device: torch.device) -> PackedBatch:
    """Return two timesteps with random observations and the transition between them."""
    task.observed.seed(0)
    seen = {key: np.stack([np.asarray(space.sample())] * 2) for key, space in task.observed.items()}
    if task.masked:
        seen[MASK_KEY] = np.rint(seen[MASK_KEY]).astype(seen[MASK_KEY].dtype)
    columns = {f"obs.{key}": values for key, values in seen.items()}
    columns["action"] = np.zeros((1, *(task.acted.shape or ())), task.acted.dtype)
    columns["reward"] = np.zeros(1, np.float32)
    columns["terminated"] = columns["truncated"] = np.zeros(1, bool)
    return pack([Trajectory(columns)], task.acted, device)


def _learn(agent: Agent, objective: nn.Module, batch: PackedBatch, task: Task, spec: AgentSpec) -> None:
    state_NE = _represent(agent, batch, spec)
    with _dry_run_errors("actor", spec.actor.use):
        policy = agent.policy(state_NE, batch.action_mask_NA)
        action, _ = policy.sample(), policy.mode()
    expected = (2, len(spec.discounts), *(task.acted.shape or ()))
    if action.shape != expected:
        raise AmagoError(
            f"the actor {spec.actor.use} sampled actions of shape {tuple(action.shape)} for two "
            f"timesteps under {len(spec.discounts)} discounts; for {task.acted} it must be {expected}."
        )
    with _dry_run_errors("critic", spec.critic.use):
        _run_critic(cast(Critic, agent.critic), state_NE, action_vector(action, task.acted))
    with _dry_run_errors("objective", spec.objective.use), torch.enable_grad():
        state_NE = agent.represent(batch.obs, batch.prev_action_NA, batch.prev_reward_N, batch.layout)
        loss, metrics = cast(Objective, objective).loss(state_NE, batch)
        _check_shapes(loss, metrics, spec)
        trained = [parameter for parameter in agent.parameters() if parameter.requires_grad]
        torch.autograd.grad(loss, trained, allow_unused=True)


def _check_shapes(loss: Tensor, metrics: dict[str, Tensor], spec: AgentSpec) -> None:
    discounts = len(spec.discounts)
    shapes = {"loss": tuple(loss.shape)} | {name: tuple(m.shape) for name, m in metrics.items()}
    for name, shape in shapes.items():
        if shape != () and (name == "loss" or shape != (discounts,)):
            allowed = (
                "one number" if name == "loss" else f"one number, or one per discount ({discounts},)"
            )
            raise AmagoError(
                f"the objective {spec.objective.use} returned {name!r} of the shape {shape}; it must "
                f"be {allowed}."
            )


def _represent(agent: Agent, batch: PackedBatch, spec: AgentSpec) -> Tensor:
    encoder, backbone = cast(Encoder, agent.encoder), cast(Backbone, agent.backbone)
    with _dry_run_errors("encoder", spec.encoder.use):
        x_ND = encoder(batch.obs, batch.prev_action_NA, batch.prev_reward_N)
    _check_width("encoder", spec.encoder.use, x_ND, encoder.out_dim)
    with _dry_run_errors("backbone", spec.backbone.use):
        state_NE = backbone(x_ND, batch.layout)
    _check_width("backbone", spec.backbone.use, state_NE, backbone.out_dim)
    return state_NE


def _run_critic(critic: Critic, state_NE: Tensor, action_NGA: Tensor) -> None:
    prediction = (
        critic.predict_all(state_NE) if critic.enumerates else critic.predict(state_NE, action_NGA)
    )
    critic.value(prediction)


def _act(agent: Agent, batch: PackedBatch, spec: AgentSpec) -> None:
    time_B = torch.zeros(2, dtype=torch.int64, device=agent.device)
    # The other parts have run above; only the backbone's acting state is new here.
    with _dry_run_errors("backbone", spec.backbone.use):
        _, state = agent.act(
            batch.obs,
            batch.prev_action_NA,
            batch.prev_reward_N,
            time_B,
            agent.initial_state(2),
            sample=True,
        )
        agent.reset(state, time_B == 0)


def _dry_run_errors(kind: str, use: str) -> AbstractContextManager[None]:
    return part_errors(kind, use, "a dry run on two random timesteps")


def _check_width(kind: str, use: str, x_ND: Tensor, out_dim: int) -> None:
    if x_ND.shape != (2, out_dim):
        raise AmagoError(
            f"the {kind} {use} returned the shape {tuple(x_ND.shape)} for two timesteps; "
            f"its out_dim says {(2, out_dim)}."
        )
