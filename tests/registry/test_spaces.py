"""Spaces as the agent sees them, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_registry.errors import RecordingError, UnsupportedSpaceError
from amago_registry.spaces import (
    action_to_environment,
    canonical_action,
    canonical_observation,
    check_observation,
    flat_observation,
    stored_action,
    stored_action_dtype,
    stored_observation_dtype,
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


def test_nested_keys_are_joined_by_slashes_and_tuples_are_numbered() -> None:
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


def test_an_observation_of_another_structure_has_other_keys() -> None:
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
def test_observations_that_are_not_arrays_raise(space: spaces.Space[Any], message: str) -> None:
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
def test_unsupported_actions_raise(space: spaces.Space[Any], text: str) -> None:
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
def test_every_stored_action_converts_to_one_in_the_space(space: Any, seed: int) -> None:
    """Also when it was stored in the smallest type that holds it."""
    canonical = canonical_action(space)
    canonical.seed(seed)
    action = np.stack([canonical.sample() for _ in range(5)])
    given_ = action_to_environment(action, space)
    assert all(space.contains(one) for one in given_)
    if not isinstance(space, spaces.Box):
        small = action.astype(np.int16 if action.max() > 255 else np.uint8)
        assert np.array_equal(action_to_environment(small, space), given_)


def test_indices_are_reshaped_and_shifted_to_their_start() -> None:
    space = spaces.MultiDiscrete([[3, 3], [3, 3]], start=[[0, 10], [20, -30]])
    moved = action_to_environment(np.array([[0, 1, 2, 0], [2, 2, 2, 2]], np.uint8), space)
    assert moved.tolist() == [[[0, 11], [22, -30]], [[2, 12], [22, -28]]]


def test_an_index_is_shifted_to_the_start_of_the_space() -> None:
    moved = action_to_environment(np.array([0, 3]), spaces.Discrete(4, start=-1))
    assert moved.tolist() == [-1, 2]


def test_a_vector_is_rescaled_to_the_bounds_of_each_dimension() -> None:
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


def test_actions_are_stored_as_indices_from_0_or_numbers_in_minus_1_to_1() -> None:
    discrete = stored_action(np.array([5, 7]), spaces.Discrete(3, start=5))
    assert (discrete.tolist(), discrete.dtype) == ([0, 2], np.uint8)
    grid = spaces.MultiDiscrete([[3], [300]], start=[[1], [-1]])
    many = stored_action(np.array([[[3], [-1]], [[1], [298]]]), grid)
    assert (many.tolist(), many.dtype) == ([[2, 0], [0, 299]], np.int16)
    bits = stored_action([[True, False]], spaces.MultiBinary(2))
    assert (bits.tolist(), bits.dtype) == ([[1, 0]], np.int8)
    box = spaces.Box(np.array([0, -2, 5]), np.array([10, 2, 5]), dtype=np.float64)
    numbers = stored_action([[5.0, 2.0, 5.0], [0.0, -1.0, 5.0]], box)
    assert (numbers.tolist(), numbers.dtype) == ([[0, 1, 0], [-1, -0.5, 0]], f32)


def test_actions_outside_their_box_by_rounding_are_clipped() -> None:
    space = spaces.Box(-10, 30, (1,), np.float64)
    assert stored_action([[30.04], [-10.04]], space).tolist() == [[1], [-1]]


@pytest.mark.parametrize(
    ("action", "space", "message"),
    [
        ([0, 3], spaces.Discrete(3), "the action 3 of row 1 does not lie in Discrete(3)."),
        ([0, 0.5], spaces.Discrete(3), "the action 0.5 of row 1 does not lie in Discrete(3)."),
        ([np.nan], spaces.Discrete(3), "the action nan of row 0 does not lie in Discrete(3)."),
        ([[1, 3]], spaces.MultiDiscrete([3, 3]), "the action [1, 3] of row 0 does not lie in "
         "MultiDiscrete([3 3])."),
        ([[0, 2]], spaces.MultiBinary(2), "the action [0, 2] of row 0 does not lie in MultiBinary(2)."),
        ([[30.05]], spaces.Box(-10, 30, (1,), np.float64), "the action [30.05] of row 0 does not lie "
         "in Box(-10.0, 30.0, (1,), float64)."),
        ([[1e300]], spaces.Box(0, 1e-20, (1,), np.float64), "the action [1e+300] of row 0 does not lie "
         "in Box(0.0, 1e-20, (1,), float64)."),
        ([[np.nan]], spaces.Box(0, 1, (1,)), "the action [nan] of row 0 does not lie in "
         "Box(0.0, 1.0, (1,), float32)."),
        ([[6.0]], spaces.Box(5, 5, (1,)), "the action [6.0] of row 0 does not lie in "
         "Box(5.0, 5.0, (1,), float32)."),
        ([1.0, 2.0], spaces.Box(0, 1, (2,)), "the actions are float64 (2,); those of "
         "Box(0.0, 1.0, (2,), float32) are numbers (B, 2)."),
        (["left"], spaces.Discrete(3), "the actions are <U4 (1,); those of Discrete(3) are numbers "
         "(B)."),
    ],
    ids=["much", "half", "nan", "factor", "bit", "out", "far", "nothing", "fixed", "shape", "words"],
)  # fmt: skip
def test_an_action_outside_its_space_raises(
    action: Any, space: spaces.Space[Any], message: str
) -> None:
    with pytest.raises(RecordingError) as caught:
        stored_action(action, space)
    assert str(caught.value) == message


def test_actions_of_unsupported_spaces_raise() -> None:
    with pytest.raises(UnsupportedSpaceError):
        stored_action(np.zeros((1, 1)), spaces.Box(-np.inf, np.inf, (1,)))


@st.composite
def indexed_spaces(draw: st.DrawFn) -> spaces.Space[Any]:
    counts = draw(st.lists(st.integers(1, 400), min_size=1, max_size=4))
    starts = draw(st.lists(st.integers(-50, 50), min_size=len(counts), max_size=len(counts)))
    kind = draw(st.sampled_from(["one", "many", "bits", "bytes"]))
    if kind == "one":
        return spaces.Discrete(counts[0], start=starts[0])
    if kind == "many":
        return spaces.MultiDiscrete(np.array([counts]), start=np.array([starts]))
    if kind == "bits":
        return spaces.MultiBinary((2, len(counts)))
    return spaces.Box(-7, 240, (2, len(counts)), np.int16)


@settings(max_examples=60, deadline=None)
@given(indexed_spaces(), st.integers(0, 2**16))
def test_a_whole_action_always_survives_being_stored(space: spaces.Space[Any], seed: int) -> None:
    space.seed(seed)
    action = np.stack([space.sample() for _ in range(4)])
    stored = stored_action(action, space)
    assert stored.dtype == stored_action_dtype(canonical_action(space))
    back = action_to_environment(stored, space)
    np.testing.assert_array_equal(back, action)
    assert back.dtype == action.dtype
    np.testing.assert_array_equal(stored_action(back, space), stored)


@settings(max_examples=60, deadline=None)
@given(
    bounds=st.tuples(small_float32, small_float32).map(sorted),
    share=st.floats(0, 1),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_number_always_survives_being_stored_but_for_rounding(
    bounds: list[float], share: float, dtype: Any
) -> None:
    low, high = bounds
    space = spaces.Box(low, high, (1,), dtype)
    action = np.clip(np.array([[low + share * (high - low)]]), low, high).astype(dtype)
    back = action_to_environment(stored_action(action, space), space)
    assert abs(float(back[0, 0]) - float(action[0, 0])) <= 1e-6 * max(high - low, abs(low), abs(high))


def test_the_widest_box_there_is_does_not_overflow() -> None:
    most = np.finfo(np.float64).max
    space = spaces.Box(-most, most, (1,), np.float64)
    assert stored_action([[most], [0.0], [-most]], space).tolist() == [[1], [0], [-1]]


def test_float64_is_stored_as_float32_and_indices_as_the_smallest_type() -> None:
    assert stored_observation_dtype(spaces.Box(0, 1, dtype=np.float64)) == f32
    assert stored_observation_dtype(spaces.Box(0, 1, dtype=np.uint8)) == np.uint8
    sizes = (256, 257, 2**15 + 1, 2**31 + 1)
    stored = [stored_action_dtype(spaces.Discrete(n)).name for n in sizes]
    assert stored == ["uint8", "int16", "int32", "int64"]
