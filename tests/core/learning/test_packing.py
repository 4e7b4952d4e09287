"""Packing slices into a batch, compared with an obvious loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_core.learning.batch import PackedBatch, pack
from amago_registry.actions import choices
from amago_registry.errors import AmagoError, UnsupportedSpaceError
from amago_registry.layout import SequenceLayout
from amago_registry.trajectories import Trajectory

BOX = spaces.Box(-1.0, 1.0, (3,))
SPACES = [
    spaces.Discrete(4),
    spaces.Discrete(1000),
    BOX,
    spaces.MultiDiscrete([3, 1, 2]),
    spaces.MultiBinary(3),
]


def recording(length: int, space: spaces.Space[Any], rng: np.random.Generator) -> Trajectory:
    action = {
        spaces.Discrete: lambda: rng.integers(0, getattr(space, "n", 0), length).astype(np.int16),
        spaces.MultiDiscrete: lambda: rng.integers(0, [3, 1, 2], (length, 3)).astype(np.uint8),
        spaces.MultiBinary: lambda: rng.integers(0, 2, (length, 3)).astype(np.int8),
        spaces.Box: lambda: rng.uniform(-1, 1, (length, 3)).astype(np.float32),
    }[type(space)]()
    return Trajectory(
        {
            "obs.place": rng.normal(size=(length + 1, 2)),
            "obs.image": rng.integers(0, 256, (length + 1, 2, 2, 1)).astype(np.uint8),
            "action": action,
            "reward": rng.normal(size=length).astype(np.float32),
            "terminated": rng.uniform(size=length) < 0.5,
            "truncated": np.zeros(length, bool),
        },
        seed=0,
        start_time=int(rng.integers(0, 9)),
    )


def slow_vector(action: Any, space: spaces.Space[Any]) -> list[float]:
    """Return an action as a vector; zeros for None."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.tolist()
        indices = [None] * len(sizes) if action is None else np.atleast_1d(action).tolist()
        pairs = zip(sizes, indices, strict=True)
        return [float(choice == index) for size, index in pairs for choice in range(size)]
    return [0.0] * 3 if action is None else [float(x) for x in action]


def slow_rows(
    trajectory: Trajectory, start: int, stop: int, space: spaces.Space[Any]
) -> list[dict[str, Any]]:
    """Return the policy's inputs and actions at each timestep of a slice."""
    rows = []
    for t in range(start, stop + 1):
        prev_action = slow_vector(None if t == 0 else trajectory.columns["action"][t - 1], space)
        rows.append(
            {
                "place": trajectory.columns["obs.place"][t].astype(np.float32).tolist(),
                "image": trajectory.columns["obs.image"][t].tolist(),
                "prev_action": prev_action,
                "prev_reward": float(trajectory.columns["reward"][t - 1]) if t > 0 else 0.0,
                "time": trajectory.start_time + t,
                "acts": t < stop,
                "action": trajectory.columns["action"][t].tolist() if t < stop else None,
                "reward": float(trajectory.columns["reward"][t]) if t < stop else None,
                "terminated": bool(trajectory.columns["terminated"][t]) if t < stop else None,
            }
        )
    return rows


def every(rows: list[dict[str, Any]], field: str) -> list[Any]:
    return [row[field] for row in rows]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    space=st.sampled_from(SPACES),
    seed=st.integers(0, 1000),
)
def test_a_packed_batch_always_equals_that_of_the_slow_loop(
    lengths: list[int], space: spaces.Space[Any], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    slices, rows, counts = [], [], []
    for length in lengths:
        trajectory = recording(length, space, rng)
        start = int(rng.integers(0, length))
        stop = int(rng.integers(start + 1, length + 1))
        slices.append(trajectory.slice(start, stop))
        rows += slow_rows(trajectory, start, stop, space)
        counts.append(stop - start + 1)
    batch = pack(slices, space)
    acting = [row for row in rows if row["acts"]]
    assert batch.layout.lengths == tuple(counts)
    assert batch.layout.time_N.tolist() == every(rows, "time")
    assert batch.rows_M.tolist() == [n for n, row in enumerate(rows) if row["acts"]]
    assert batch.obs["place"].tolist() == every(rows, "place")
    assert batch.obs["image"].tolist() == every(rows, "image")
    assert batch.prev_action_NA.tolist() == every(rows, "prev_action")
    assert batch.prev_reward_N.tolist() == every(rows, "prev_reward")
    assert batch.action.tolist() == every(acting, "action")
    assert batch.reward_M.tolist() == every(acting, "reward")
    assert batch.terminated_M.tolist() == every(acting, "terminated")


def dtypes(batch: PackedBatch) -> dict[str, torch.dtype]:
    return {
        **{name: tensor.dtype for name, tensor in batch.obs.items()},
        "prev_action": batch.prev_action_NA.dtype,
        "prev_reward": batch.prev_reward_N.dtype,
        "action": batch.action.dtype,
        "reward": batch.reward_M.dtype,
        "terminated": batch.terminated_M.dtype,
        "rows": batch.rows_M.dtype,
    }


@pytest.mark.parametrize(
    ("space", "action"),
    [(space, torch.int64 if choices(space) else torch.float32) for space in SPACES],
)
def test_floats_are_packed_as_float32_and_images_as_uint8(
    space: spaces.Space[Any], action: torch.dtype
) -> None:
    whole = recording(3, space, np.random.default_rng(0)).slice(0, 3)
    assert dtypes(pack([whole], space)) == {
        "place": torch.float32,
        "image": torch.uint8,
        "prev_action": torch.float32,
        "prev_reward": torch.float32,
        "action": action,
        "reward": torch.float32,
        "terminated": torch.bool,
        "rows": torch.int64,
    }


def test_packing_copies_the_stored_trajectories() -> None:
    whole = recording(3, BOX, np.random.default_rng(0)).slice(0, 3)
    batch = pack([whole], BOX)
    batch.action.zero_()
    batch.reward_M.zero_()
    batch.obs["image"].zero_()
    assert all(whole.columns[name].any() for name in ("action", "reward", "obs.image"))


@pytest.mark.parametrize("space", SPACES, ids=["few", "many", "box", "factors", "bits"])
def test_the_previous_action_of_a_segment_is_only_in_its_first_row(
    space: spaces.Space[Any],
) -> None:
    rng = np.random.default_rng(0)
    whole = recording(6, space, rng)
    later, first = whole.slice(4, 6), recording(1, space, rng)
    # A segment as the collector stores it, with its previous action and reward.
    stored = replace(later, prev_action=np.array(whole.columns["action"][3]), prev_reward=0.25)
    batch = pack([first, stored, first], space)
    rows = batch.prev_action_NA.tolist()
    before = slow_vector(whole.columns["action"][3], space)
    assert [rows[0], rows[2], rows[5]] == [slow_vector(None, space), before, slow_vector(None, space)]
    assert batch.prev_reward_N[[0, 2, 5]].tolist() == [0.0, 0.25, 0.0]
    assert batch.layout.time_N[2].item() == whole.start_time + 4


def test_the_layout_equals_the_one_built_from_lengths_and_times() -> None:
    rng = np.random.default_rng(0)
    slices = [recording(length, BOX, rng) for length in (3, 1, 7)]
    layout = pack(slices, BOX).layout
    built = SequenceLayout.build((4, 2, 8), layout.time_N.clone())
    assert layout.lengths == built.lengths
    for ours, theirs in (
        (layout.offsets, built.offsets),
        (layout.sequence_N, built.sequence_N),
        (layout.time_N, built.time_N),
    ):
        assert ours.dtype == theirs.dtype
        assert ours.tolist() == theirs.tolist()


def test_slices_of_several_sources_can_have_different_types() -> None:
    ours = recording(1, spaces.Discrete(4), np.random.default_rng(0))
    theirs = dict(ours.columns)
    theirs["action"] = np.array([3], np.int64)
    theirs["obs.image"] = np.full((2, 2, 2, 1), 0.5, np.float32)
    theirs["reward"] = np.array([0.1], np.float64)
    batch = pack([ours, Trajectory(theirs)], spaces.Discrete(4))
    assert batch.action.tolist() == [ours.columns["action"][0], 3]
    assert batch.obs["image"].dtype == torch.float32
    assert batch.obs["image"][2:].unique().tolist() == [0.5]
    assert batch.reward_M[1] == np.float32(0.1)


def test_a_batch_needs_a_slice() -> None:
    message = "^a batch needs at least one slice, and a slice at least one transition$"
    with pytest.raises(ValueError, match=message):
        pack([], BOX)


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(3, start=1), spaces.Box(-1, 1, (2, 2)), spaces.Text(2)],
    ids=["shifted", "two axes", "text"],
)
def test_action_spaces_that_are_not_canonical_are_refused(space: spaces.Space[Any]) -> None:
    trajectory = Trajectory(recording(1, BOX, np.random.default_rng(0)).columns)
    with pytest.raises(UnsupportedSpaceError) as caught:
        pack([trajectory], space)
    assert str(caught.value) == (
        f"parts do not take the action space {space}; they take Discrete and MultiDiscrete that count "
        "from 0, MultiBinary and Box, all but Discrete with one axis."
    )


@pytest.mark.parametrize("index", [-1, 2])
def test_an_action_outside_the_choices_is_refused(index: int) -> None:
    columns = dict(recording(2, spaces.Discrete(2), np.random.default_rng(0)).columns)
    columns["action"] = np.array([1, index])
    with pytest.raises(AmagoError) as caught:
        pack([Trajectory(columns)], spaces.Discrete(2))
    assert str(caught.value) == (
        f"an action is {index}, outside the choices 0 to 1: the trajectory was recorded or relabelled "
        "for another action space"
    )


@pytest.mark.parametrize("index", [-1, 3])
def test_a_previous_action_outside_the_choices_is_refused(index: int) -> None:
    columns = recording(2, spaces.Discrete(3), np.random.default_rng(0)).columns
    given = [Trajectory(columns, prev_action=np.array(a, np.int16)) for a in (2, index)]
    with pytest.raises(AmagoError) as caught:
        pack(given, spaces.Discrete(3))
    assert str(caught.value) == (
        f"an action is {index}, outside the choices 0 to 2: the trajectory was recorded or relabelled "
        "for another action space"
    )


def masked(length: int, mask: list[list[int]], dtype: Any = np.int8) -> Trajectory:
    columns = dict(recording(length, spaces.Discrete(3), np.random.default_rng(0)).columns)
    columns["obs.action_mask"] = np.array(mask, dtype)
    return Trajectory(columns)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.bool_])
def test_the_action_mask_is_taken_from_the_observation_of_every_timestep(dtype: Any) -> None:
    slices = [
        masked(1, [[1, 0, 1], [0, 0, 0]], dtype),
        masked(2, [[1, 1, 1], [0, 1, 0], [1, 0, 0]], dtype),
    ]
    mask_NA = pack(slices, spaces.Discrete(3)).action_mask_NA
    assert mask_NA is not None
    assert mask_NA.dtype == torch.bool
    assert mask_NA.int().tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]]


def test_with_continuous_actions_a_mask_is_an_ordinary_observation() -> None:
    columns = {
        **recording(1, BOX, np.random.default_rng(0)).columns,
        "obs.action_mask": np.ones((2, 3)),
    }
    batch = pack([Trajectory(columns)], BOX)
    assert batch.action_mask_NA is None
    assert batch.obs["action_mask"].tolist() == [[1, 1, 1]] * 2
