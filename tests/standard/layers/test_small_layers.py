"""Ensembles and spaces."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from torch.nn.functional import leaky_relu

from amago_registry import UnsupportedSpaceError
from amago_standard.layers.ensemble import EnsembleLinear, EnsembleMLP
from amago_standard.layers.spaces import feature_size, features


@pytest.mark.parametrize("shared", [True, False])
def test_an_ensemble_is_its_members_side_by_side(shared: bool) -> None:
    torch.manual_seed(0)
    ensemble = EnsembleMLP(3, 4, [5, 6], 2).double()
    x = torch.randn(7, 4) if shared else torch.randn(3, 7, 4)
    x = x.double()
    together = ensemble(x)
    assert together.shape == (3, 7, 2)
    for member in range(3):
        y = x if shared else x[member]
        for index, layer in enumerate(ensemble.layers):
            y = (leaky_relu(y) if index else y) @ layer.weight[member] + layer.bias[member, 0]
        torch.testing.assert_close(together[member], y, rtol=1e-12, atol=1e-12)


def test_members_start_apart_and_within_the_bound_of_a_linear_layer() -> None:
    layer = EnsembleLinear(2, 16, 8)
    assert not torch.equal(layer.weight[0], layer.weight[1])
    assert layer.weight.abs().max() <= 0.25
    assert layer.bias.abs().max() <= 0.25


def test_an_observation_no_vector_can_hold_is_refused() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        feature_size("said", spaces.Text(5))
    assert str(caught.value) == (
        f"no encoder of amago-standard takes the observation 'said' of space {spaces.Text(5)}; "
        "they take Box, Discrete, MultiDiscrete and MultiBinary. "
        "`amago components encoder` lists other encoders."
    )


@pytest.mark.parametrize(
    ("space", "x", "expected"),
    [
        (spaces.Discrete(3, start=5), [5, 7], [[1, 0, 0], [0, 0, 1]]),
        (spaces.MultiBinary(2), [[1, 0], [1, 1]], [[1, 0], [1, 1]]),
        (spaces.MultiDiscrete([2, 3]), [[1, 0], [0, 2]], [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
        (spaces.MultiDiscrete([[2], [2]], start=[[4], [-1]]), [[[5], [-1]]], [[0, 1, 1, 0]]),
        (spaces.Box(-9, 9, (2, 2)), [[[1, 2], [3, 4]]], [[1, 2, 3, 4]]),
        (spaces.Box(-9, 9, ()), [4.0, 5.0], [[4], [5]]),
    ],
    ids=str,
)
def test_observations_become_flat_features(
    space: spaces.Space, x: list, expected: list[list[float]]
) -> None:
    y = features(torch.tensor(x), space)
    assert y.dtype == torch.float32
    assert y.tolist() == expected
    assert y.shape[1] == feature_size("x", space)
