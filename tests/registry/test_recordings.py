"""Recordings as trajectories, and validation of trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from amago_registry.errors import RecordingError, UnsupportedSpaceError
from amago_registry.recordings import end_fault, form_fault, number_fault, recorded_trajectory
from amago_registry.trajectories import Trajectory

SEEN = spaces.Dict(
    eye=spaces.Dict(image=spaces.Box(0, 255, (2, 2), np.uint8)),
    limbs=spaces.Tuple([spaces.Box(-1, 1, (3,), np.float64), spaces.Discrete(4, start=1)]),
)
ACTED = spaces.Box(0, 10, (2,))


RAGGED = (
    "ValueError: setting an array element with a sequence. The requested array has an inhomogeneous "
    "shape after 1 dimensions. The detected shape was (2,) + inhomogeneous part"
)


def recording(**changes: Any) -> dict[str, Any]:
    """Two steps of a task with nested observations."""
    given = {
        "observations": {
            "eye": {"image": np.full((3, 2, 2), 7)},
            "limbs": (np.full((3, 3), 0.5), [1, 2, 4]),
        },
        "actions": [[0.0, 10.0], [5.0, 5.0]],
        "rewards": [1, 0],
        "terminated": [False, True],
        "truncated": [False, False],
        "observation_space": SEEN,
        "action_space": ACTED,
    }
    return given | changes


def test_a_recording_becomes_a_trajectory_in_the_format_of_the_replay() -> None:
    trajectory = recorded_trajectory(**recording(), seed=5, task="reach", success=0.5)
    columns = {name: (c.dtype.name, c.shape) for name, c in trajectory.columns.items()}
    assert columns == {
        "obs.eye/image": ("uint8", (3, 2, 2)),
        "obs.limbs/0": ("float32", (3, 3)),
        "obs.limbs/1": ("int64", (3,)),
        "action": ("float32", (2, 2)),
        "reward": ("float32", (2,)),
        "terminated": ("bool", (2,)),
        "truncated": ("bool", (2,)),
    }
    assert trajectory.columns["action"].tolist() == [[-1, 1], [0, 0]]
    assert trajectory.columns["obs.limbs/1"].tolist() == [1, 2, 4]
    assert (trajectory.seed, trajectory.task, trajectory.success) == (5, "reach", 0.5)
    assert (trajectory.start_time, trajectory.prev_action, trajectory.length) == (0, None, 2)


def test_a_recording_is_copied() -> None:
    seen = np.zeros((3, 1), np.float32)
    space = spaces.Box(0, 1, (1,))
    trajectory = recorded_trajectory(seen, [0, 0], [0, 0], [0, 0], [0, 1], space, spaces.Discrete(2))
    seen[:] = 1
    assert trajectory.columns["obs.observation"].tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"observations": {"eye": {"image": np.zeros((3, 2, 2))}}},
            "the observations have the keys ['eye/image'], their space has ['eye/image', 'limbs/0', "
            "'limbs/1'].",
        ),
        (
            {"rewards": [1]},
            "this recording cannot be learned from: obs.eye/image has 3 rows instead of 2.",
        ),
        (
            {"rewards": [1.0, np.inf]},
            "this recording cannot be learned from: reward has numbers that are not finite.",
        ),
        (
            {"terminated": [True, True]},
            "this recording cannot be learned from: terminated is true at the transitions [0] of 2, "
            "before the last.",
        ),
        (
            {"truncated": [0.0, 0.5]},
            "truncated is of type float64 and cannot become bool without loss.",
        ),
        (
            {"actions": [[0.0, 11.0], [5.0, 5.0]]},
            "the action [0.0, 11.0] of row 0 does not lie in Box(0.0, 10.0, (2,), float32).",
        ),
        (
            {"rewards": "much"},
            "reward is of type <U4 and cannot become float32 without loss.",
        ),
        (
            {"rewards": [[1.0], [1.0, 2.0]]},
            f"reward cannot become an array: {RAGGED}.",
        ),
        (
            {"actions": [[0.0, 10.0], [5.0]]},
            f"the action cannot become an array: {RAGGED}.",
        ),
        (
            {"rewards": 1.0},
            "this recording cannot be learned from: reward is not an array with rows.",
        ),
    ],
    ids=[
        "keys",
        "rows",
        "infinite",
        "goes on",
        "half",
        "action",
        "word",
        "ragged",
        "ragged action",
        "one",
    ],
)
def test_a_recording_that_does_not_match_its_spaces_raises(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecordingError) as caught:
        recorded_trajectory(**recording(**changes))
    assert str(caught.value) == message


def test_observations_that_are_not_arrays_raise() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        recorded_trajectory(**recording(observation_space=spaces.Sequence(spaces.Discrete(2))))
    assert str(caught.value) == (
        "observations of this kind are not supported: 'observation' Sequence(Discrete(2), stack=False)"
        "; use Box, Discrete, MultiBinary and MultiDiscrete, alone or in a Dict or Tuple, also nested."
    )


def test_a_recording_without_a_transition_raises() -> None:
    empty = {"actions": np.zeros((0, 2)), "rewards": [], "terminated": [], "truncated": []}
    with pytest.raises(RecordingError) as caught:
        recorded_trajectory(**recording(**empty))
    assert str(caught.value) == "this recording cannot be learned from: it has no transition."


def test_an_image_with_values_that_do_not_fit_uint8_raises() -> None:
    given = recording()
    given["observations"]["eye"]["image"] = np.full((3, 2, 2), 0.5)
    with pytest.raises(RecordingError) as caught:
        recorded_trajectory(**given)
    assert str(caught.value) == (
        "observation 'eye/image' is of type float64 and cannot become uint8 without loss."
    )


def with_column(name: str, change: Callable[[np.ndarray], Any]) -> Trajectory:
    trajectory = recorded_trajectory(**recording())
    columns = {**trajectory.columns}
    columns[name] = change(columns.get(name, columns["reward"]))
    return replace(trajectory, columns=columns)


FORMS = {
    "type": ("reward", lambda x: x.astype(float), "reward is float64 () per row instead of float32 ()"),
    "shape": ("action", lambda x: x[:, :1], "action is float32 (1,) per row instead of float32 (2,)"),
    "list": ("terminated", list, "terminated is not an array with rows"),
    "rows": ("goal", lambda x: x[:1], "goal has 1 rows instead of 2 or 3"),
    "word": ("goal", lambda x: np.array(["a", "b"]), "goal is <U1, which the replay cannot store"),
    "pair": ("goal", lambda x: x * 1j, "goal is complex64, which the replay cannot store"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "fault"), FORMS.values(), ids=FORMS)
def test_a_column_of_the_wrong_form_is_named(name: str, change: Any, fault: str) -> None:
    assert form_fault(with_column(name, change), SEEN, ACTED) == fault


def test_an_additional_column_is_allowed() -> None:
    assert form_fault(with_column("goal", lambda reward: reward.astype(np.int16)), SEEN, ACTED) is None


def test_an_observation_may_lie_outside_its_box_but_an_index_may_not() -> None:
    far = with_column("obs.limbs/0", lambda seen: seen + 5)
    assert number_fault(far, SEEN, ACTED) is None
    none = with_column("obs.limbs/1", lambda seen: seen - 1)
    assert number_fault(none, SEEN, ACTED) == "obs.limbs/1 has values outside Discrete(4, start=1)"
    beyond = with_column("action", lambda action: action * 2)
    assert number_fault(beyond, SEEN, ACTED) == (
        "action has values outside Box(-1.0, 1.0, (2,), float32)"
    )


def test_only_a_transition_before_the_last_is_an_early_end() -> None:
    assert end_fault(with_column("truncated", lambda truncated: ~truncated)) == (
        "truncated is true at the transitions [0] of 2, before the last"
    )
    assert end_fault(recorded_trajectory(**recording())) is None
