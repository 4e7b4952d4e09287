"""Weight decay, learning-rate factors per part, warm-up and schedule."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from toys import tiny

from amago_core.acting.agent import Agent
from amago_core.compose.networks import compose_agent
from amago_core.compose.tasks import compose_task
from amago_core.errors import SpecError
from amago_core.learning.optimizer import build_optimizer, is_decayed, rate_factor
from amago_core.spec import load_spec
from amago_core.spec.schema import TrainingSpec
from amago_standard.layers.ensemble import EnsembleLinear
from amago_standard.layers.sigma import SigmaLinear


def training(**settings: Any) -> TrainingSpec:
    return TrainingSpec(**{"warmup": 0, "rounds": 10, "updates_per_round": 10, **settings})


def composed(backbone: str) -> Agent:
    written = tiny()
    written["agent"]["backbone"] = {"use": backbone, "layers": 1, "width": 8}
    spec = load_spec(written)
    return compose_agent(spec.agent, compose_task(spec.environment, 0))


class HeadNorm(nn.Module):
    """A plugin's norm, with a scale for every feature of every head."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(2, 4)), nn.Parameter(torch.zeros(2, 4))


class Strange(nn.Module):
    """A plugin's part with parameters beside layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = HeadNorm()
        self.head_scale = nn.Parameter(torch.ones(4, 1))
        self.A_log = nn.Parameter(torch.ones(4, 4))
        self.gate_weight = nn.Parameter(torch.ones(4, 4))


def decayed(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters() if is_decayed(module, name)]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(1, 4), ["weight"]),
        (nn.Conv1d(2, 2, 3), ["weight"]),
        (nn.GRU(2, 2), ["weight_ih_l0", "weight_hh_l0"]),
        (nn.MultiheadAttention(4, 2), ["in_proj_weight", "out_proj.weight"]),
        (EnsembleLinear(3, 2, 2), ["weight"]),
        (SigmaLinear(4, 4), ["weight"]),
        (nn.LayerNorm((2, 3)), []),
        (nn.BatchNorm2d(3), []),
        (nn.RMSNorm((2, 3)), []),
        (nn.Embedding(5, 4), []),
        (nn.PReLU(3), []),
        (Strange(), ["gate_weight"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_only_weights_that_mix_features_decay(module: nn.Module, expected: list[str]) -> None:
    assert decayed(module) == expected


class LowRank(nn.Module):
    """A matrix as a product of two, with a scale of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 2))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.scale * (left @ right)

    def right_inverse(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(2, 1), torch.ones(1, 2)


def low_rank(module: nn.Linear) -> nn.Module:
    return parametrize.register_parametrization(module, "weight", LowRank())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (parametrizations.orthogonal(nn.Linear(2, 2)), ["original"]),
        (parametrizations.spectral_norm(nn.Linear(2, 2)), ["original"]),
        (parametrizations.weight_norm(nn.Linear(2, 2)), ["original1"]),
        (parametrizations.weight_norm(nn.LayerNorm((2, 2))), []),
        (parametrizations.weight_norm(nn.Embedding(2, 2)), []),
        (low_rank(nn.Linear(2, 2)), ["original0", "original1"]),
    ],
    ids=["orthogonal", "spectral", "weight_norm", "of a norm", "of an embedding", "low rank"],
)
def test_originals_of_a_parametrized_weight_decay_except_for_magnitudes(
    module: nn.Module, expected: list[str]
) -> None:
    assert decayed(module) == [f"parametrizations.weight.{name}" for name in expected]
    deep = nn.ModuleDict({"part": nn.Sequential(module)})
    assert decayed(deep) == [f"part.0.parametrizations.weight.{name}" for name in expected]


def test_a_norm_of_another_name_is_recognized_by_its_base_class() -> None:
    class Centred(HeadNorm):
        pass

    assert decayed(Centred()) == []


@pytest.mark.parametrize("backbone", ["gru", "transformer"])
def test_every_trained_parameter_is_in_one_group_and_frozen_ones_in_none(backbone: str) -> None:
    agent = composed(backbone)
    frozen = agent.encoder.get_parameter(next(name for name, _ in agent.encoder.named_parameters()))
    frozen.requires_grad_(False)
    groups = build_optimizer(agent, training()).param_groups
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in agent.parameters() if p.requires_grad)
    assert id(frozen) not in grouped
    assert {group["part"] for group in groups} == {"encoder", "backbone", "actor", "critic"}


def test_a_parameter_shared_by_two_parts_is_in_a_group_of_the_first() -> None:
    shared = nn.Linear(2, 2, bias=False)
    agent = Agent(shared, nn.Linear(2, 2), nn.Sequential(shared), nn.Identity())
    groups = build_optimizer(agent, training()).param_groups
    assert [(group["part"], len(group["params"])) for group in groups] == [
        ("encoder", 1), ("backbone", 1), ("backbone", 1),
    ]  # fmt: skip


def adamw_by_hand(start: Tensor, gradients: list[Tensor], rates: list[float], decay: float) -> Tensor:
    """AdamW by Loshchilov and Hutter (2019), algorithm 2, number by number."""
    values, m, v = start.flatten().tolist(), [0.0] * start.numel(), [0.0] * start.numel()
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        for i, g in enumerate(gradient.flatten().tolist()):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            unbiased = m[i] / (1 - 0.9**step), v[i] / (1 - 0.999**step)
            values[i] -= rate * (unbiased[0] / (math.sqrt(unbiased[1]) + 1e-8) + decay * values[i])
    return torch.tensor(values, dtype=start.dtype).view_as(start)


def test_each_part_has_its_learning_rate_and_only_weights_decay() -> None:
    parts = [nn.Linear(2, 2).double() for _ in range(4)]
    agent = Agent(*parts)
    rates = {"encoder": 1.0, "backbone": 0.3, "actor": 0.0, "critic": 2.0}
    spec = training(learning_rate_factors=rates, learning_rate=0.01, weight_decay=0.5)
    optimizer = build_optimizer(agent, spec)
    before = {name: parameter.detach().clone() for name, parameter in agent.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    gradients: dict[str, list[Tensor]] = {name: [] for name in before}
    for _ in range(3):
        for name, parameter in agent.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            gradients[name].append(parameter.grad)
        optimizer.step()
    for name, parameter in agent.named_parameters():
        part, _, last = name.partition(".")
        rate = 0.01 * rates[part]
        decay = 0.5 if last == "weight" else 0.0
        expected = adamw_by_hand(before[name], gradients[name], [rate] * 3, decay)
        assert torch.allclose(parameter, expected, rtol=0, atol=1e-12), name
    assert torch.equal(agent.actor.get_parameter("weight"), before["actor.weight"])


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({}, {0: 1.0, 50: 1.0, 100: 1.0, 200: 1.0}),
        ({"schedule": "linear"}, {0: 1.0, 25: 0.75, 99: 0.01, 100: 0.0, 200: 0.0}),
        ({"schedule": "linear", "final_rate": 0.2}, {0: 1.0, 50: 0.6, 100: 0.2, 101: 0.2}),
        ({"schedule": "cosine"}, {0: 1.0, 50: 0.5, 100: 0.0}),
        # 60 degrees: (1 + 1/2) / 2 = 3/4, of which half counts beside the half that stays.
        ({"schedule": "cosine", "final_rate": 0.5, "updates_per_round": 9}, {30: 0.875, 90: 0.5}),
        ({"warmup": 4}, {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0}),
        ({"warmup": 100, "schedule": "linear"}, {0: 0.01, 49: 0.5 * 0.51, 99: 0.01}),
        ({"schedule": "linear", "updates_per_round": 0}, {0: 1.0}),
    ],
    ids=lambda value: ",".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_the_rate_factor_equals_values_computed_by_hand(
    settings: dict[str, Any], factors: dict[int, float]
) -> None:
    spec = training(**settings)
    assert {update: rate_factor(spec, update) for update in factors} == pytest.approx(factors)


@settings(max_examples=30, deadline=None)
@given(
    schedule=st.sampled_from(["linear", "cosine"]),
    final=st.floats(0, 1),
    rounds=st.integers(1, 9),
    per_round=st.integers(1, 9),
)
def test_a_schedule_never_rises_and_never_falls_below_its_end(
    schedule: str, final: float, rounds: int, per_round: int
) -> None:
    spec = training(schedule=schedule, final_rate=final, rounds=rounds, updates_per_round=per_round)
    factors = [rate_factor(spec, update) for update in range(rounds * per_round + 3)]
    assert factors[0] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(final, abs=1e-12)
    assert all(before >= after >= final - 1e-12 for before, after in pairwise(factors))


def test_a_learning_rate_factor_for_an_unknown_part_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(tiny(), ["training.learning_rate_factors.bakbone=0.3"])
    assert str(caught.value) == (
        "the spec has 1 problem:\n  training.learning_rate_factors.bakbone: there is no such key. "
        "Did you mean 'backbone'? (from the override 'training.learning_rate_factors.bakbone=0.3')"
    )
