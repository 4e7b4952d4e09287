"""One update: forward, backward, optimiser step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from amago_core.agent import Agent
from amago_registry.errors import AmagoError
from amago_registry.protocols import Objective, Proposes

if TYPE_CHECKING:
    from amago_core.packing import PackedBatch
    from amago_core.spec.schema import TrainingSpec
    from amago_core.tensor_trees import TensorTree

PATIENCE = 10
"""Skipped updates in a row after which a run stops."""


class DivergedError(AmagoError):
    """The loss or its gradient stopped being finite."""


class Learner:
    """Owns the optimiser; statistics that a forward pass proposes are adopted with its step.

    An update whose gradient is not finite is skipped: nothing is stepped, nothing adopted.

    Args:
        agent: What is trained.
        objective: What it is trained by.
        spec: Learning rate, warm-up, weight decay and clipping.
    """

    def __init__(self, agent: Agent, objective: nn.Module, spec: TrainingSpec) -> None:
        self.agent, self.objective, self.spec = agent, objective, spec
        self.updates = 0
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._parameters = [p for p in agent.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
        )
        modules = (*agent.modules(), *objective.modules())
        self._proposing = [module for module in modules if isinstance(module, Proposes)]

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update, warm-up included."""
        return self.spec.learning_rate * min(1.0, (self.updates + 1) / max(1, self.spec.warmup))

    def update(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Take one optimiser step; return scalar metrics.

        Raises:
            DivergedError: If the gradient was not finite too many times in a row.
        """
        self.agent.train()
        state_NE = self.agent.represent(
            batch.obs, batch.prev_action_NA, batch.prev_reward_N, batch.layout
        )
        loss, metrics = cast(Objective, self.objective).loss(state_NE, batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._parameters, self.spec.gradient_clip)
        metrics["gradient_norm"] = norm
        if math.isfinite(float(norm)):
            self._step()
        else:
            self._skip(metrics)
        self.updates += 1
        return metrics

    def _step(self) -> None:
        self._skipped_in_a_row = 0
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._optimizer.step()
        with torch.no_grad():
            for module in self._proposing:
                module.commit()
        cast(Objective, self.objective).after_step()

    def _skip(self, metrics: Mapping[str, Tensor]) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= PATIENCE:
            broken = [name for name, value in metrics.items() if not math.isfinite(float(value))]
            raise DivergedError(
                f"{PATIENCE} updates in a row, up to update {self.updates}, had a gradient that is not "
                f"finite; not finite: {', '.join(broken)}. A lower training.learning_rate may help."
            )

    def state(self) -> tuple[TensorTree, dict[str, Any]]:
        """Return what must be stored to go on exactly: tensors, and facts for JSON."""
        moments: TensorTree = {
            str(index): dict(self._optimizer.state[parameter])
            for index, parameter in enumerate(self._parameters)
            if parameter in self._optimizer.state
        }
        tensors: TensorTree = {
            "objective": dict(self.objective.state_dict()),
            "optimizer": moments,
            "generator": torch.get_rng_state(),
        }
        if self.agent.device.type == "cuda":
            tensors["cuda-generator"] = torch.cuda.get_rng_state(self.agent.device)
        facts = {
            "updates": self.updates,
            "skipped": self.skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
        }
        return tensors, facts

    def load_state(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Go on from a stored state; the agent's own weights are loaded by the caller."""
        self.objective.load_state_dict(tensors["objective"])
        for index, moments in tensors["optimizer"].items():
            parameter = self._parameters[int(index)]
            self._optimizer.state[parameter] = {
                name: value.to(parameter.device) for name, value in moments.items()
            }
        torch.set_rng_state(tensors["generator"])
        if "cuda-generator" in tensors and self.agent.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda-generator"], self.agent.device)
        self.updates, self.skipped = facts["updates"], facts["skipped"]
        self._skipped_in_a_row = facts["skipped_in_a_row"]
