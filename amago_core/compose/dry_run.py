"""Parts tried together before anything else is done.

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
    agent: Agent, objective: nn.Module, task: Task, spec: AgentSpec, *, half: bool = False
) -> None:
    """Take one step and one loss with its gradient with made-up timesteps, where the agent is.

    Parts that cannot run on this machine, or do not fit together, say so now and not after an hour of
    collecting. Nothing is committed; global random state is left as it was.

    Args:
        agent: The networks.
        objective: What trains them.
        task: Where observations and actions are made up for.
        spec: Names the parts.
        half: Whether the run's products are in bfloat16.

    Raises:
        AmagoError: Naming the part that raised something, or returned another shape than it must.
    """
    batch = _made_up(task, agent.device)
    with torch.random.fork_rng(), torch.no_grad():
        try:
            with torch.autocast(agent.device.type, torch.bfloat16, enabled=half):
                _learn(agent.train(), objective, batch, task, spec)
            _act(agent.eval(), batch, spec)
        finally:
            for module in (*agent.modules(), *objective.modules()):
                if isinstance(module, Proposes):
                    module.forget()


def dry_run_dataset(dataset: Dataset, use: str, task: Task) -> None:
    """Draw one trajectory, see that it is one of the task, and ask what there is.

    Args:
        dataset: Where to draw from.
        use: Its full name.
        task: What its trajectories are of.

    Raises:
        AmagoError: If the dataset raises something.
        DatasetError: If what comes is no trajectory, or has other columns than the task's would have.
    """
    watched = CheckedDataset(dataset, use, TrajectoryChecker(task.observation_space, task.action_space))
    (drawn,) = watched.sample(np.random.default_rng(0), 1, 0)
    fault = number_fault(drawn, task.observation_space, task.action_space)
    if fault is not None:
        raise DatasetError(f"the dataset {use} cannot be learned from: of a trajectory, {fault}.")
    watched.describe()


def _made_up(task: Task, device: torch.device) -> PackedBatch:
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
    with _trying("actor", spec.actor.use):
        policy = agent.policy(state_NE, batch.action_mask_NA)
        action, _ = policy.sample(), policy.mode()
    wanted = (2, len(spec.discounts), *(task.acted.shape or ()))
    if action.shape != wanted:
        raise AmagoError(
            f"the actor {spec.actor.use} sampled actions of shape {tuple(action.shape)} for two "
            f"timesteps under {len(spec.discounts)} discounts; for {task.acted} it must be {wanted}."
        )
    with _trying("critic", spec.critic.use):
        _judge(cast(Critic, agent.critic), state_NE, action_vector(action, task.acted))
    with _trying("objective", spec.objective.use), torch.enable_grad():
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
    with _trying("encoder", spec.encoder.use):
        x_ND = encoder(batch.obs, batch.prev_action_NA, batch.prev_reward_N)
    _check_width("encoder", spec.encoder.use, x_ND, encoder.out_dim)
    with _trying("backbone", spec.backbone.use):
        state_NE = backbone(x_ND, batch.layout)
    _check_width("backbone", spec.backbone.use, state_NE, backbone.out_dim)
    return state_NE


def _judge(critic: Critic, state_NE: Tensor, action_NGA: Tensor) -> None:
    prediction = (
        critic.predict_all(state_NE) if critic.enumerates else critic.predict(state_NE, action_NGA)
    )
    critic.value(prediction)


def _act(agent: Agent, batch: PackedBatch, spec: AgentSpec) -> None:
    time_B = torch.zeros(2, dtype=torch.int64, device=agent.device)
    # The others have just worked; what is new here is the backbone's acting state.
    with _trying("backbone", spec.backbone.use):
        _, state = agent.act(
            batch.obs,
            batch.prev_action_NA,
            batch.prev_reward_N,
            time_B,
            agent.initial_state(2),
            sample=True,
        )
        agent.reset(state, time_B == 0)


def _trying(kind: str, use: str) -> AbstractContextManager[None]:
    return part_errors(kind, use, "trying it on two made-up timesteps")


def _check_width(kind: str, use: str, x_ND: Tensor, out_dim: int) -> None:
    if x_ND.shape != (2, out_dim):
        raise AmagoError(
            f"the {kind} {use} returned the shape {tuple(x_ND.shape)} for two timesteps; "
            f"its out_dim says {(2, out_dim)}."
        )
