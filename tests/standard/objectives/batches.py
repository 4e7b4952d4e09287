"""Random packed batches and small agents for the tests of objectives.

Shape suffixes: N = timesteps, M = transitions, A = action features, D = features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry import ActorContext, CriticContext, ObjectiveContext, SequenceLayout
from amago_registry.actions import action_width
from amago_standard.heads import EnsembleCritic, HLGaussCritic, MLPActor, TwoHotCritic
from amago_standard.heads.options import (
    EnsembleCriticOptions,
    HLGaussOptions,
    MLPActorOptions,
    TwoHotOptions,
)
from amago_standard.objectives import AmagoObjective
from amago_standard.objectives.options import Amago2Options, AmagoOptions

DISCOUNTS = (0.5, 0.9, 0.99)
WIDTH = 5
DISCRETE = spaces.Discrete(4)
CONTINUOUS = spaces.Box(-1.0, 1.0, (2,))
SPACES = {"discrete": DISCRETE, "continuous": CONTINUOUS}
ALL_SPACES = {
    **SPACES,
    "bits": spaces.MultiBinary(3),
    "factors": spaces.MultiDiscrete([3, 2]),
}
CRITICS = {
    "ensemble": (EnsembleCritic, EnsembleCriticOptions(members=3, hidden_dims=(8,))),
    "ensemble of action inputs": (
        EnsembleCritic,
        EnsembleCriticOptions(members=3, hidden_dims=(8,), enumerate_actions=False),
    ),
    "two-hot": (TwoHotCritic, TwoHotOptions(members=3, hidden_dims=(8,), bins=9, low=-40, high=40)),
    "hl-gauss": (HLGaussCritic, HLGaussOptions(members=3, hidden_dims=(8,), low=-40, high=40)),
    "two-hot of all actions": (
        TwoHotCritic,
        TwoHotOptions(members=3, hidden_dims=(8,), bins=9, low=-40, high=40, enumerate_actions=True),
    ),
}


@dataclass
class PackedTransitions:
    """The fields of a batch that an objective reads."""

    rows_M: Tensor
    action: Tensor
    action_mask_NA: Tensor | None
    reward_M: Tensor
    terminated_M: Tensor
    layout: SequenceLayout

    def alone(self, sequence: int) -> PackedTransitions:
        """Return the transitions of one sequence as a batch of their own."""
        mine = self.layout.sequence_N[self.rows_M] == sequence
        start = int(self.layout.offsets[sequence])
        mask = self.action_mask_NA
        return PackedTransitions(
            self.rows_M[mine] - start,
            self.action[mine],
            None if mask is None else mask[self.layout.sequence_N == sequence],
            self.reward_M[mine],
            self.terminated_M[mine],
            SequenceLayout.build([self.layout.lengths[sequence]]),
        )


def random_batch(
    lengths: Sequence[int], space: spaces.Space[Any], seed: int, *, masked: bool = False
) -> PackedTransitions:
    """Return a batch of sequences of ``lengths`` timesteps; some of them end, in any step.

    Stored actions are among those that a mask allows.
    """
    generator = torch.Generator().manual_seed(seed)
    layout = SequenceLayout.build(lengths)
    is_last = torch.zeros(layout.timesteps, dtype=torch.bool)
    is_last[layout.offsets[1:] - 1] = True
    rows = torch.arange(layout.timesteps)[~is_last]
    action = _random_actions(space, len(rows), generator)
    mask = None
    if masked:
        mask = torch.rand(layout.timesteps, action_width(space), generator=generator) < 0.5
        taken = action[:, None] if action.dim() == 1 else action
        offset = 0
        for axis, choices in enumerate(getattr(space, "nvec", [getattr(space, "n", 0)])):
            mask[rows, offset + taken[:, axis]] = True
            offset += int(choices)
    return PackedTransitions(
        rows,
        action,
        mask,
        torch.randn(rows.shape, generator=generator, dtype=torch.float64),
        torch.rand(rows.shape, generator=generator) < 0.3,
        layout,
    )


def _random_actions(space: spaces.Space[Any], rows: int, generator: torch.Generator) -> Tensor:
    match space:
        case spaces.Discrete():
            return torch.randint(int(space.n), (rows,), generator=generator)
        case spaces.MultiBinary():
            return torch.randint(2, (rows, int(space.n)), generator=generator).to(torch.int8)
        case spaces.MultiDiscrete():
            axes = [torch.randint(int(n), (rows,), generator=generator) for n in space.nvec]
            return torch.stack(axes, dim=-1)
    return 2 * torch.rand(rows, 2, generator=generator, dtype=torch.float64) - 1


def agent(
    space: spaces.Space[Any], critic: str = "ensemble", **options: Any
) -> tuple[MLPActor, Any, AmagoObjective]:
    """Return an actor, a critic and their objective, whose targets have drifted from both."""
    torch.manual_seed(0)
    of_heads = {"in_dim": WIDTH, "action_space": space, "discounts": DISCOUNTS}
    actor = MLPActor(ActorContext(**of_heads), MLPActorOptions(hidden_dims=(8,)))
    part, of_critic = CRITICS[critic]
    built = part(CriticContext(**of_heads), of_critic)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    context = ObjectiveContext(actor=actor, critic=built, **of_heads)
    kind = Amago2Options if options.pop("multi_task", False) else AmagoOptions
    objective = AmagoObjective(context, kind.model_validate({"target_members": 3, **options}))
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return actor.double(), built.double(), objective.double()


def random_states(batch: PackedTransitions, seed: int = 0) -> Tensor:
    """Return state representations ``(N, WIDTH)`` that take gradients."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch.layout.timesteps, WIDTH)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
