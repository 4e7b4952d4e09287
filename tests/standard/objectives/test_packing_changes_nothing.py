"""Packing changes nothing: the loss of a packed batch equals that of its sequences."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
import torch
from batches import ALL_SPACES, CRITICS, DISCOUNTS, PackedTransitions, random_batch
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry import (
    ActorContext,
    BackboneContext,
    CriticContext,
    EncoderContext,
    ObjectiveContext,
    SequenceLayout,
)
from amago_registry.protocols import Backbone
from amago_standard.backbones import GRU, MLPBackbone, Transformer
from amago_standard.backbones.options import GRUOptions, MLPBackboneOptions, TransformerOptions
from amago_standard.encoders import MLPEncoder
from amago_standard.encoders.options import MLPEncoderOptions
from amago_standard.heads import MLPActor
from amago_standard.heads.options import MLPActorOptions
from amago_standard.objectives import AmagoObjective
from amago_standard.objectives.options import AmagoOptions

LENGTHS = (5, 2, 9, 2, 2, 7)
BACKBONES: dict[str, tuple[Any, Any]] = {
    "transformer": (Transformer, TransformerOptions(layers=2, width=16, heads=4, dropout=0.0)),
    "transformer with a window": (
        Transformer,
        TransformerOptions(layers=2, width=16, heads=4, dropout=0.0, window=3),
    ),
    "gru": (GRU, GRUOptions(layers=2, width=16)),
    "mlp": (MLPBackbone, MLPBackboneOptions(layers=1, width=16)),
}

Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor]


class Agent(nn.Module):
    """Everything that is trained, in float64."""

    def __init__(
        self, space: spaces.Space[Any], backbone: tuple[Any, Any], critic: str = "ensemble"
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        observations = spaces.Dict({"x": spaces.Box(-9, 9, (3,))})
        self.encoder = MLPEncoder(
            EncoderContext(observation_space=observations, action_space=spaces.Discrete(4)),
            MLPEncoderOptions(hidden_dims=(16,), out_dim=8, normalize=False),
        )
        part, options = backbone
        context = BackboneContext(
            in_dim=8, context_length=8, build=lambda part, context: part.build(context)
        )
        self.backbone: Backbone = part(context, options)
        of_heads = {"in_dim": 16, "action_space": space, "discounts": DISCOUNTS}
        self.actor = MLPActor(ActorContext(**of_heads), MLPActorOptions(hidden_dims=(8,)))
        of_critic, options = CRITICS[critic]
        self.critic = of_critic(CriticContext(**of_heads), options)
        self.objective = AmagoObjective(
            ObjectiveContext(
                in_dim=self.backbone.out_dim,
                actor=self.actor,
                critic=self.critic,
                action_space=space,
                discounts=DISCOUNTS,
            ),
            AmagoOptions(target_members=3, offline_coef=1.0, n_step=3),
        )
        # The spread of the targets is that of the whole batch by definition.
        self.critic.observe = lambda target_NG: None  # type: ignore[method-assign]
        self.double().train()

    def loss(self, inputs: Inputs, batch: PackedTransitions) -> Tensor:
        x, prev_action, prev_reward = inputs
        vectors = self.encoder({"x": x}, prev_action, prev_reward)
        return self.objective.loss(self.backbone(vectors, batch.layout), batch)[0]

    def gradients(self, inputs: Inputs, batch: PackedTransitions) -> list[Tensor]:
        self.zero_grad()
        self.loss(inputs, batch).backward()
        return [p.grad.clone() for p in self.parameters() if p.grad is not None]


@pytest.fixture(autouse=True)
def _nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 0.3))
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.4))


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
@pytest.mark.parametrize("space", ALL_SPACES.values(), ids=ALL_SPACES)
def test_a_packed_batch_is_the_mean_of_its_sequences_by_their_transitions(
    space: spaces.Space[Any], backbone: tuple[Any, Any]
) -> None:
    check_against_one_by_one(Agent(space, backbone), random_batch(LENGTHS, space, seed=0))


@pytest.mark.parametrize("critic", CRITICS)
def test_so_it_is_with_every_critic_and_under_masks(critic: str) -> None:
    space = ALL_SPACES["discrete"]
    batch = random_batch(LENGTHS, space, seed=0, masked=True)
    check_against_one_by_one(Agent(space, BACKBONES["transformer"], critic), batch)


def check_against_one_by_one(agent: Agent, batch: PackedTransitions) -> None:
    """Compare loss and every gradient with the weighted sum over sequences run one by one."""
    generator = torch.Generator().manual_seed(1)
    rows = batch.layout.timesteps
    inputs = tuple(
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((rows, 3), (rows, 4), (rows,))
    )
    packed_loss, packed_gradients = agent.loss(inputs, batch), agent.gradients(inputs, batch)
    loss, total = torch.zeros(()).double(), [torch.zeros_like(g) for g in packed_gradients]
    for sequence, length in enumerate(LENGTHS):
        own = batch.layout.sequence_N == sequence
        mine, alone = tuple(x[own] for x in inputs), batch.alone(sequence)
        share = (length - 1) / len(batch.rows_M)
        loss += share * agent.loss(mine, alone)
        for so_far, gradient in zip(total, agent.gradients(mine, alone), strict=True):
            so_far += share * gradient
    torch.testing.assert_close(packed_loss, loss, rtol=1e-9, atol=1e-9)
    for packed, summed in zip(packed_gradients, total, strict=True):
        torch.testing.assert_close(packed, summed, rtol=1e-9, atol=1e-9)


def test_the_order_of_sequences_in_a_pack_changes_nothing() -> None:
    space, backbone = ALL_SPACES["discrete"], BACKBONES["transformer"]
    agent, batch = Agent(space, backbone), random_batch((3, 6), space, seed=0)
    generator = torch.Generator().manual_seed(1)
    inputs = tuple(
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((9, 3), (9, 4), (9,))
    )
    swapped = PackedTransitions(
        torch.tensor([0, 1, 2, 3, 4, 6, 7]),
        torch.cat([batch.action[2:], batch.action[:2]]),
        None,
        torch.cat([batch.reward_M[2:], batch.reward_M[:2]]),
        torch.cat([batch.terminated_M[2:], batch.terminated_M[:2]]),
        SequenceLayout.build((6, 3)),
    )
    moved = tuple(torch.cat([x[3:], x[:3]]) for x in inputs)
    torch.testing.assert_close(
        agent.loss(moved, swapped), agent.loss(inputs, batch), rtol=1e-9, atol=1e-9
    )
