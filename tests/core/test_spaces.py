"""Spaces as the agent sees them, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_core.spaces import (
    action_to_environment,
    action_width,
    canonical_action,
    canonical_observation,
    previous_action,
    space_from_json,
    space_to_json,
)
from amago_registry.errors import UnsupportedSpaceError

f32 = np.float32
small_float32 = st.floats(-1e6, 1e6, width=32)


def test_a_bare_observation_gets_a_name() -> None:
    box = spaces.Box(0, 1, (2,))
    assert canonical_observation(box) == spaces.Dict(observation=box)


def test_a_dictionary_of_observations_stays_as_it_is() -> None:
    both = spaces.Dict(a=spaces.Discrete(2), b=spaces.MultiBinary(3))
    assert canonical_observation(both) is both


def test_actions_are_an_index_from_zero_or_a_flat_vector() -> None:
    assert canonical_action(spaces.Discrete(4, start=-1)) == spaces.Discrete(4)
    assert canonical_action(spaces.Box(0, 9, (2, 3))) == spaces.Box(-1, 1, (6,), f32)
    assert action_width(spaces.Discrete(4)) == 4
    assert action_width(spaces.Box(-1, 1, (6,))) == 6


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (spaces.MultiBinary(2), "MultiBinary(2)"),
        (spaces.Box(0, np.inf, (1,)), "Box(0.0, inf, (1,), float32)"),
    ],
)
def test_other_actions_are_refused(space: spaces.Space[Any], text: str) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        canonical_action(space)
    assert str(caught.value) == (
        f"actions of space {text} are not supported: use Discrete(n) or a Box with finite bounds."
    )


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


def test_a_previous_action_is_one_hot_or_the_vector_itself() -> None:
    one_hot = previous_action(np.array([2, 0]), spaces.Discrete(3))
    assert one_hot.tolist() == [[0, 0, 1], [1, 0, 0]]
    vector = np.array([[0.5, -1]], f32)
    assert previous_action(vector, spaces.Box(-1, 1, (2,))).tolist() == [[0.5, -1]]


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    size = int(np.prod(shape))
    width = draw(st.sampled_from([32, 64]))
    bound = st.floats(allow_nan=False, width=width)
    pairs = draw(st.lists(st.tuples(bound, bound).map(sorted), min_size=size, max_size=size))
    dtype = np.float32 if width == 32 else np.float64
    low, high = (np.array([pair[side] for pair in pairs], dtype).reshape(shape) for side in (0, 1))
    return spaces.Box(low, high, shape, dtype)


leaves = st.one_of(
    boxes(),
    st.builds(spaces.Discrete, st.integers(1, 9), start=st.integers(-5, 5)),
    st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 9), st.just([2, 3]))),
    st.just(spaces.Box(0, 255, (4, 4, 3), np.uint8)),
    st.just(spaces.Box(0, np.iinfo(np.int64).max, (2,), np.int64)),
)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        leaves,
        st.dictionaries(st.text(max_size=3), leaves, min_size=1, max_size=3).map(spaces.Dict),
    )
)
# Gymnasium warns of bounds so wide that their difference overflows; they are legal.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:overflow:RuntimeWarning")
def test_a_space_always_survives_json_to_the_bit(space: spaces.Space[Any]) -> None:
    again = space_from_json(json.loads(json.dumps(space_to_json(space), allow_nan=False)))
    assert again == space
    for one, other in zip(_boxes(space), _boxes(again), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one.low, other.low)
        assert np.array_equal(one.high, other.high)


def _boxes(space: spaces.Space[Any]) -> list[spaces.Box]:
    members = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    return [member for member in members if isinstance(member, spaces.Box)]


def test_a_space_no_agent_takes_has_no_description() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        space_to_json(spaces.Text(5))
    assert str(caught.value) == (
        f"observations or actions of space {spaces.Text(5)} are not supported."
    )


def test_an_unknown_description_is_refused() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        space_from_json({"type": "Torus"})
    assert str(caught.value) == "unknown space 'Torus' in the run's spaces.json."
