"""The base objective, against a loop over transitions, discounts, critics and actions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batches import (
    CONTINUOUS,
    DISCRETE,
    SPACES,
    PackedTransitions,
    agent,
    random_batch,
    random_states,
)
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amago_standard.heads import EnsembleCritic, MLPActor
from amago_standard.objectives import AmagoObjective

few = settings(max_examples=8, deadline=None)
sequences = st.lists(st.integers(2, 6), min_size=1, max_size=4)
G, C = 3, 3


class SlowLoss:
    """The method's section 4, one number at a time. Draws come in the order in which ours are drawn."""

    def __init__(self, parts: tuple[MLPActor, EnsembleCritic, AmagoObjective], space: Any) -> None:
        self.actor, self.critic, self.objective = parts
        self.space, self.options = space, self.objective.options
        self.mean, self.second_moment = [0.0] * G, [100.0] * G

    def __call__(self, state: Tensor, batch: PackedTransitions, noise: list[Tensor]) -> Tensor:
        """Return the loss; ``noise`` is the target's and then the policy's, ``(M, G, A)``."""
        moves = range(len(batch.rows_M))
        with torch.no_grad():
            targets = [[self.target(state, batch, m, g, noise) for g in range(G)] for m in moves]
        for g in range(G):
            self.observe([targets[m][g] for m in moves], g)
        terms = [
            self.transition(state, batch, m, g, targets[m][g], noise) for m in moves for g in range(G)
        ]
        return sum(terms[1:], terms[0]) / len(terms)

    def target(
        self, state: Tensor, batch: PackedTransitions, m: int, g: int, noise: list[Tensor]
    ) -> float:
        row = int(batch.rows_M[m]) + 1
        actor, critic = self.objective.target_actor, self.objective.target_critic
        values = [
            float(self.policy_value(actor, critic, state[row], state[row], g, c, m, noise[0]))
            for c in range(C)
        ]
        reduced = min(values) if self.options.online_coef > 0 else sum(values) / C
        bootstrap = 0.0 if batch.terminated_M[m] else float(self.objective.discount_G[g]) * reduced
        return self.options.reward_scale * float(batch.reward_M[m]) + bootstrap

    def observe(self, column: list[float], g: int) -> None:
        beta = 5e-4 / (1 - (1 - 5e-4) ** 2)
        self.mean[g] += beta * (sum(column) / len(column) - self.mean[g])
        second_moment = sum(y * y for y in column) / len(column)
        self.second_moment[g] += beta * (second_moment - self.second_moment[g])

    def normalize(self, value: Any, g: int) -> Any:
        variance = min(max(self.second_moment[g] - self.mean[g] ** 2, 1e-4), 1e8)
        return (value - self.mean[g]) / variance**0.5

    def transition(
        self,
        state: Tensor,
        batch: PackedTransitions,
        m: int,
        g: int,
        target: float,
        noise: list[Tensor],
    ) -> Tensor:
        s = state[int(batch.rows_M[m])]
        action = batch.action[m]
        q = [self.normalize(self.value(self.critic, s, action, g, c), g) for c in range(C)]
        v = [
            self.normalize(
                self.policy_value(self.actor, self.critic, s, s.detach(), g, c, m, noise[1]), g
            )
            for c in range(C)
        ]
        critic = sum((q[c] - self.normalize(target, g)) ** 2 for c in range(C)) / C
        online = -torch.stack(v).min()
        better = sum(x.item() for x in q) > sum(x.item() for x in v)
        offline = -self.log_prob(s, action, g) if better else 0.0
        weights = self.options
        return (
            weights.online_coef * online + weights.offline_coef * offline + weights.critic_coef * critic
        )

    def value(self, critic: EnsembleCritic, s: Tensor, action: Tensor, g: int, c: int) -> Tensor:
        if self.space == DISCRETE:
            return 10.0 * critic.predict_all(s[None])[0, c, g, int(action)]
        return 10.0 * critic.predict(s[None], action.expand(1, G, 2))[0, c, g]

    def policy_value(
        self,
        actor: MLPActor,
        critic: EnsembleCritic,
        s_actor: Tensor,
        s_critic: Tensor,
        g: int,
        c: int,
        m: int,
        noise: Tensor,
    ) -> Tensor:
        """V of the policy; its gradients reach the actor and, through it alone, the state."""
        policy = actor(s_actor[None])
        if self.space == DISCRETE:
            values = [
                policy.probs[0, g, a] * self.value(critic, s_critic, torch.tensor(a), g, c).detach()
                for a in range(4)
            ]
            return sum(values[1:], values[0])
        action = torch.tanh(policy.mean[0, g] + policy.log_std[0, g].exp() * noise[m, g])
        kept = [parameter.requires_grad for parameter in critic.parameters()]
        critic.requires_grad_(False)
        value = self.value(critic, s_critic, action, g, c)
        for parameter, trained in zip(critic.parameters(), kept, strict=True):
            parameter.requires_grad_(trained)
        return value

    def log_prob(self, s: Tensor, action: Tensor, g: int) -> Tensor:
        policy = self.actor(s[None])
        if self.space == DISCRETE:
            return policy.probs[0, g, int(action)].log()
        return policy.log_prob(action.expand(1, G, 2))[0, g]


def gradients(loss: Tensor, state: Tensor, *modules: nn.Module) -> list[Tensor]:
    """Return the loss's gradients with regard to the states and all parameters; zeros if none."""
    inputs = [state, *(parameter for module in modules for parameter in module.parameters())]
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [
        torch.zeros_like(x) if gradient is None else gradient
        for x, gradient in zip(inputs, found, strict=True)
    ]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("online_coef", [0.0, 1.0])
@few
@given(lengths=sequences, seed=st.integers(0, 1000))
def test_the_loss_and_its_gradients_are_those_of_a_loop(
    space: spaces.Space[Any], online_coef: float, lengths: list[int], seed: int
) -> None:
    parts = agent(space, online_coef=online_coef, offline_coef=0.7)
    actor, critic, objective = parts
    batch = random_batch(lengths, space, seed)
    state = random_states(batch, seed)
    torch.manual_seed(seed)
    noise = [torch.randn(len(batch.rows_M), G, 2, dtype=torch.float64) for _ in range(2)]
    torch.manual_seed(seed)
    loss, _ = objective.loss(state, batch)
    expected = SlowLoss(parts, space)(state, batch, noise)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, slow = (gradients(each, state, actor, critic) for each in (loss, expected))
    for gradient, wanted in zip(ours, slow, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_policy_gradient_reaches_no_critic_and_the_state_through_the_actor_alone(
    space: spaces.Space[Any],
) -> None:
    actor, critic, objective = agent(space, critic_coef=0.0, offline_coef=0.0)
    batch = random_batch([4, 2, 3], space, seed=1)
    state = random_states(batch)
    objective.loss(state, batch)[0].backward()
    assert all(p.grad is None or not p.grad.any() for p in critic.parameters())
    assert all(p.grad is not None and p.grad.any() for p in actor.parameters())
    assert state.grad is not None
    assert state.grad[batch.rows_M].abs().sum(1).gt(0).all()
    actor.forward = lambda s, forward=actor.forward: forward(s.detach())  # type: ignore[method-assign]
    state.grad = None
    objective.loss(state, batch)[0].backward()
    assert state.grad is None or not state.grad.any()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_critics_are_trained_again_after_the_policy_gradient(space: spaces.Space[Any]) -> None:
    _, critic, objective = agent(space)
    batch = random_batch([4, 2], space, seed=1)
    objective.loss(random_states(batch), batch)[0].backward()
    assert all(p.requires_grad and p.grad is not None for p in critic.parameters())


def test_the_state_after_the_last_action_gets_no_gradient() -> None:
    _, _, objective = agent(DISCRETE)
    batch = random_batch([4, 2], DISCRETE, seed=1)
    state = random_states(batch)
    objective.loss(state, batch)[0].backward()
    assert state.grad is not None
    assert not state.grad[[3, 5]].any()


def test_only_actions_better_than_the_policy_are_imitated() -> None:
    actor, critic, objective = agent(DISCRETE, critic_coef=0.0, online_coef=0.0, offline_coef=1.0)
    batch = random_batch([3], DISCRETE, seed=0)
    state = random_states(batch)
    with torch.no_grad():
        s = state[batch.rows_M]
        every = critic.value(critic.predict_all(s)).mean(1)
        value = (actor(s).probs * every).sum(-1)
    for batch.action in (every[..., -1].argmax(-1), every[..., -1].argmin(-1)):
        chosen = every.gather(-1, batch.action[:, None, None].expand(-1, G, 1))[..., 0]
        log_prob = actor(s).log_prob(batch.action[:, None].expand(-1, G))
        wanted = -((chosen > value) * log_prob).mean()
        assert objective.loss(state, batch)[0].item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_truncation_bootstraps_and_termination_does_not(space: spaces.Space[Any]) -> None:
    _, _, objective = agent(space)
    batch = random_batch([2], space, seed=0)
    targets = []
    for terminated in (False, True):
        batch.terminated_M[:] = terminated
        targets.append(objective.loss(random_states(batch), batch)[1]["target"].item())
    assert targets[1] == pytest.approx(10 * batch.reward_M.item())
    assert targets[0] != pytest.approx(targets[1])


def test_targets_take_the_minimum_with_the_online_term_and_the_mean_without() -> None:
    targets = {}
    for online_coef in (0.0, 1.0):
        _, _, objective = agent(DISCRETE, online_coef=online_coef)
        batch = random_batch([5, 4], DISCRETE, seed=0)
        batch.terminated_M[:] = False
        targets[online_coef] = objective.loss(random_states(batch), batch)[1]["target"].item()
    assert targets[1.0] < targets[0.0]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_targets_never_receive_gradients_and_move_by_tau_after_a_step(
    space: spaces.Space[Any],
) -> None:
    actor, critic, objective = agent(space, tau=0.25)
    batch = random_batch([4, 3], space, seed=0)
    objective.loss(random_states(batch), batch)[0].backward()
    assert all(parameter.grad is None for parameter in objective.parameters())
    pairs = [(objective.target_actor, actor), (objective.target_critic, critic)]
    moved = [
        0.75 * old.detach() + 0.25 * new.detach()
        for target, online in pairs
        for old, new in zip(target.parameters(), online.parameters(), strict=True)
    ]
    objective.after_step()
    for parameter, wanted in zip(objective.parameters(), moved, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-12, atol=1e-12)


def test_the_online_networks_are_not_saved_a_second_time() -> None:
    _, _, objective = agent(DISCRETE)
    assert {name.split(".")[0] for name in objective.state_dict()} == {"target_actor", "target_critic"}


def test_a_loss_that_is_never_committed_changes_nothing_that_is_saved() -> None:
    _, critic, objective = agent(DISCRETE)
    batch = random_batch([4, 3], DISCRETE, seed=0)
    saved = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
    first = objective.loss(random_states(batch), batch)[0]
    assert all(torch.equal(saved[name], tensor) for name, tensor in critic.state_dict().items())
    assert torch.equal(objective.loss(random_states(batch), batch)[0], first)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_metrics_are_detached_finite_scalars(space: spaces.Space[Any]) -> None:
    _, _, objective = agent(space)
    batch = random_batch([2], space, seed=0)
    metrics = objective.loss(random_states(batch), batch)[1]
    assert all(metric.shape == () and not metric.requires_grad for metric in metrics.values())
    assert all(bool(metric.isfinite()) for metric in metrics.values())
    assert ("entropy" in metrics) == (space != CONTINUOUS)
