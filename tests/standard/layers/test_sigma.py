"""Sigma-reparametrised layers, against a singular value decomposition."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from amago_standard.layers.sigma import SigmaLinear

X = torch.eye(5, dtype=torch.float64)


def layer() -> SigmaLinear:
    torch.manual_seed(0)
    return SigmaLinear(5, 6).double()


def effective(module: SigmaLinear) -> torch.Tensor:
    """Return the weight that a forward pass uses."""
    return (module(X) - module.bias).T


def converge(module: SigmaLinear) -> None:
    module.train()
    for _ in range(500):
        module(X)
        module.commit()


@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_the_spectral_norm_is_gamma_once_the_iteration_has_converged(gamma: float) -> None:
    module = layer()
    torch.nn.init.constant_(module.gamma, gamma)
    converge(module)
    for mode in (True, False):
        norm = torch.linalg.matrix_norm(effective(module.train(mode)), 2)
        assert norm.item() == pytest.approx(gamma, rel=1e-9)


def test_a_fresh_layer_is_not_far_from_its_spectral_norm() -> None:
    norm = torch.linalg.matrix_norm(effective(layer().eval()), 2).item()
    assert 1 - 1e-9 <= norm < 1.5


def test_one_training_pass_is_one_step_of_power_iteration() -> None:
    module = layer()
    left = module.weight @ module.right_D
    left = left / left.norm()
    right = module.weight.T @ left
    right = right / right.norm()
    sigma = left @ module.weight @ right
    torch.testing.assert_close(effective(module), module.weight / sigma, rtol=1e-12, atol=1e-12)
    module.commit()
    torch.testing.assert_close(module.left_E, left.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(module.right_D, right.detach(), rtol=1e-12, atol=1e-12)


def test_only_a_commit_changes_what_is_saved() -> None:
    module = layer().train()
    saved = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module(X)
    module(X)
    assert all(torch.equal(saved[name], tensor) for name, tensor in module.state_dict().items())
    module.commit()
    assert not torch.equal(saved["left_E"], module.left_E)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_weight_is_computed_once_while_acting(
    mode: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, computed = layer().eval(), []
    original = module._effective
    monkeypatch.setattr(module, "_effective", lambda *vectors: computed.append(1) or original(*vectors))
    for _ in range(3):
        with mode():
            module(X)
    assert len(computed) == 1


def test_a_layer_made_in_inference_mode_acts_and_never_grows_stale() -> None:
    with torch.inference_mode():
        module = layer().eval()
        before = module(X)
        module.gamma.mul_(3.0)
        torch.testing.assert_close(module(X), 3 * before)


def optimise(module: SigmaLinear, **how: bool) -> None:
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1, **how)
    module.train()(X).square().sum().backward()
    optimiser.step()


def scale_gamma(module: SigmaLinear) -> None:
    with torch.no_grad():
        module.gamma.mul_(3.0)


def load_another(module: SigmaLinear) -> None:
    module.load_state_dict(SigmaLinear(5, 6).double().state_dict())


def train_once_and_commit(module: SigmaLinear) -> None:
    module.train()(X)
    module.commit()


def load_another_in_inference_mode(module: SigmaLinear) -> None:
    with torch.inference_mode():
        load_another(module)


def assign_another(module: SigmaLinear) -> None:
    module.load_state_dict(SigmaLinear(5, 6).double().state_dict(), assign=True)


def act_between_the_backward_pass_and_the_step(module: SigmaLinear) -> None:
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
    module.train()(X).square().sum().backward()
    with torch.no_grad():
        module.eval()(X)
    optimiser.step()
    module.commit()


CHANGES: dict[str, Callable[[SigmaLinear], object]] = {
    "a step of a plain optimiser": lambda module: optimise(module, foreach=False),
    "a step of a foreach optimiser": lambda module: optimise(module, foreach=True),
    "a step of a fused optimiser": lambda module: optimise(module, fused=True),
    "load_state_dict": load_another,
    "load_state_dict in inference mode": load_another_in_inference_mode,
    "load_state_dict that assigns": assign_another,
    "a fused step after acting": act_between_the_backward_pass_and_the_step,
    "a new gamma": scale_gamma,
    "a commit": train_once_and_commit,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_weight_kept_while_acting_is_refreshed_after(
    change: Callable[[SigmaLinear], object],
) -> None:
    module = layer().eval()
    with torch.no_grad():
        before = module(X)
    change(module)
    module.eval()
    fresh = layer().eval()
    fresh.load_state_dict(module.state_dict())
    with torch.no_grad():
        after, expected = module(X), fresh(X)
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=1e-12)


def test_the_weight_kept_while_acting_follows_the_dtype() -> None:
    module = layer().eval()
    with torch.no_grad():
        module(X)
        assert module.float()(X.float()).dtype == torch.float32


def test_gradients_are_those_of_the_formula_with_the_vectors_held_fixed() -> None:
    module = layer().eval()
    x = torch.randn(3, 5, dtype=torch.float64)

    def formula(weight: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        sigma = module.left_E @ weight @ module.right_D
        return x @ (gamma / sigma * weight).T

    module(x).square().sum().backward()
    weight = module.weight.detach().clone().requires_grad_()
    gamma = module.gamma.detach().clone().requires_grad_()
    formula(weight, gamma).square().sum().backward()
    torch.testing.assert_close(module.weight.grad, weight.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(module.gamma.grad, gamma.grad, rtol=1e-9, atol=1e-12)
