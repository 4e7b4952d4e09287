"""Recorded spaces: values beside the observations that are checked and stored, not shown to agents."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import toys
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from hypothesis import given
from hypothesis import strategies as st
from toys import Kept, Seeker, SpyAgent, Walk

from amago_core.acting.collector import Collector
from amago_core.acting.episode_stats import EpisodeStats
from amago_core.acting.evaluator import Evaluator
from amago_core.acting.recorder import RolloutRecorder, SegmentLengths
from amago_core.acting.task_seeds import TaskSeeds
from amago_core.compose.tasks import compose_task
from amago_core.environments import (
    CheckedEnv,
    EnvironmentFault,
    GymnasiumVectorEnvironments,
    make_environments,
)
from amago_core.environments.gymnasium_vector import make_gymnasium_vector
from amago_core.learning.batch import pack
from amago_core.replay import Replay, ReplayWriter
from amago_core.replay.shard_format import RESERVED
from amago_core.replay.trajectory_checks import REQUIRED, stored_copy
from amago_core.system.tensor_tree import decode_tree, encode_tree
from amago_registry.recordings import TAKEN
from amago_registry.trajectories import Trajectory

# By value: an import of the module in subprocesses would import torch, which is slow.
cloudpickle.register_pickle_by_value(toys)

SEEN = "obs.observation"
ACHIEVED = spaces.Dict(achieved=spaces.Box(0, 9, (1,), np.int64))


class Declares(Walk):
    """A walk that declares something to record."""

    def __init__(self, space: Any) -> None:
        super().__init__()
        self.recorded_space = space


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (3, "its recorded_space is 3, not a gymnasium.spaces.Dict"),
        (
            spaces.Discrete(3),
            "its recorded_space is Discrete(3), not a gymnasium.spaces.Dict",
        ),
        *(
            (
                spaces.Dict({key: spaces.Discrete(3), "own": spaces.Discrete(3)}),
                f"its recorded_space has the key {key!r}, which is reserved in trajectories "
                "and infos: choose another name",
            )
            for key in ("reward", "terminated", "success", "task", "obs.place", "_own", "lengths")
        ),
        (
            spaces.Dict({1: spaces.Discrete(3), (2,): spaces.Discrete(3)}),
            "its recorded_space has the key 1 and (2,): keys are names of columns, so strings",
        ),
        (
            spaces.Dict(inner=spaces.Dict(own=spaces.Discrete(3)), word=spaces.Text(3)),
            f"its recorded_space has 'inner' {spaces.Dict(own=spaces.Discrete(3))}, 'word' "
            f"{spaces.Text(3)}: use Box, Discrete, MultiBinary and MultiDiscrete, of at most 64 bits",
        ),
    ],
    ids=lambda case: None if isinstance(case, str) else str(case).replace(" ", ""),
)
def test_a_space_that_cannot_be_recorded_is_refused(space: Any, message: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        make_environments(lambda: Declares(space), "walk", 1)
    assert str(caught.value) == f"environment walk: {message}."


def test_names_that_the_replay_uses_cannot_be_recorded() -> None:
    assert {*REQUIRED, *RESERVED} - TAKEN == {"__metadata__"}  # It begins with an underscore.


@pytest.mark.parametrize("space", [None, spaces.Dict()], ids=str)
def test_an_environment_may_declare_that_it_records_nothing(space: Any) -> None:
    vector = make_environments(lambda: Declares(space), "walk", 2)
    assert vector.recorded_space == spaces.Dict()
    assert vector.recorded == {}
    assert make_environments(Walk, "walk", 2).recorded == {}


def test_the_recorded_space_is_found_below_wrappers() -> None:
    wrapped = gymnasium.wrappers.TimeLimit(Kept(), 3)
    assert list(CheckedEnv(wrapped, "walk").recorded_space) == ["warmth", "clock"]


def test_an_error_in_the_recorded_space_property_is_raised() -> None:
    class Unread(Walk):
        @property
        def recorded_space(self) -> spaces.Dict:
            return spaces.Dict(place=self.place_space)  # type: ignore[attr-defined]

    with pytest.raises(EnvironmentFault) as caught:
        make_environments(lambda: gymnasium.wrappers.TimeLimit(Unread(), 3), "walk", 1)
    assert str(caught.value) == (
        "environment walk could not be constructed: AttributeError: 'Unread' object has no attribute "
        "'place_space'."
    )


@pytest.mark.parametrize(
    ("at", "how", "message"),
    [
        (0, "lacks", "the info has no 'warmth', which recorded_space declares."),
        (2, "lacks", "the info has no 'warmth', which recorded_space declares."),
        (1, "shape", "info['warmth'] has shape (1,), its space (2,)."),
        (2, "kind", "info['warmth'] is of type complex128, its space of float64."),
        (0, "ragged", "info['warmth'] is not an array: [1.0, [2.0]]."),
        (1, "none", "info['warmth'] has shape (), its space (2,)."),
    ],
)
def test_an_error_names_environment_step_and_key(at: int, how: str, message: str) -> None:
    env = CheckedEnv(Kept(50, at=at, how=how), "walk")

    def act() -> None:
        env.reset(seed=1)
        for _ in range(4):
            env.step(0)

    with pytest.raises(EnvironmentFault) as caught:
        act()
    assert str(caught.value) == f"environment walk, step {at} of its task: {message}"


def test_recorded_values_of_a_compatible_dtype_are_converted() -> None:
    vector = make_environments(lambda: Kept(50, at=1, how="whole"), "walk", 2)
    vector.reset([1, 2])
    vector.step(np.zeros(2, np.int64))
    assert vector.recorded["warmth"].dtype == np.float32
    assert vector.recorded["warmth"].tolist() == [[3, -1], [3, -1]]
    assert vector.recorded["clock"].dtype == np.uint8
    assert vector.recorded["clock"].tolist() == [1, 1]


def test_only_environments_that_were_reset_or_stepped_record() -> None:
    vector = make_environments(lambda: Kept(50), "walk", 3)
    recorded = vector.recorded
    vector.reset([1, 2, 3])
    assert vector.recorded["clock"].tolist() == [0, 0, 0]
    vector.step(np.zeros(3, np.int64), np.array([True, False, True]))
    assert vector.recorded["clock"].tolist() == [1, 0, 1]
    vector.reset([None, None, 4])
    assert vector.recorded["clock"].tolist() == [1, 0, 0]
    assert vector.recorded is recorded
    assert np.array_equal(vector.recorded["warmth"][:, 1], vector.obs["observation"][:, 1])


def test_subprocess_environments_record_what_sync_environments_do() -> None:
    make, begun = partial(Kept, 5), count(10)
    alone = make_environments(make, "walk", 3)
    spread = make_environments(make, "walk", 3, "async", processes=2)
    try:
        assert spread.recorded_space == alone.recorded_space
        for side in (alone, spread):
            side.reset([1, 2, 3])
        for _ in range(60):
            assert spread.recorded.keys() == alone.recorded.keys() == {"warmth", "clock"}
            for key, values in alone.recorded.items():
                assert spread.recorded[key].dtype == values.dtype
                assert np.array_equal(spread.recorded[key], values)
            ended_B = alone.terminated_B | alone.truncated_B
            if ended_B.any():
                seeds = [next(begun) if ended else None for ended in ended_B]
                for side in (alone, spread):
                    side.reset(seeds)
            for side in (alone, spread):
                side.step(np.array([0, 1, 2]))
    finally:
        spread.close()


class Noting(gymnasium.Env[Any, Any]):
    """Observes and notes [number of its task, time]; tasks take ``first``, ``first + 1`` ... steps."""

    def __init__(self, first: int) -> None:
        self.first, self.number = first, -1
        self.observation_space = spaces.Box(0, 99, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.recorded_space = spaces.Dict(noted=spaces.Box(0, 99, (2,), np.int64))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.number = 0, self.number + 1
        return self._see(np.float32), {"noted": self._see(np.int64)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.time == self.first + self.number
        return self._see(np.float32), 1.0, over, False, {"noted": self._see(np.int64)}

    def _see(self, dtype: Any) -> Any:
        return np.array([self.number, self.time], dtype)


class Vector(VectorWrapper):
    """A vector of ``Noting``; the first task of each is one step longer than that of the one before.

    Infos are wrong in the way ``how`` names.
    """

    def __init__(self, number: int, mode: AutoresetMode, how: str = "") -> None:
        firsts = [partial(Noting, 2 + index) for index in range(number)]
        super().__init__(SyncVectorEnv(firsts, autoreset_mode=mode))
        self.single_recorded_space = Noting(2).recorded_space
        self.how = how

    def step(self, actions: Any) -> Any:
        *others, infos = self.env.step(actions)
        noted = infos["noted"]
        wrong: dict[str, dict[str, Any]] = {
            "": infos,
            "lacks": {},
            "lacks the end": {key: value for key, value in infos.items() if key != "final_info"},
            "shape": {"noted": noted[:, :1]},
            "kind": {"noted": noted + 0.5},
            "silent": {"noted": noted, "_noted": np.array([True, False])},
        }
        return *others, wrong[self.how]


class NotingPart:
    """A part with a vector form."""

    def __init__(self, mode: AutoresetMode) -> None:
        self.mode = mode

    def make(self) -> gymnasium.Env[Any, Any]:
        return Noting(2)

    def make_vector(self, number: int) -> VectorEnv[Any, Any, Any]:
        return Vector(number, self.mode)


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_a_vector_form_records_whole_trajectories_in_every_autoreset_mode(
    mode: AutoresetMode,
) -> None:
    vector = make_environments(NotingPart(mode).make, "noting", 3, "native")
    assert vector.recorded_space == Noting(2).recorded_space
    fast = Collector(
        SpyAgent(),  # type: ignore[arg-type]
        vector,
        "noting",
        TaskSeeds(0, 0, np.zeros(3, np.int64)),
        sample=True,
    )
    fast.start()
    trajectories, _ = collect(fast, 40)
    assert len(trajectories) > 12
    for one in trajectories:
        noted = one.columns["noted"].tolist()
        assert noted == [[noted[0][0], time] for time in range(one.length + 1)]
        assert noted == one.columns[SEEN].tolist()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("lacks", "the info has no 'noted', which single_recorded_space declares"),
        ("shape", "info['noted'] has shape (2, 1), not (2, 2)"),
        ("kind", "info['noted'] is of type float64, its space of int64"),
        ("silent", "the info has no 'noted' of environment 1"),
    ],
)
def test_an_error_of_a_vector_form_names_the_missing_or_wrong_info(how: str, message: str) -> None:
    environments = GymnasiumVectorEnvironments(Vector(2, AutoresetMode.DISABLED, how), "noting")
    environments.reset([1, 2])
    with pytest.raises(EnvironmentFault) as caught:
        environments.step(np.zeros(2, np.int64))
    assert str(caught.value) == f"environment noting, in its vector form: {message}."


def test_same_step_autoreset_must_record_the_last_step_in_final_info() -> None:
    vector = Vector(2, AutoresetMode.SAME_STEP, "lacks the end")
    environments = GymnasiumVectorEnvironments(vector, "noting")
    environments.reset([1, 2])
    environments.step(np.zeros(2, np.int64))
    with pytest.raises(EnvironmentFault) as caught:
        environments.step(np.zeros(2, np.int64))
    assert str(caught.value) == (
        "environment noting, in its vector form: the final_info has no 'noted', which "
        "single_recorded_space declares."
    )


def test_a_vector_form_with_another_recorded_space_is_refused() -> None:
    def undeclared(number: int) -> VectorEnv[Any, Any, Any]:
        return Vector(number, AutoresetMode.DISABLED).env

    with pytest.raises(EnvironmentFault) as caught:
        make_gymnasium_vector(undeclared, partial(Noting, 2), "noting", 2)
    assert str(caught.value) == (
        "environment noting: the recorded space of its vector form is Dict() instead of "
        f"{Noting(2).recorded_space}."
    )


def test_a_reserved_key_in_the_space_of_a_vector_form_is_refused() -> None:
    class Odd(Vector):
        def __init__(self, number: int) -> None:
            super().__init__(number, AutoresetMode.DISABLED)
            self.single_recorded_space = spaces.Dict(task=spaces.Discrete(2))

    with pytest.raises(EnvironmentFault) as caught:
        make_gymnasium_vector(Odd, partial(Noting, 2), "noting", 2)
    assert str(caught.value) == (
        "environment noting, in its vector form: its single_recorded_space has the key 'task', which "
        "is reserved in trajectories and infos: choose another name."
    )


def test_the_recorded_space_of_a_vector_form_is_found_below_wrappers() -> None:
    class Passing(VectorWrapper):
        pass

    inner = Vector(2, AutoresetMode.DISABLED).env
    inner.single_recorded_space = Noting(2).recorded_space  # type: ignore[attr-defined]
    environments = GymnasiumVectorEnvironments(Passing(inner), "noting")
    assert environments.recorded_space == Noting(2).recorded_space


def collector(make: Callable[[], Any], environments: int = 3, **settings: Any) -> Collector:
    vector = make_environments(make, "walk", environments)
    tasks = TaskSeeds(5, 0, np.zeros(environments, np.int64))
    return Collector(SpyAgent(), vector, "walk", tasks, sample=True, **settings)  # type: ignore[arg-type]


def collect(collector: Collector, steps: int) -> tuple[list[Trajectory], list[EpisodeStats]]:
    trajectories: list[Trajectory] = []
    episodes: list[EpisodeStats] = []
    collector.run(steps, lambda one: trajectories.append(stored_copy(one)), episodes)
    return trajectories, episodes


def segments(length: int) -> SegmentLengths:
    return SegmentLengths(length, 0.0, np.random.default_rng(0))


def test_recorded_columns_have_a_row_for_every_observation() -> None:
    fast = collector(lambda: Kept(9))
    fast.start()
    trajectories, _ = collect(fast, 60)
    assert {one.length for one in trajectories} == set(range(1, 10))
    for one in trajectories:
        time_T, drawn_T = one.columns[SEEN].T
        assert one.columns["warmth"].dtype == np.float32
        assert np.array_equal(one.columns["warmth"].T, [time_T + 0.5, drawn_T])
        assert one.columns["clock"].tolist() == list(range(one.length + 1))
        assert one.columns["clock"].dtype == np.uint8


@given(length=st.integers(1, 12), environments=st.integers(1, 3))
def test_segments_record_what_whole_trajectories_do(length: int, environments: int) -> None:
    whole = collector(lambda: Kept(9), environments)
    cut = collector(lambda: Kept(9), environments, segments=segments(length))
    for one in (whole, cut):
        one.start()
    (expected, _), (found, _) = collect(whole, 30), collect(cut, 30)
    for one in expected:
        parts = [part for part in found if part.seed == one.seed]
        for key in ("warmth", "clock"):
            joined = [*(part.columns[key][:-1] for part in parts), parts[-1].columns[key][-1:]]
            assert np.array_equal(np.concatenate(joined), one.columns[key])


def test_recorded_columns_of_long_tasks_grow() -> None:
    columns = RolloutRecorder(spaces.Dict(), spaces.Discrete(2), 2, recorded_space=ACHIEVED)
    achieved, no = np.zeros((2, 1), np.int64), np.zeros(2, bool)
    columns.begin({}, np.ones(2, bool), {"achieved": achieved - 1})
    for time in range(600):
        columns.step(
            {},
            np.ones(2, bool),
            {"achieved": achieved + time},
            action=no,
            reward=no,
            terminated=no,
            truncated=no,
            success=np.full(2, np.nan),
        )
    assert columns.trajectory(1, 0).columns["achieved"][:, 0].tolist() == [-1, *range(600)]


@pytest.mark.parametrize("at", [0, 3])
def test_an_error_names_the_step_of_a_recorded_value_that_is_not_finite(at: int) -> None:
    fast = collector(lambda: Kept(50, at=at, how="nan"), 1)

    def act() -> None:
        fast.start()
        collect(fast, 5)

    with pytest.raises(EnvironmentFault) as caught:
        act()
    assert str(caught.value) == (
        f"environment walk, step {at} of its task: info['warmth'] is not finite: [ 1. nan]."
    )


def test_a_resumed_collector_records_what_an_uninterrupted_one_does() -> None:
    first = collector(lambda: Kept(30))
    first.start()
    collect(first, 37)
    tensors, facts = first.state()
    stored = decode_tree(encode_tree(tensors))
    again = collector(lambda: Kept(30))
    assert again.load_state(stored, facts)
    for one, other in zip(collect(again, 80)[0], collect(first, 80)[0], strict=True):
        assert one.columns.keys() == other.columns.keys()
        assert all(np.array_equal(one.columns[name], other.columns[name]) for name in one.columns)


def test_a_resume_detects_that_recorded_values_have_changed() -> None:
    class Drifting(Kept):
        drift = 0.0

        def _info(self, obs: Any) -> dict[str, Any]:
            return super()._info(obs) | {"warmth": np.array([self.time + 0.5, self.drift])}

    first = collector(lambda: Drifting(30))
    first.start()
    collect(first, 10)
    tensors, facts = first.state()
    stored = decode_tree(encode_tree(tensors))
    assert collector(lambda: Drifting(30)).load_state(stored, facts)
    Drifting.drift = 0.25
    assert not collector(lambda: Drifting(30)).load_state(stored, facts)


def test_with_records_off_nothing_is_recorded_and_checked() -> None:
    fast = collector(lambda: Kept(50, at=3, how="nan"), records=False)
    fast.start()
    trajectories, _ = collect(fast, 60)
    assert trajectories
    assert all(one.columns.keys().isdisjoint({"warmth", "clock"}) for one in trajectories)


def test_the_agent_does_not_see_recorded_values() -> None:
    fast = collector(Kept)
    fast.start()
    collect(fast, 5)
    spy: Any = fast.agent
    assert {key for shown in spy.shown for key in shown if key.startswith("obs.")} == {SEEN}


def test_the_replay_stores_recorded_values_and_batches_leave_them_out(tmp_path: Any) -> None:
    fast = collector(Seeker)
    fast.start()
    trajectories, _ = collect(fast, 60)
    writer = ReplayWriter(tmp_path)
    for one in trajectories:
        writer.append(one)
    writer.flush(0)
    replay = Replay(tmp_path, None)
    for index, one in enumerate(trajectories):
        found = replay.trajectory(index)
        assert np.array_equal(found.columns["achieved"], one.columns["achieved"])
    batch = pack([trajectories[0].slice(0, 1), trajectories[1]], fast.environments.action_space)
    assert batch.obs.keys() == {"obs", "goals"}


def test_an_evaluation_does_not_read_recorded_values() -> None:
    task = compose_task(None, 0, lambda: Kept(9, at=3, how="nan"))
    evaluator = Evaluator(task, episodes=4, environments=2, sample=True, seed=0)
    evaluation = evaluator(SpyAgent())  # type: ignore[arg-type]
    evaluator.close()
    assert evaluation.length > 3
