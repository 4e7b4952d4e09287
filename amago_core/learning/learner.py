"""The learner: one update of the agent is forward, backward, optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from amago_core.acting.agent import Agent
from amago_core.learning.optimizer import build_optimizer, rate_factor
from amago_registry.errors import AmagoError
from amago_registry.protocols import Objective, Proposes, Reports
from amago_registry.ranks import ranks, sum_over_ranks

if TYPE_CHECKING:
    from amago_core.learning.batch import PackedBatch
    from amago_core.spec.schema import RunningSpec, TrainingSpec
    from amago_core.system.tensor_tree import TensorTree


MAX_SKIPPED_UPDATES = 10
"""Consecutive skipped updates after which a run stops."""

Metrics = dict[str, Tensor]
"""Detached numbers by name: scalars, or one per discount."""


class DivergedError(AmagoError):
    """Training diverged: the loss or its gradient was not finite for too many updates in a row."""


class Learner:
    """Trains the agent; owns the optimizer.

    Running statistics that a forward pass proposes are committed with the optimizer step. An update
    whose loss or gradient is not finite is skipped: no step, and nothing is committed.

    Args:
        agent: The agent to train.
        objective: The training objective (loss).
        spec: Learning rate and schedule, weight decay and clipping.
        running: Precision (``bf16`` is autocast: matrix products in bfloat16, all else in fp32), and
            whether to compile; by default neither.
    """

    def __init__(
        self,
        agent: Agent,
        objective: nn.Module,
        spec: TrainingSpec,
        running: RunningSpec | None = None,
    ) -> None:
        self.agent, self.objective, self.spec = agent, objective, spec
        self.updates = 0
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._bf16 = running is not None and running.precision == "bf16"
        self._loss = cast(Objective, objective).loss
        if running is not None and running.compile:
            # Sizes are symbolic, so that one graph serves every packed length. The backbone is not
            # compiled: its sequence offsets differ in every batch, and each would need its own graph.
            self._loss = torch.compile(self._loss, dynamic=True)
        if agent.device.type == "cuda":
            # fp32 products in TF32 where the card has it: coarser, and several times as fast.
            torch.set_float32_matmul_precision("high")
        rates = spec.learning_rate_factors.model_dump()
        self._frozen = [part for name, part in agent.named_children() if not rates[name]]
        for part in self._frozen:
            part.requires_grad_(False)
        self._parameters = [p for p in agent.parameters() if p.requires_grad]
        if not self._parameters:
            raise AmagoError(
                "training.learning_rate_factors leaves nothing to train: every part's factor is 0."
            )
        self._optimizer = build_optimizer(agent, spec)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        modules = (*agent.modules(), *objective.modules())
        self._proposing = [module for module in modules if isinstance(module, Proposes)]
        frozen = {module for part in self._frozen for module in part.modules()}
        self._committing = [module for module in self._proposing if module not in frozen]

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update, warm-up and schedule included."""
        return self.spec.learning_rate * rate_factor(self.spec, self.updates)

    def update(self, *batches: PackedBatch) -> Metrics:
        """Take one optimizer step on the accumulated gradients of batches; return this rank's metrics.

        Every transition has the same weight, in whichever batch and rank it is. A batch is normalized
        by the statistics of all ranks' batches up to and including it; the statistics of all batches
        are committed.

        Raises:
            DivergedError: If the loss or the gradient was not finite too many times in a row.
        """
        self.agent.train()
        for part in self._frozen:
            part.eval()
        self.objective.train()
        self._optimizer.zero_grad(set_to_none=True)
        on_rank = sum(len(batch.rows_M) for batch in batches)
        in_total = self._sum_over_ranks(on_rank)
        metrics: Metrics = {}
        for batch in batches:
            rows = len(batch.rows_M)
            _merge(metrics, self._accumulate(batch, rows / in_total), rows / on_rank)
        self._all_reduce_gradients()
        metrics["valid_timesteps"] = torch.tensor(float(in_total))
        relabelled = [batch.relabelled for batch in batches if batch.relabelled is not None]
        if relabelled:
            metrics["relabelled"] = torch.tensor(sum(relabelled) / len(relabelled))
        metrics |= self._clip()
        if self._finite_on_all_ranks(metrics):
            self._step()
        else:
            self._skip(metrics)
        self.updates += 1
        return metrics

    def report(self) -> dict[str, float]:
        """Return the metrics of the agent's parts and of the objective, by ``part/name``."""
        parts = {**dict(self.agent.named_children()), "objective": self.objective}
        return {
            f"{name}/{metric}": float(value)
            for name, part in parts.items()
            if isinstance(part, Reports)
            for metric, value in part.metrics().items()
        }

    def _accumulate(self, batch: PackedBatch, share: float) -> Metrics:
        """Add the gradient of a batch's loss, weighted by its share of all transitions."""
        with torch.autocast(self.agent.device.type, torch.bfloat16, enabled=self._bf16):
            state_NE = self.agent.represent(
                batch.obs, batch.prev_action_NA, batch.prev_reward_N, batch.layout
            )
            loss, metrics = self._loss(state_NE, batch)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        return {"state_max": state_NE.detach().abs().amax(), **metrics, "loss": loss.detach()}

    def _sum_over_ranks(self, count: int) -> int:
        if ranks() == 1:
            return count
        return int(sum_over_ranks(torch.tensor(count, device=self.agent.device)))

    def _all_reduce_gradients(self) -> None:
        """Sum the gradients of all ranks, in one message; a parameter without any keeps none."""
        if ranks() == 1:
            return
        has_gradient = [float(parameter.grad is not None) for parameter in self._parameters]
        counts = sum_over_ranks(torch.tensor(has_gradient, device=self.agent.device)).tolist()
        trained = [p for p, count in zip(self._parameters, counts, strict=True) if count]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [cast(Tensor, parameter.grad) for parameter in trained]
        flat = sum_over_ranks(torch.cat([gradient.flatten() for gradient in gradients]))
        chunks = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, chunk in zip(gradients, chunks, strict=True):
            gradient.copy_(chunk.view_as(gradient))

    def _finite_on_all_ranks(self, metrics: Metrics) -> bool:
        """Return whether loss and gradient are finite on all ranks, so that all step or all skip."""
        finite = torch.stack([metrics["loss"], metrics["gradient_norm"]]).isfinite().all()
        return not bool(sum_over_ranks((~finite).float()))

    def _clip(self) -> Metrics:
        """Clip the gradient norm; return the norms before clipping, of each part and in total."""
        norms = {}
        for name, part in self.agent.named_children():
            gradients = [p.grad for p in part.parameters() if p.grad is not None]
            norms[f"gradient_norm/{name}"] = nn.utils.get_total_norm(gradients).to(self.agent.device)
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        nn.utils.clip_grads_with_norm_(self._parameters, self.spec.gradient_clip, total)
        return {**norms, "gradient_norm": total}

    def _step(self) -> None:
        self._skipped_in_a_row = 0
        factor = rate_factor(self.spec, self.updates)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.step()
        for module in self._committing:
            module.commit()
        self._discard_proposed()
        cast(Objective, self.objective).after_step()

    def _discard_proposed(self) -> None:
        for module in self._proposing:
            module.forget()

    def _skip(self, metrics: Mapping[str, Tensor]) -> None:
        self._discard_proposed()
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_UPDATES:
            broken = [name for name, value in metrics.items() if not bool(value.isfinite().all())]
            broken = broken or ["the loss of another rank"]
            raise DivergedError(
                f"{MAX_SKIPPED_UPDATES} updates in a row, up to update {self.updates + 1}, had a loss "
                f"or a gradient that is not finite. The first term that is not: {broken[0]} (all of "
                f"them, in the order in which they are computed: {', '.join(broken)}). "
                "A lower training.learning_rate may help."
            )

    def state(self) -> tuple[TensorTree, dict[str, Any]]:
        """Return the state for an exact resume: tensors, and facts for JSON."""
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
        """Restore a stored state; the caller loads the agent's weights."""
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


def _merge(metrics: Metrics, new: Metrics, share: float) -> None:
    """Merge a batch's metrics into those of earlier batches: weighted mean, or minimum and maximum."""
    for name, value in new.items():
        if name.endswith("_max"):
            metrics[name] = metrics.get(name, value).maximum(value)
        elif name.endswith("_min"):
            metrics[name] = metrics.get(name, value).minimum(value)
        else:
            metrics[name] = metrics.get(name, 0.0) + share * value
