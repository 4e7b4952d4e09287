"""Gymnasium spaces to and from JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_core.run_folder.spaces_json import space_from_json, space_to_json
from amago_registry.errors import UnsupportedSpaceError
from amago_registry.spaces import canonical_observation


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
    st.just(spaces.Discrete(4, dtype=np.int16)),
    st.just(spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [-2, 3]])),
    st.just(spaces.MultiDiscrete([9], dtype=np.int8)),
    st.just(spaces.Box(0, 255, (4, 4, 3), np.uint8)),
    st.just(spaces.Box(np.array([False, False]), np.array([True, False]), (2,), np.bool_)),
    st.just(spaces.Box(0, np.iinfo(np.int64).max, (2,), np.int64)),
)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        leaves,
        lambda inner: (
            st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3).map(spaces.Dict)
            | st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple)
        ),
        max_leaves=4,
    )
)
# Gymnasium warns of bounds so wide that their difference overflows; they are legal.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:overflow:RuntimeWarning")
def test_a_space_is_always_restored_exactly_from_json(space: spaces.Space[Any]) -> None:
    again = space_from_json(json.loads(json.dumps(space_to_json(space), allow_nan=False)))
    assert again == space
    for one, other in zip(_boxes(space), _boxes(again), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one.low, other.low)
        assert np.array_equal(one.high, other.high)


def _boxes(space: spaces.Space[Any]) -> list[spaces.Box]:
    members = canonical_observation(space).values()
    return [member for member in members if isinstance(member, spaces.Box)]


def test_a_discrete_space_without_a_dtype_is_int64() -> None:
    assert space_from_json({"type": "Discrete", "n": 3, "start": 0}) == spaces.Discrete(3)


def test_an_unsupported_space_is_an_error() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        space_to_json(spaces.Text(5))
    assert str(caught.value) == (
        f"observations or actions of space {spaces.Text(5)} are not supported."
    )


def test_an_unknown_type_of_space_is_an_error() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        space_from_json({"type": "Torus"})
    assert str(caught.value) == "unknown space 'Torus' in the run's spaces.json."
