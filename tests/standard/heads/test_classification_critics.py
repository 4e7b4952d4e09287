"""Classification critics: initial values, expectations, losses and metrics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from amago_registry import CriticContext
from amago_standard.heads import HLGaussCritic, TwoHotCritic
from amago_standard.heads.classification import ClassificationCritic
from amago_standard.heads.options import HLGaussOptions, TwoHotOptions

few = settings(max_examples=30, deadline=None)

KINDS = ["two-hot", "hl-gauss"]
EXPECTATIONS = ["returns", "symlog"]
DISCRETE = spaces.Discrete(4)
SPACES = [
    DISCRETE,
    spaces.Box(-1, 1, (2,)),
    spaces.MultiBinary(3),
    spaces.MultiDiscrete([3, 2]),
]


def critic(kind: str, space: spaces.Space[Any] = DISCRETE, **options: Any) -> ClassificationCritic:
    torch.manual_seed(0)
    context = CriticContext(in_dim=5, action_space=space, discounts=(0.9, 0.99))
    chosen: dict[str, Any] = {"members": 2, "hidden_dims": (8,), **options}
    if kind == "two-hot":
        return TwoHotCritic(context, TwoHotOptions(**chosen))
    return HLGaussCritic(context, HLGaussOptions(**chosen))


def read(module: ClassificationCritic, *returns: float) -> float:
    """Return what a perfect classifier of these equally likely returns would be read as."""
    target_NG = torch.tensor(returns, dtype=torch.float64)[:, None]
    probs_K = module.label(target_NG)[:, 0].mean(0)
    return module.value((probs_K + 1e-300).log()[None, None, None]).item()


@pytest.mark.parametrize("expectation", EXPECTATIONS)
@few
@given(y=st.floats(-9e4, 9e4))
def test_two_hot_always_reads_one_return_as_itself(y: float, expectation: str) -> None:
    module = critic("two-hot", expectation=expectation).double()
    assert read(module, y) == pytest.approx(y, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("expectation", EXPECTATIONS)
def test_returns_beyond_the_limits_read_as_the_limits(expectation: str) -> None:
    module = critic("two-hot", low=-50.0, high=50.0, expectation=expectation).double()
    assert read(module, 51.0) == pytest.approx(50)
    assert read(module, -1e9) == pytest.approx(-50)


@pytest.mark.parametrize(
    ("expectation", "share"),
    [("returns", 5e-3), ("symlog", 1e-5)],
)
@few
@given(y=st.floats(-3000, 3000))
def test_hl_gauss_always_nearly_reads_one_return_as_itself(
    y: float, expectation: str, share: float
) -> None:
    module = critic("hl-gauss", expectation=expectation).double()
    assert read(module, y) == pytest.approx(y, abs=share * (1 + abs(y)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_gamble_reads_as_its_mean_unless_the_mean_is_taken_in_symlog_space(kind: str) -> None:
    assert read(critic(kind).double(), 0.0, 100.0) == pytest.approx(50, rel=1e-3)
    # Half of log(101): the geometric mean of 1 and 101, less 1.
    in_symlog = critic(kind, expectation="symlog").double()
    assert read(in_symlog, 0.0, 100.0) == pytest.approx(math.sqrt(101) - 1, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("expectation", EXPECTATIONS)
@pytest.mark.parametrize("bins", [32, 64, 65, 128])
def test_equally_likely_bins_read_as_nothing(kind: str, expectation: str, bins: int) -> None:
    module = critic(kind, bins=bins, expectation=expectation)
    assert module.value(torch.full((3, 2, 2, bins), 0.7)).abs().max().item() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("hidden_dims", [(8, 8), ()])
def test_every_value_starts_at_zero(
    kind: str, space: spaces.Space[Any], hidden_dims: tuple[int, ...]
) -> None:
    for enumerate_actions in (True, False):
        module = critic(kind, space, hidden_dims=hidden_dims, enumerate_actions=enumerate_actions)
        state = torch.randn(6, 5)
        width = {"Discrete": 4, "Box": 2, "MultiBinary": 3, "MultiDiscrete": 5}[type(space).__name__]
        prediction = (
            module.predict_all(state)
            if module.enumerates
            else module.predict(state, torch.rand(6, 2, width))
        )
        assert module.value(prediction).abs().max().item() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1e5), (-1.0, 1e4), (-1e3, 0.5)])
def test_with_uneven_limits_values_start_near_zero(kind: str, low: float, high: float) -> None:
    module = critic(kind, low=low, high=high)
    value = module.value(module.predict(torch.randn(3, 5), torch.zeros(3, 2, 4)))
    assert value.abs().max().item() < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_small_returns_are_learned_without_a_detour_over_large_ones(kind: str) -> None:
    module = critic(kind, hidden_dims=(32, 32))
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    farthest = 0.0
    for _ in range(300):
        state = torch.randn(64, 5, generator=generator)
        prediction = module.predict(state, torch.zeros(64, 1, 4))
        target_NG = torch.tanh(state[:, :1]).expand(-1, 2)
        error = module.value(prediction) - target_NG[:, None]
        farthest = max(farthest, error.abs().mean().item())
        optimizer.zero_grad()
        module.loss(prediction, target_NG).mean().backward()
        optimizer.step()
    assert farthest < 1.0
    assert error.abs().mean().item() < 0.2


@few
@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS))
def test_the_loss_is_always_the_cross_entropy_of_the_label(seed: int, kind: str) -> None:
    module, generator = critic(kind, bins=32).double(), torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 2, 2, 32, generator=generator).double()
    target = 1e5 * torch.randn(3, 2, generator=generator).double()
    loss, label = module.loss(logits, target), module.label(target)
    assert loss.shape == (3, 2, 2)
    for n in range(3):
        for c in range(2):
            for g in range(2):
                scores = [math.exp(float(x)) for x in logits[n, c, g]]
                expected = -sum(
                    float(weight) * math.log(score / sum(scores))
                    for weight, score in zip(label[n, g], scores, strict=True)
                )
                assert loss[n, c, g].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_several_actions_keep_their_places_in_values(kind: str) -> None:
    module = critic(kind).double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    prediction = module.predict(torch.randn(6, 5).double(), torch.rand(6, 3, 2, 4).double())
    assert prediction.shape == (6, 2, 3, 2, 64)
    slow = (prediction.softmax(-1) * module.value_K).sum(-1)
    torch.testing.assert_close(module.value(prediction), slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_of_targets_beyond_the_limits_is_reported_and_not_saved(kind: str) -> None:
    module = critic(kind, low=-1.0, high=50.0)
    assert module.metrics() == {}
    saved = set(module.state_dict())
    module.observe(torch.tensor([[-1.0, 50.0], [-1.1, 3.0]]))
    assert module.metrics() == {"beyond_limits": torch.tensor(0.25)}
    module.observe(torch.tensor([[51.0, 1e9]]))
    assert module.metrics() == {"beyond_limits": torch.tensor(1.0)}
    assert set(module.state_dict()) == saved


@pytest.mark.parametrize("kind", KINDS)
def test_advantages_stay_in_units_of_return(kind: str) -> None:
    module, value = critic(kind), torch.tensor([[1.0, -300.0]])
    module.observe(1e4 * torch.ones(2, 2))
    assert torch.equal(module.normalize(value), value)


@pytest.mark.parametrize(
    ("kind", "option", "value", "problem"),
    [
        ("two-hot", "low", 1.0, "Input should be less than or equal to 0"),
        ("two-hot", "high", 0.0, "Input should be greater than 0"),
        ("two-hot", "bins", 1, "Input should be greater than or equal to 2"),
        ("two-hot", "expectation", "median", "Input should be 'returns' or 'symlog'"),
        ("hl-gauss", "bins", 31, "Input should be greater than or equal to 32"),
        ("hl-gauss", "sigma", 0.1, "Input should be greater than or equal to 0.5"),
    ],
)
def test_options_that_leave_no_room_for_returns_are_refused(
    kind: str, option: str, value: Any, problem: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        critic(kind, **{option: value})
    (error,) = caught.value.errors()
    assert (error["loc"], error["msg"]) == ((option,), problem)
