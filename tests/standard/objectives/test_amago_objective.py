"""The objectives, against a loop over transitions, discounts, critics and actions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from batches import (
    ALL_SPACES,
    CONTINUOUS,
    CRITICS,
    DISCOUNTS,
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
from pydantic import ValidationError
from torch import Tensor, nn

from amago_registry import ObjectiveContext
from amago_registry.errors import AmagoError
from amago_standard.heads import EnsembleCritic, HLGaussCritic
from amago_standard.heads.distributions import ClippedCategorical
from amago_standard.objectives import AmagoObjective, BehaviorCloning
from amago_standard.objectives.options import (
    Amago2Options,
    AmagoOptions,
    BehaviorCloningOptions,
    FilterOptions,
)

few = settings(max_examples=8, deadline=None)
sequences = st.lists(st.integers(2, 6), min_size=1, max_size=4)
G, C, K = 3, 3, 2


class SlowLoss:
    """The method's sections 4 and 5, one number at a time.

    Sampled actions are drawn for the whole batch, in the order in which ours are; everything that is
    computed from them, for one transition, discount, critic and action at a time.
    """

    def __init__(self, parts: tuple[Any, Any, AmagoObjective], space: Any) -> None:
        self.actor, self.critic, self.objective = parts
        self.space, self.options = space, self.objective.options
        self.exact = self.critic.enumerates
        self.scalar = isinstance(self.critic, EnsembleCritic)
        self.mean, self.second_moment = [0.0] * G, [100.0] * G

    def __call__(self, state: Tensor, batch: PackedTransitions) -> Tensor:
        """Return the loss."""
        self.state, self.batch = state, batch
        moves = range(len(batch.rows_M))
        policy = self.policy(self.actor, batch.rows_M)
        with torch.no_grad():
            self.next_policy = self.policy(self.objective.target_actor, batch.rows_M + 1)
            if not self.exact:
                self.next_drawn = [self.draw(self.next_policy) for _ in range(K)]
            targets = [[self.target(m, g, self.options.n_step) for g in range(G)] for m in moves]
        if self.scalar:
            for g in range(G):
                self.observe([targets[m][g] for m in moves], g)
        if not self.exact and self.options.online_coef > 0:
            drawn = [policy.rsample() for _ in range(K)]
        elif not self.exact:
            drawn = [self.draw(policy).detach() for _ in range(K)]
        else:
            drawn = []
        terms = [self.transition(m, g, targets[m], policy, drawn) for m in moves for g in range(G)]
        return sum(terms[1:], terms[0]) / len(terms)

    def policy(self, actor: Any, rows: Tensor) -> Any:
        mask = self.batch.action_mask_NA
        return actor(self.state[rows], None if mask is None else mask[rows])

    def draw(self, policy: Any) -> Tensor:
        return self.vector(policy.sample())

    def vector(self, action: Tensor) -> Tensor:
        """One-hots, written out."""
        if isinstance(self.space, spaces.Box | spaces.MultiBinary):
            return action.double()
        nvec = getattr(self.space, "nvec", [getattr(self.space, "n", 0)])
        factors = action[..., None] if isinstance(self.space, spaces.Discrete) else action
        parts = [
            (factors[..., axis, None] == torch.arange(int(n))).double() for axis, n in enumerate(nvec)
        ]
        return torch.cat(parts, -1)

    def target(self, m: int, g: int, steps: int) -> float:
        """r + gamma (the next one's target with one step less, or a value at the end)."""
        reward = self.options.reward_scale * float(self.batch.reward_M[m])
        if self.batch.terminated_M[m]:
            return reward
        row, rows = int(self.batch.rows_M[m]), self.batch.rows_M.tolist()
        gamma = float(self.objective.discount_G[g])
        if steps > 1 and row + 1 in rows:
            return reward + gamma * self.target(m + 1, g, steps - 1)
        critic = self.objective.target_critic
        values = [
            float(self.policy_value(critic, row + 1, self.next_policy, m, g, c, self.drawn_next()))
            for c in range(C)
        ]
        return reward + gamma * (min(values) if self.options.online_coef > 0 else sum(values) / C)

    def drawn_next(self) -> list[Tensor]:
        return [] if self.exact else self.next_drawn

    def observe(self, column: list[float], g: int) -> None:
        beta = 5e-4 / (1 - (1 - 5e-4) ** 2)
        self.mean[g] += beta * (sum(column) / len(column) - self.mean[g])
        second_moment = sum(y * y for y in column) / len(column)
        self.second_moment[g] += beta * (second_moment - self.second_moment[g])

    def normalize(self, value: Any, g: int) -> Any:
        if not self.scalar:
            return value
        variance = min(max(self.second_moment[g] - self.mean[g] ** 2, 1e-4), 1e8)
        return (value - self.mean[g]) / variance**0.5

    def transition(self, m: int, g: int, target: list[float], policy: Any, drawn: Any) -> Tensor:
        row, action = int(self.batch.rows_M[m]), self.batch.action[m]
        predictions = [self.predict(self.critic, self.state[row], action, g, c) for c in range(C)]
        q = [self.normalize(self.in_return(self.critic, p), g) for p in predictions]
        v = [
            self.normalize(self.policy_value(self.critic, row, policy, m, g, c, drawn), g)
            for c in range(C)
        ]
        critic = sum(self.error(p, target[g], g) for p in predictions) / C
        online = -torch.stack(v).min() if self.options.online_coef > 0 else 0.0
        advantage = sum(x.item() for x in q) / C - sum(x.item() for x in v) / C
        if drawn and all(torch.equal(each[m, g], self.vector(action)) for each in drawn):
            advantage = 0.0  # Exactly: nothing is gained over itself.
        mask = None if self.batch.action_mask_NA is None else self.batch.action_mask_NA[row, None]
        alone = self.actor(self.state[row, None], mask)
        log_prob = alone.log_prob(action.expand(1, G, *action.shape))[0, g]
        weights = self.options
        return (
            weights.online_coef * online
            - weights.offline_coef * self.weight(advantage) * log_prob
            + weights.critic_coef * critic
        )

    def weight(self, advantage: float) -> float:
        match self.options.filter.kind:
            case "binary":
                return 1.0 if advantage > 0 else 0.0
            case "exponential":
                return max(math.exp(advantage), 1e-7)
            case "leaky-ramp":
                steep = advantage > 0.01
                ramp = (advantage - 0.01) / 2 * (1.0 if steep else 0.05)
                return min(max(ramp + 0.01 + 0.05 * 0.01 / 2, 1e-7), 10.0)
        return 1.0

    def error(self, prediction: Tensor, target: float, g: int) -> Any:
        if self.scalar:
            return (self.normalize(10.0 * prediction, g) - self.normalize(target, g)) ** 2
        if isinstance(self.critic, HLGaussCritic):
            log_probs = prediction.log_softmax(-1)
            return -sum(p * q for p, q in zip(self.bell(target), log_probs, strict=True))
        values = self.critic.value_K.tolist()
        target = min(max(target, values[0]), values[-1])
        below = max(k for k in range(len(values) - 1) if values[k] <= target)
        upper = (target - values[below]) / (values[below + 1] - values[below])
        log_probs = prediction.log_softmax(-1)
        return -(1 - upper) * log_probs[below] - upper * log_probs[below + 1]

    def bell(self, target: float) -> list[float]:
        """Mass of a Gaussian around the target within half a width of each bin, in symlog space."""
        places = self.critic.position_K.tolist()
        width = (places[-1] - places[0]) / (len(places) - 1)
        center = math.copysign(math.log1p(abs(target)), target)
        center = min(max(center, places[0]), places[-1])
        edges = [places[0] - width / 2, *(place + width / 2 for place in places)]
        below = [math.erf((edge - center) / (0.75 * width * math.sqrt(2))) for edge in edges]
        masses = [upper - lower for lower, upper in pairwise(below)]
        return [mass / sum(masses) for mass in masses]

    def predict(self, critic: Any, s: Tensor, action: Tensor, g: int, c: int) -> Tensor:
        """Return the prediction for one stored action."""
        if self.exact:
            return critic.predict_all(s[None])[0, c, g, int(action)]
        return critic.predict(s[None], self.vector(action).expand(1, G, -1))[0, c, g]

    def in_return(self, critic: Any, prediction: Tensor) -> Tensor:
        if self.scalar:
            return 10.0 * prediction
        return (prediction.softmax(-1) * critic.value_K).sum()

    def policy_value(
        self, critic: Any, row: int, policy: Any, m: int, g: int, c: int, drawn: list[Tensor]
    ) -> Tensor:
        """V of the policy; its gradients reach the actor and, through it alone, the state."""
        s = self.state[row].detach()
        if self.exact:
            values = [
                policy.probs[m, g, a]
                * self.in_return(critic, self.predict(critic, s, torch.tensor(a), g, c)).detach()
                for a in range(int(self.space.n))
            ]
            return sum(values[1:], values[0])
        kept = [parameter.requires_grad for parameter in critic.parameters()]
        critic.requires_grad_(False)
        values = [
            self.in_return(critic, critic.predict(s[None], action[m, None])[0, c, g])
            for action in drawn
        ]
        for parameter, trained in zip(critic.parameters(), kept, strict=True):
            parameter.requires_grad_(trained)
        return sum(values[1:], values[0]) / K


def gradients(loss: Tensor, state: Tensor, *modules: nn.Module) -> list[Tensor]:
    """Return the loss's gradients with regard to the states and all parameters; zeros if none."""
    inputs = [state, *(parameter for module in modules for parameter in module.parameters())]
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [
        torch.zeros_like(x) if gradient is None else gradient
        for x, gradient in zip(inputs, found, strict=True)
    ]


def check_against_the_loop(
    space: spaces.Space[Any],
    critic: str,
    lengths: list[int],
    seed: int,
    *,
    masked: bool = False,
    **options: Any,
) -> None:
    """Compare loss and all gradients with the slow loss's."""
    counts = {"target_actions": K, "advantage_actions": K, "offline_coef": 0.7}
    parts = agent(space, critic, **{**counts, **options})
    batch = random_batch(lengths, space, seed, masked=masked)
    state = random_states(batch, seed)
    torch.manual_seed(seed)
    loss, _ = parts[2].loss(state, batch)
    torch.manual_seed(seed)
    expected = SlowLoss(parts, space)(state, batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, slow = (gradients(each, state, *parts[:2]) for each in (loss, expected))
    for gradient, wanted in zip(ours, slow, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("space", ALL_SPACES.values(), ids=ALL_SPACES)
@pytest.mark.parametrize("online_coef", [0.0, 1.0])
@few
@given(lengths=sequences, seed=st.integers(0, 1000), steps=st.integers(1, 4))
def test_the_loss_and_its_gradients_are_those_of_a_loop(
    space: spaces.Space[Any], online_coef: float, lengths: list[int], seed: int, steps: int
) -> None:
    check_against_the_loop(space, "ensemble", lengths, seed, online_coef=online_coef, n_step=steps)


@pytest.mark.parametrize("critic", CRITICS)
@few
@given(lengths=sequences, seed=st.integers(0, 1000), online_coef=st.sampled_from([0.0, 1.0]))
def test_any_critic_fits_and_the_loss_is_that_of_a_loop(
    critic: str, lengths: list[int], seed: int, online_coef: float
) -> None:
    check_against_the_loop(DISCRETE, critic, lengths, seed, online_coef=online_coef)


@pytest.mark.parametrize("space", ALL_SPACES.values(), ids=ALL_SPACES)
@few
@given(lengths=sequences, seed=st.integers(0, 1000))
def test_the_multi_task_form_is_that_of_a_loop(
    space: spaces.Space[Any], lengths: list[int], seed: int
) -> None:
    check_against_the_loop(space, "two-hot", lengths, seed, multi_task=True, offline_coef=1.0)


def test_the_multi_task_form_differs_in_its_weights_alone() -> None:
    options, base = Amago2Options(), AmagoOptions()
    changed = {
        name for name in type(base).model_fields if getattr(options, name) != getattr(base, name)
    }
    assert changed == {"online_coef", "offline_coef", "advantage_actions"}
    assert (options.online_coef, options.offline_coef, options.advantage_actions) == (0, 1, 3)


@pytest.mark.parametrize("kind", ["binary", "exponential", "leaky-ramp", "none"])
@few
@given(lengths=sequences, seed=st.integers(0, 1000))
def test_every_filter_weighs_as_its_formula(kind: str, lengths: list[int], seed: int) -> None:
    check_against_the_loop(DISCRETE, "ensemble", lengths, seed, filter={"kind": kind})


@pytest.mark.parametrize("space", ["discrete", "factors"])
@pytest.mark.parametrize("critic", ["ensemble", "two-hot"])
@few
@given(lengths=sequences, seed=st.integers(0, 1000))
def test_masked_actions_count_in_no_term(
    space: str, critic: str, lengths: list[int], seed: int
) -> None:
    check_against_the_loop(ALL_SPACES[space], critic, lengths, seed, masked=True)


def test_what_a_masked_action_is_worth_changes_nothing() -> None:
    """Raise the target's and the critic's value of an action that is never allowed."""
    losses = []
    for bonus in (0.0, 50.0):
        _, critic, objective = agent(DISCRETE)
        batch = random_batch([4, 3], DISCRETE, seed=0)
        batch.action.clamp_(max=2)
        batch.action_mask_NA = torch.tensor([True, True, True, False]).repeat(7, 1)
        with torch.no_grad():
            for part in (critic, objective.target_critic):
                part.net.layers[-1].bias.view(C, 1, G, 4)[..., 3] += bonus
        losses.append(objective.loss(random_states(batch), batch)[0].item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("critic", ["ensemble", "ensemble of action inputs"])
@pytest.mark.parametrize(
    ("off", "asked"),
    [
        ({"critic_coef": 0.0}, {"critic", "rsample"}),
        ({"online_coef": 0.0}, {"critic", "target", "sample"}),
        ({"offline_coef": 0.0}, {"critic", "target", "rsample", "sample"}),
        ({"online_coef": 0.0, "offline_coef": 0.0}, {"critic", "target", "sample"}),
        ({"critic_coef": 0.0, "online_coef": 0.0, "filter": {"kind": "none"}}, set()),
        ({"online_coef": 0.0, "filter": {"kind": "none"}}, {"critic", "target", "sample"}),
    ],
    ids=["critic", "online", "offline", "actor", "all but imitation", "online and filter"],
)
def test_a_term_that_is_off_is_not_computed(
    critic: str, off: dict[str, Any], asked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, online, objective = agent(DISCRETE, critic, **off)
    calls: list[str] = []

    def count(what: object, method: str, name: str) -> None:
        honest = getattr(what, method)
        monkeypatch.setattr(what, method, lambda *given: calls.append(name) or honest(*given))

    for part, name in ((online, "critic"), (objective.target_critic, "target")):
        count(part, "predict", name)
        count(part, "predict_all", name)
    for method in ("sample", "rsample"):
        count(ClippedCategorical, method, method)
    batch = random_batch([4, 3], DISCRETE, seed=0)
    metrics = objective.loss(random_states(batch), batch)[1]
    assert set(calls) == (asked - {"sample", "rsample"} if online.enumerates else asked)
    terms = {"critic", "online", "offline"} - {name.removesuffix("_coef") for name in off}
    assert {name for name in metrics if name.startswith("loss/")} == {f"loss/{t}" for t in terms}


def test_v_is_valued_once_and_only_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    _, online, objective = agent(DISCRETE, "two-hot", online_coef=0.0, filter={"kind": "none"})
    calls = []
    honest = online.predict
    monkeypatch.setattr(online, "predict", lambda *given: calls.append(1) or honest(*given))
    batch = random_batch([4, 3], DISCRETE, seed=0)
    objective.loss(random_states(batch), batch)
    assert len(calls) == 1  # Of the stored actions; the value of the policy is not computed.


def test_an_objective_without_terms_says_which_to_set() -> None:
    with pytest.raises(AmagoError) as caught:
        agent(DISCRETE, critic_coef=0.0, online_coef=0.0, offline_coef=0.0)
    assert str(caught.value) == (
        "agent.objective has no term left: set one of critic_coef, online_coef and offline_coef."
    )


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_policy_gradient_skips_critics_and_reaches_the_state_by_the_actor(
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
    forward = actor.forward
    actor.forward = lambda s: forward(s.detach())  # type: ignore[method-assign]
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
        targets.append(objective.loss(random_states(batch), batch)[1]["target"][-1].item())
    assert targets[1] == pytest.approx(10 * batch.reward_M.item())
    assert targets[0] != pytest.approx(targets[1])


def test_targets_take_the_minimum_with_the_online_term_and_the_mean_without() -> None:
    targets = {}
    for online_coef in (0.0, 1.0):
        _, _, objective = agent(DISCRETE, online_coef=online_coef)
        batch = random_batch([5, 4], DISCRETE, seed=0)
        batch.terminated_M[:] = False
        metrics = objective.loss(random_states(batch), batch)[1]
        targets[online_coef] = metrics["target"][-1].item()
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
def test_metrics_are_detached_finite_scalars_or_one_per_discount(space: spaces.Space[Any]) -> None:
    _, _, objective = agent(space)
    batch = random_batch([2], space, seed=0)
    metrics = objective.loss(random_states(batch), batch)[1]
    assert {metric.shape for metric in metrics.values()} <= {(), (G,)}
    assert not any(metric.requires_grad for metric in metrics.values())
    assert all(bool(metric.isfinite().all()) for metric in metrics.values())
    assert ("entropy" in metrics) == (space != CONTINUOUS)


@pytest.mark.parametrize("name", ALL_SPACES)
@pytest.mark.parametrize("masked", [False, True])
@few
@given(lengths=sequences, seed=st.integers(0, 1000))
def test_cloning_is_the_mean_log_likelihood_of_a_loop(
    name: str, masked: bool, lengths: list[int], seed: int
) -> None:
    space = ALL_SPACES[name]
    masked = masked and name in ("discrete", "factors")
    actor, critic, _ = agent(space)
    context = ObjectiveContext(
        in_dim=5, actor=actor, critic=critic, action_space=space, discounts=DISCOUNTS
    )
    cloning = BehaviorCloning(context, BehaviorCloningOptions())
    batch = random_batch(lengths, space, seed, masked=masked)
    state = random_states(batch, seed)
    total, mask = 0.0, batch.action_mask_NA
    for m, row in enumerate(batch.rows_M.tolist()):
        policy = actor(state[row, None], None if mask is None else mask[row, None])
        action = batch.action[m]
        total += policy.log_prob(action.expand(1, G, *action.shape)).sum().item()
    loss, metrics = cloning.loss(state, batch)
    assert loss.item() == pytest.approx(-total / (G * len(batch.rows_M)), rel=1e-9)
    assert metrics["loss"] == metrics["loss/offline"] == loss


def test_a_filter_can_be_named_by_a_word() -> None:
    assert AmagoOptions.model_validate({"filter": "exponential"}).filter.kind == "exponential"


@pytest.mark.parametrize(
    ("options", "unread"),
    [
        ({"kind": "binary", "beta": 3.0, "cap": 2.0}, "the filter binary does not read beta, cap"),
        ({"kind": "exponential", "hinge": 0.5}, "the filter exponential does not read hinge"),
    ],
)
def test_options_that_a_filter_does_not_read_are_refused(options: dict[str, Any], unread: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FilterOptions.model_validate(options)
    assert caught.value.errors()[0]["msg"] == unread
