"""Spaces as the agent sees them, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_registry.errors import UnsupportedSpaceError
from amago_registry.spaces import (
    action_to_environment,
    canonical_action,
    canonical_observation,
    check_observation,
    flat_observation,
)

f32 = np.float32
small_float32 = st.floats(-1e6, 1e6, width=32)


def test_a_bare_observation_gets_a_name() -> None:
    box = spaces.Box(0, 1, (2,))
    assert canonical_observation(box) == spaces.Dict(observation=box)


def test_a_dictionary_of_observations_stays_as_it_is() -> None:
    both = spaces.Dict(a=spaces.Discrete(2), b=spaces.MultiBinary(3))
    assert canonical_observation(both) is both


NESTED = spaces.Dict(
    goal=spaces.Dict(place=spaces.Box(0, 1, (2,)), kind=spaces.Discrete(3)),
    arms=spaces.Tuple([spaces.MultiBinary(2), spaces.MultiDiscrete([2, 3])]),
)


def test_what_is_nested_gets_a_key_with_slashes_and_what_is_in_a_tuple_a_number() -> None:
    flat = canonical_observation(NESTED)
    assert list(flat.spaces) == ["arms/0", "arms/1", "goal/kind", "goal/place"]
    assert flat["goal/place"] is NESTED["goal"]["place"]
    pair = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)])
    assert canonical_observation(pair).spaces == {"0": spaces.Discrete(2), "1": spaces.Discrete(3)}


@st.composite
def nests(draw: st.DrawFn, depth: int = 2) -> spaces.Space[Any]:
    kinds = ["leaf", "dict", "tuple"] if depth else ["leaf"]
    kind = draw(st.sampled_from(kinds))
    if kind == "leaf":
        return spaces.Discrete(draw(st.integers(1, 9)))
    members = draw(st.lists(nests(depth - 1), min_size=1, max_size=3))
    if kind == "tuple":
        return spaces.Tuple(members)
    return spaces.Dict(dict(zip("abc", members, strict=False)))


@settings(max_examples=50, deadline=None)
@given(nests())
def test_observations_and_their_space_always_flatten_to_the_same_keys(space: Any) -> None:
    flat = canonical_observation(space)
    assert flat_observation(space.sample(), space) in flat
    check_observation(space)


def test_an_observation_that_is_built_otherwise_has_other_keys() -> None:
    pair = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])
    assert flat_observation((0, 1, 1), pair) == {"0": 0, "1": 1, "2": 1}
    assert flat_observation({"goal": {"place": 1}, "legs": 2}, NESTED) == {"goal/place": 1, "legs": 2}
    assert flat_observation({"goal": 1, "arms": 2}, NESTED) == {"goal": 1, "arms": 2}
    assert flat_observation(3, NESTED) == {"observation": 3}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            spaces.Dict(a=spaces.Tuple([spaces.Text(3)]), b=spaces.Sequence(spaces.Discrete(2))),
            f"observations of this kind are not supported: 'a/0' {spaces.Text(3)}, "
            "'b' Sequence(Discrete(2), stack=False); use Box, Discrete, MultiBinary and MultiDiscrete, "
            "alone or in a Dict or Tuple, also nested.",
        ),
        (
            spaces.Dict({"a": spaces.Dict(b=spaces.Discrete(2)), "a/b": spaces.Discrete(2)}),
            "several parts of the observation would be called 'a/b'; rename one of them.",
        ),
        (spaces.Tuple([]), "the observation Tuple() is empty; show at least one number."),
    ],
)
def test_observations_that_are_no_arrays_are_refused(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        check_observation(space)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("space", "canonical"),
    [
        (spaces.Discrete(1000, start=-1), spaces.Discrete(1000)),
        (spaces.Box(0, 9, (2, 3)), spaces.Box(-1, 1, (6,), f32)),
        (spaces.Box(0, 9, ()), spaces.Box(-1, 1, (1,), f32)),
        (spaces.MultiBinary([2, 3]), spaces.MultiBinary(6)),
        (
            spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [0, -9]]),
            spaces.MultiDiscrete([2, 3, 4, 5]),
        ),
    ],
    ids=str,
)
def test_actions_are_an_index_from_zero_or_a_flat_vector(
    space: spaces.Space[Any], canonical: spaces.Space[Any]
) -> None:
    assert canonical_action(space) == canonical


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (spaces.Text(3), str(spaces.Text(3))),
        (spaces.Box(0, np.inf, (1,)), "Box(0.0, inf, (1,), float32)"),
    ],
)
def test_other_actions_are_refused(space: spaces.Space[Any], text: str) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        canonical_action(space)
    assert str(caught.value) == (
        f"actions of space {text} are not supported: use Discrete, MultiDiscrete, MultiBinary "
        "or a Box with finite bounds."
    )


ENVIRONMENTS = [
    spaces.Discrete(1000, start=-3),
    spaces.MultiBinary(3),
    spaces.MultiBinary([2, 2]),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiDiscrete([[256, 2], [3, 300]], start=[[-9, 0], [5, 1]]),
    spaces.MultiDiscrete([4, 4], dtype=np.uint8),
    spaces.Box(-3, 9, (2, 2)),
]


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(ENVIRONMENTS), st.integers(0, 999))
def test_every_stored_action_is_one_that_the_environment_knows(space: Any, seed: int) -> None:
    """Also when it was stored in the smallest type that holds it."""
    canonical = canonical_action(space)
    canonical.seed(seed)
    action = np.stack([canonical.sample() for _ in range(5)])
    given_ = action_to_environment(action, space)
    assert all(space.contains(one) for one in given_)
    if not isinstance(space, spaces.Box):
        small = action.astype(np.int16 if action.max() > 255 else np.uint8)
        assert np.array_equal(action_to_environment(small, space), given_)


def test_indices_are_put_back_into_shape_and_to_where_they_start() -> None:
    space = spaces.MultiDiscrete([[3, 3], [3, 3]], start=[[0, 10], [20, -30]])
    moved = action_to_environment(np.array([[0, 1, 2, 0], [2, 2, 2, 2]], np.uint8), space)
    assert moved.tolist() == [[[0, 11], [22, -30]], [[2, 12], [22, -28]]]


def test_an_index_is_moved_to_where_the_environment_starts_counting() -> None:
    moved = action_to_environment(np.array([0, 3]), spaces.Discrete(4, start=-1))
    assert moved.tolist() == [-1, 2]


def test_a_vector_is_stretched_to_the_bounds_of_each_dimension() -> None:
    space = spaces.Box(np.array([[0, -2]], f32), np.array([[10, 2]], f32))
    action = np.array([[-1, -1], [0, 0.5], [1, 1]], f32)
    assert action_to_environment(action, space).tolist() == [[[0, -2]], [[5, 1]], [[10, 2]]]


def test_whole_numbers_are_rounded_and_do_not_overflow() -> None:
    space = spaces.Box(-128, 127, (1,), np.int8)
    inner = action_to_environment(np.array([[-1], [-0.001], [0.99], [1]], f32), space)
    assert inner.dtype == np.int8
    assert inner[:, 0].tolist() == [-128, -1, 126, 127]


@settings(max_examples=50, deadline=None)
@given(
    bounds=st.tuples(small_float32, small_float32).map(sorted),
    action=st.floats(-1, 1, width=32),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_an_action_never_leaves_its_box(bounds: list[float], action: float, dtype: Any) -> None:
    space = spaces.Box(bounds[0], bounds[1], (1,), dtype)
    (inner,) = action_to_environment(np.array([[action]], f32), space)
    assert space.contains(inner)
