"""The logarithm of either sign, and its inverse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_standard.layers.symlog import symexp, symlog


def test_known_numbers_become_their_logarithms() -> None:
    x = torch.tensor([0.0, math.e - 1, -(math.e - 1), 99.0, -99.0], dtype=torch.float64)
    assert symlog(x).tolist() == pytest.approx([0, 1, -1, math.log(100), -math.log(100)], abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6))
def test_the_exponential_always_undoes_the_logarithm(x: float) -> None:
    there = symlog(torch.tensor(x, dtype=torch.float64))
    assert there.item() == pytest.approx(math.copysign(math.log1p(abs(x)), x), rel=1e-12, abs=1e-300)
    assert symexp(there).item() == pytest.approx(x, rel=1e-9, abs=1e-300)


def test_gradients_are_those_of_the_formula_also_at_zero() -> None:
    x = torch.tensor([-3.0, 0.0, 1.0], requires_grad=True)
    symlog(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([1 / 4, 1, 1 / 2])
    x = torch.tensor([-math.log(3), 0.0, math.log(2)], requires_grad=True)
    symexp(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([3, 1, 2])
