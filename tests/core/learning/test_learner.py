"""The learner: forward, backward, optimizer step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from toys import Walk

from amago_core.acting.agent import Agent
from amago_core.acting.task import Task
from amago_core.compose.networks import compose_agent, compose_objective
from amago_core.learning.batch import PackedBatch, pack
from amago_core.learning.learner import MAX_SKIPPED_UPDATES, DivergedError, Learner
from amago_core.spec import RunSpec, load_spec
from amago_core.system.tensor_tree import decode_tree, encode_tree
from amago_registry.errors import AmagoError
from amago_registry.trajectories import Trajectory

SPACE = spaces.Discrete(3)


def spec(*overrides: str) -> RunSpec:
    small: dict[str, Any] = {
        "agent": {
            "context_length": 8,
            "encoder": {"use": "mlp", "hidden_dims": [8], "out_dim": 8},
            "backbone": {"use": "transformer", "layers": 1, "width": 8, "heads": 2},
            "actor": {"use": "mlp", "hidden_dims": [8]},
            "critic": {"use": "ensemble", "hidden_dims": [8]},
        },
        "training": {"warmup": 4},
    }
    return load_spec(small, overrides, local_environment=True)


def learner(*overrides: str, seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    resolved = spec(*overrides)
    observed = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    task = Task("walk", Walk, observed, SPACE, None)
    agent = compose_agent(resolved.agent, task)
    objective = compose_objective(resolved.agent, agent, task)
    return Learner(agent, objective, resolved.training, resolved.running)


def batch(seed: int, *, spoil: str | None = None) -> PackedBatch:
    return pack(slices(seed, spoil=spoil), SPACE)


def slices(seed: int, *, spoil: str | None = None) -> list[Trajectory]:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "obs.observation": rng.normal(size=(7, 2)).astype(np.float32),
        "action": rng.integers(0, 3, 6),
        "reward": rng.normal(size=6).astype(np.float32),
        "terminated": np.arange(6) == 5,
        "truncated": np.zeros(6, bool),
    }
    if spoil is not None:
        columns[spoil][2] = np.nan
    trajectory = Trajectory(columns, seed=0)
    return [trajectory.slice(0, 6), trajectory.slice(2, 5)]


def everything(learner: Learner) -> bytes:
    """Return weights, targets, statistics and optimizer state as bytes."""
    tensors, _ = learner.state()
    tensors.pop("generator")
    return encode_tree({"agent": dict(learner.agent.state_dict()), **tensors})


def test_the_learning_rate_warms_up_linearly_and_then_stays() -> None:
    trained = learner("training.learning_rate=0.01", "training.warmup=4")
    rates = []
    for update in range(6):
        rates.append(trained.learning_rate)
        trained.update(batch(update))
        used = {group["lr"] for group in trained._optimizer.param_groups}
        assert used == {rates[-1]}
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


def test_without_warm_up_the_first_learning_rate_is_the_full_one() -> None:
    assert learner("training.warmup=0", "training.learning_rate=0.5").learning_rate == 0.5


def test_the_gradient_norm_is_clipped() -> None:
    trained = learner("training.gradient_clip=0.001")
    metrics = trained.update(batch(0))
    squares = [float(p.grad.square().sum()) for p in trained.agent.parameters() if p.grad is not None]
    assert float(metrics["gradient_norm"]) > 0.001
    assert sum(squares) ** 0.5 == pytest.approx(0.001, rel=1e-3)


def test_every_trained_parameter_gets_a_gradient_and_moves() -> None:
    trained = learner("training.warmup=0", "training.learning_rate=0.01")
    before = {name: p.detach().clone() for name, p in trained.agent.named_parameters()}
    for update in range(3):
        trained.update(batch(update))
    still = [name for name, p in trained.agent.named_parameters() if torch.equal(p, before[name])]
    assert still == []


def test_target_networks_are_updated_after_a_step() -> None:
    trained = learner()
    before = {name: value.clone() for name, value in trained.objective.state_dict().items()}
    trained.update(batch(0))
    after = trained.objective.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("spoil", ["reward", "obs.observation"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_batch_with_nan_changes_no_bit_of_the_state(spoil: str, after: int) -> None:
    trained = learner()
    for update in range(after):
        trained.update(batch(update))
    before = everything(trained)
    metrics = trained.update(batch(9, spoil=spoil))
    assert everything(trained) == before
    assert not np.isfinite(float(metrics["gradient_norm"]))
    assert (trained.updates, trained.skipped) == (after + 1, 1)


def test_a_skipped_update_has_no_effect_on_later_ones() -> None:
    with_fault, without = learner("training.warmup=0"), learner("training.warmup=0")
    for update in range(4):
        for trained in (with_fault, without):
            if update == 2 and trained is with_fault:
                trained.update(batch(9, spoil="reward"))
            torch.manual_seed(update)
            trained.update(batch(update))
    assert everything(with_fault) == everything(without)


def test_too_many_skipped_updates_in_a_row_raise_and_name_what_is_not_finite() -> None:
    trained = learner()
    for _ in range(MAX_SKIPPED_UPDATES - 1):
        trained.update(batch(0, spoil="reward"))
    trained.update(batch(0))  # One that works resets the count.
    for _ in range(MAX_SKIPPED_UPDATES - 1):
        metrics = trained.update(batch(0, spoil="reward"))
    broken = ", ".join(name for name, value in metrics.items() if not value.isfinite().all())
    with pytest.raises(DivergedError) as caught:
        trained.update(batch(0, spoil="reward"))
    assert str(caught.value) == (
        "10 updates in a row, up to update 20, had a loss or a gradient that is not finite. The first "
        "term that is not: state_max (all of them, in the order in which they are computed: "
        f"{broken}). "
        "A lower training.learning_rate may help."
    )
    assert {"loss", "loss/critic", "gradient_norm"} <= set(broken.split(", "))
    assert trained.skipped == 19


class Proposing(nn.Module):
    """An encoder that proposes its count of forward passes as a statistic."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.weight = nn.Parameter(torch.ones(()))
        self.proposed = 0
        self.out_dim = 2

    def forward(self, obs: Any, prev_action_NA: Tensor, prev_reward_N: Tensor) -> Tensor:
        self.proposed += 1
        x_N2: Tensor = obs["observation"]
        return x_N2 * self.weight

    def commit(self) -> None:
        self.count.fill_(self.proposed)

    def forget(self) -> None:
        self.proposed = int(self.count)


class Plain(nn.Module):
    """A minimal backbone or objective."""

    def forward(self, x_ND: Tensor, layout: Any) -> Tensor:
        return x_ND

    def loss(self, state_NE: Tensor, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return state_NE.square().mean(), {}

    def after_step(self) -> None:
        pass


def test_statistics_are_committed_only_with_the_step_that_used_them() -> None:
    encoder = Proposing()
    agent = Agent(encoder, Plain(), nn.Identity(), nn.Identity())
    trained = Learner(agent, Plain(), spec().training)
    trained.update(batch(0))
    assert float(encoder.count) == 1
    trained.update(batch(1, spoil="obs.observation"))
    assert float(encoder.count) == 1
    trained.update(batch(2))
    assert float(encoder.count) == 2


def test_a_learner_resumes_from_its_state_to_the_bit() -> None:
    whole = learner()
    for update in range(3):
        whole.update(batch(update))
    whole.update(batch(9, spoil="reward"))
    tensors, facts = whole.state()
    stored = decode_tree(encode_tree({"model": dict(whole.agent.state_dict()), **tensors}))
    for update in range(3, 6):
        whole.update(batch(update))
    again = learner(seed=1)
    again.agent.load_state_dict(stored.pop("model"))  # type: ignore[arg-type]
    again.load_state(stored, facts)
    for update in range(3, 6):
        again.update(batch(update))
    assert everything(again) == everything(whole)
    assert (again.updates, again.skipped) == (whole.updates, whole.skipped) == (7, 1)


def test_consecutive_skipped_updates_are_counted_across_a_resume() -> None:
    before = learner()
    for _ in range(MAX_SKIPPED_UPDATES - 1):
        before.update(batch(0, spoil="reward"))
    tensors, facts = before.state()
    again = learner()
    again.load_state(decode_tree(encode_tree(tensors)), facts)
    with pytest.raises(DivergedError):
        again.update(batch(0, spoil="reward"))


def gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: p.grad for name, p in learner.agent.named_parameters() if p.grad is not None}


def exact(*overrides: str) -> Learner:
    """Return a learner in float64 without randomness."""
    trained = learner("agent.backbone.dropout=0.0", "agent.objective.target_members=4", *overrides)
    trained.agent.double()
    trained.objective.double()
    return trained


def test_two_accumulated_batches_have_the_gradient_of_their_union() -> None:
    accumulated, whole = exact("agent.encoder.normalize=false"), exact("agent.encoder.normalize=false")
    for trained in (accumulated, whole):
        trained.agent.critic.observe = lambda target_NG: None  # type: ignore[assignment]
    accumulated_metrics = accumulated.update(batch(0), batch(1))
    whole_metrics = whole.update(pack(slices(0) + slices(1), SPACE))
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(gradients(accumulated)[name], gradient, rtol=1e-9, atol=1e-12)
    for name in ("loss", "loss/critic", "q", "entropy", "valid_timesteps"):
        torch.testing.assert_close(accumulated_metrics[name], whole_metrics[name], check_dtype=False)


def test_the_relabelled_fraction_is_that_of_all_batches() -> None:
    trained = learner()
    some = [replace(each, relabelled=number == 0) for number, each in enumerate(slices(0))]
    every = [replace(each, relabelled=True) for each in slices(1)]
    fraction = trained.update(pack(some, SPACE), pack(every, SPACE))["relabelled"]
    assert float(fraction) == pytest.approx((1 / len(some) + 1) / 2)
    assert "relabelled" not in trained.update(batch(0))


def test_accumulated_batches_are_weighted_by_their_transitions() -> None:
    """One transition beside nine: a mean of two means would count it nine times."""
    short = slices(1)[1:]
    accumulated, whole = exact("agent.encoder.normalize=false"), exact("agent.encoder.normalize=false")
    for trained in (accumulated, whole):
        trained.agent.critic.observe = lambda target_NG: None  # type: ignore[assignment]
    accumulated.update(batch(0), pack(short, SPACE))
    whole.update(pack(slices(0) + short, SPACE))
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(gradients(accumulated)[name], gradient, rtol=1e-9, atol=1e-12)


def test_bf16_is_used_only_for_matrix_products() -> None:
    """Autocast on the CPU stands in for that on a GPU: state and metrics stay in fp32."""
    single = learner()
    half = learner()
    half._bf16 = True
    metrics = half.update(batch(0))
    wanted = single.update(batch(0))
    assert {value.dtype for value in metrics.values()} == {torch.float32}
    assert {gradient.dtype for gradient in gradients(half).values()} == {torch.float32}
    coarse = (metrics["loss"] - wanted["loss"]).abs() / wanted["loss"].abs()
    assert 0 < float(coarse) < 0.05
    kept = [name for name, _ in half.agent.named_buffers() if "popart" not in name]
    assert sum(name.endswith(("left_E", "right_D", ".mean_D")) for name in kept) == 9
    for name in kept:
        assert torch.equal(half.agent.get_buffer(name), single.agent.get_buffer(name))


@pytest.mark.parametrize("objective", ["amago", "amago2", "behavior-cloning"])
def test_gradient_norms_are_reported_per_part_and_add_up_to_the_total(objective: str) -> None:
    trained = learner(f"agent.objective={objective}")
    metrics = trained.update(batch(0))
    parts = [metrics[f"gradient_norm/{part}"] for part in ("encoder", "backbone", "actor", "critic")]
    squares = sum(float(norm) ** 2 for norm in parts)
    assert float(metrics["gradient_norm"]) == pytest.approx(squares**0.5, rel=1e-5)
    assert (float(parts[3]) == 0) == (objective == "behavior-cloning")
    assert float(metrics["valid_timesteps"]) == 9


def test_parts_report_metrics_under_their_names() -> None:
    trained = learner("agent.critic={use: two-hot, hidden_dims: [8]}")
    trained.update(batch(0))
    assert trained.report() == {"critic/beyond_limits": 0.0}
    names = learner().report()
    assert {"critic/popart_mean/0.999", "critic/popart_std/0.1"} <= names.keys()


def test_an_infinite_loss_is_skipped_even_if_its_gradient_is_finite() -> None:
    trained = learner()
    before = everything(trained)
    loss = trained._loss
    trained._loss = lambda *args: (loss(*args)[0] + torch.inf, loss(*args)[1])
    trained.update(batch(0))
    assert trained.skipped == 1
    assert everything(trained) == before


@pytest.mark.parametrize("part", ["encoder", "backbone", "actor", "critic"])
def test_a_part_with_learning_rate_factor_0_is_frozen_and_in_no_norm(part: str) -> None:
    trained = learner(f"training.learning_rate_factors.{part}=0", "training.warmup=0")
    frozen = trained.agent.get_submodule(part)
    before = {name: t.clone() for name, t in frozen.state_dict().items()}
    metrics = trained.update(batch(0))
    assert all(torch.equal(frozen.state_dict()[name], tensor) for name, tensor in before.items())
    assert float(metrics[f"gradient_norm/{part}"]) == 0


def test_learning_rate_factors_that_are_all_0_are_refused() -> None:
    rates = "{encoder: 0, backbone: 0, actor: 0, critic: 0}"
    with pytest.raises(AmagoError) as caught:
        learner(f"training.learning_rate_factors={rates}")
    assert str(caught.value) == (
        "training.learning_rate_factors leaves nothing to train: every part's factor is 0."
    )


def test_minima_and_maxima_are_taken_over_accumulated_batches() -> None:
    accumulated, first, second = (exact("agent.encoder.normalize=false") for _ in range(3))
    metrics = accumulated.update(batch(0), batch(1))
    alone = [each.update(batch(seed)) for seed, each in enumerate((first, second))]
    for name, extreme in (("target_min", torch.minimum), ("target_max", torch.maximum)):
        torch.testing.assert_close(metrics[name], extreme(alone[0][name], alone[1][name]))


def test_a_rank_with_finite_terms_names_the_loss_of_another_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = learner()
    monkeypatch.setattr(trained, "_finite_on_all_ranks", lambda metrics: False)
    for update in range(MAX_SKIPPED_UPDATES - 1):
        trained.update(batch(update))
    with pytest.raises(DivergedError, match="The first term that is not: the loss of another rank"):
        trained.update(batch(0))
