"""Random packed batches and small agents for the tests of objectives.

Shape suffixes: N = timesteps, M = transitions, D = features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry import ActorContext, CriticContext, ObjectiveContext, SequenceLayout
from amago_standard.heads import EnsembleCritic, MLPActor
from amago_standard.heads.options import EnsembleCriticOptions, MLPActorOptions
from amago_standard.objectives import AmagoObjective
from amago_standard.objectives.options import AmagoOptions

DISCOUNTS = (0.5, 0.9, 0.99)
WIDTH = 5
DISCRETE = spaces.Discrete(4)
CONTINUOUS = spaces.Box(-1.0, 1.0, (2,))
SPACES = {"discrete": DISCRETE, "continuous": CONTINUOUS}


@dataclass
class PackedTransitions:
    """What an objective sees of a batch."""

    rows_M: Tensor
    action: Tensor
    reward_M: Tensor
    terminated_M: Tensor
    layout: SequenceLayout

    def alone(self, sequence: int) -> PackedTransitions:
        """Return the transitions of one sequence as a batch of their own."""
        mine = self.layout.sequence_N[self.rows_M] == sequence
        start = int(self.layout.offsets[sequence])
        return PackedTransitions(
            self.rows_M[mine] - start,
            self.action[mine],
            self.reward_M[mine],
            self.terminated_M[mine],
            SequenceLayout.build([self.layout.lengths[sequence]]),
        )


def random_batch(lengths: Sequence[int], space: spaces.Space[Any], seed: int) -> PackedTransitions:
    """Return a batch of sequences of ``lengths`` timesteps; some of them end, in any step."""
    generator = torch.Generator().manual_seed(seed)
    layout = SequenceLayout.build(lengths)
    is_last = torch.zeros(layout.timesteps, dtype=torch.bool)
    is_last[layout.offsets[1:] - 1] = True
    rows = torch.arange(layout.timesteps)[~is_last]
    if isinstance(space, spaces.Discrete):
        action = torch.randint(int(space.n), rows.shape, generator=generator)
    else:
        action = 2 * torch.rand(len(rows), 2, generator=generator, dtype=torch.float64) - 1
    return PackedTransitions(
        rows,
        action,
        torch.randn(rows.shape, generator=generator, dtype=torch.float64),
        torch.rand(rows.shape, generator=generator) < 0.3,
        layout,
    )


def agent(space: spaces.Space[Any], **options: Any) -> tuple[MLPActor, EnsembleCritic, AmagoObjective]:
    """Return an actor, a critic and their objective, whose targets have drifted from both."""
    torch.manual_seed(0)
    of_heads = {"in_dim": WIDTH, "action_space": space, "discounts": DISCOUNTS}
    actor = MLPActor(ActorContext(**of_heads), MLPActorOptions(hidden_dims=(8,)))
    critic = EnsembleCritic(
        CriticContext(**of_heads), EnsembleCriticOptions(members=3, hidden_dims=(8,))
    )
    context = ObjectiveContext(in_dim=WIDTH, actor=actor, critic=critic, discounts=DISCOUNTS)
    objective = AmagoObjective(context, AmagoOptions(**{"target_members": 3, **options}))
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return actor.double(), critic.double(), objective.double()


def random_states(batch: PackedTransitions, seed: int = 0) -> Tensor:
    """Return state representations ``(N, WIDTH)`` that take gradients."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch.layout.timesteps, WIDTH)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
