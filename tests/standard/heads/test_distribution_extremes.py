"""Nothing an actor can put out, and no action of the space, makes a float32 number infinite or NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_registry import ActorContext
from amago_standard.heads.families import PolicyHead
from amago_standard.heads.options import PolicyOptions

BOX = spaces.Box(-1, 1, (2,))
CASES = {
    "discrete": (spaces.Discrete(4), "beta", [0, 1, 3]),
    "many": (spaces.Discrete(1000), "beta", [0, 999]),
    "multi-discrete": (spaces.MultiDiscrete([3, 2]), "beta", [[0, 0], [2, 1]]),
    "multi-binary": (spaces.MultiBinary(2), "beta", [[0, 1], [1, 0]]),
    **{
        family: (BOX, family, [[1.0, -1.0], [-1.0, 1.0], [0.0, 0.99]])
        for family in ("tanh-gaussian", "beta", "gaussian-mixture")
    },
}
few = settings(max_examples=15, deadline=None)


def head(case: str, floor: float = 0.001) -> PolicyHead:
    space, family, _ = CASES[case]
    context = ActorContext(in_dim=1, action_space=space, discounts=(0.9,))
    return PolicyHead(context, PolicyOptions(distribution=family, min_probability=floor))


def outputs(case: str, seed: int, size: float) -> torch.Tensor:
    """Outputs of three timesteps, all of them ``size``, ``-size`` or 0."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(-1, 2, (3, head(case).width), generator=generator)
    return (size * signs).float().requires_grad_()


def require_finite(value: torch.Tensor, out: torch.Tensor) -> None:
    assert value.isfinite().all()
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), out, retain_graph=True)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("case", CASES)
@few
@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([1.0, 30.0, 1e4]),
    floor=st.sampled_from([0.0, 0.001]),
)
def test_values_and_gradients_are_always_finite(
    case: str, seed: int, size: float, floor: float
) -> None:
    torch.manual_seed(seed)
    out = outputs(case, seed, size)
    policy: Any = head(case, floor)(out)
    for action in (policy.sample(), policy.mode().detach(), *map(torch.tensor, CASES[case][2])):
        require_finite(policy.log_prob(action.expand_as(policy.mode())), out)
    entropy = policy.entropy()
    if entropy is not None:
        require_finite(entropy, out)
    if hasattr(policy, "rsample"):
        require_finite(policy.rsample(), out)


@pytest.mark.parametrize("case", ["discrete", "many", "multi-discrete"])
@few
@given(seed=st.integers(0, 1000), floor=st.sampled_from([0.0, 0.001]))
def test_masked_values_and_gradients_are_always_finite(case: str, seed: int, floor: float) -> None:
    torch.manual_seed(seed)
    out = outputs(case, seed, 1e4)
    mask = torch.rand(3, head(case).width) < 0.3
    policy: Any = head(case, floor)(out, mask)
    for action in (policy.sample(), *map(torch.tensor, CASES[case][2])):
        require_finite(policy.log_prob(action.expand_as(policy.mode())), out)
    require_finite(policy.entropy(), out)
    require_finite(policy.rsample(), out)


def test_entropies_of_certain_policies_are_never_negative() -> None:
    for case in ("discrete", "multi-discrete", "multi-binary"):
        assert (head(case, 0.0)(outputs(case, 0, 1e4)).entropy() >= 0).all()
