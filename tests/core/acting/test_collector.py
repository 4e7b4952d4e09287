"""The rollout collector, compared with one simple loop per environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Broken, Choosy, Forgetful, SpyAgent, Walk, policy

from amago_core.acting.collector import Collector
from amago_core.acting.episode_stats import EpisodeStats
from amago_core.acting.recorder import SegmentLengths
from amago_core.acting.task_seeds import TaskSeeds, task_seed
from amago_core.environments import (
    EnvironmentCrashed,
    EnvironmentFault,
    SyncEnvironments,
    make_checked,
    make_environments,
)
from amago_core.replay.trajectory_checks import stored_copy
from amago_core.system.tensor_tree import decode_tree, encode_tree
from amago_registry.spaces import action_to_environment
from amago_registry.trajectories import Trajectory

Make = Callable[[], gymnasium.Env[Any, Any]]

SHIFTED = spaces.Discrete(3, start=-1)
BOX = spaces.Box(np.array([0, -2], np.float32), np.array([1, 2], np.float32))
SWITCHES = spaces.MultiBinary([2, 2])
DIALS = spaces.MultiDiscrete([[3], [300]], start=[[-1], [5]])


def collector(
    make: Make, environments: int = 3, seed: int = 5, vector: Any = None, **settings: Any
) -> Collector:
    vector = vector or make_environments(make, "walk", environments)
    space = vector.action_space
    width = 2 if isinstance(space, spaces.Box) else 0
    sizes = {spaces.MultiBinary: [2] * 4, spaces.MultiDiscrete: [3, 300]}.get(type(space), [])
    tasks = TaskSeeds(seed, 0, np.zeros(environments, np.int64))
    settings = {"sample": True, **settings}
    return Collector(SpyAgent(width, sizes), vector, "walk", tasks, **settings)  # type: ignore[arg-type]


def collect(
    collector: Collector, steps: int, parts: int = 1
) -> tuple[list[Trajectory], list[EpisodeStats]]:
    trajectories: list[Trajectory] = []
    episodes: list[EpisodeStats] = []
    for _ in range(parts):
        collector.run(steps, lambda one: trajectories.append(stored_copy(one)), episodes)
    return trajectories, episodes


@dataclass
class SlowTrajectory:
    """One trajectory as lists."""

    env: Any
    seed: int
    obs: list[Any]
    action: list[Any] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    ends: list[tuple[bool, bool]] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)
    shown: list[tuple[int, list[float], float]] = field(default_factory=list)

    def step(self) -> bool:
        """Take one step as `SpyAgent` would; return whether the task ended."""
        space = self.env.action_space
        discrete = isinstance(space, spaces.Discrete)
        prev_action = np.zeros(3 if discrete else 2, np.float32)
        if self.action and discrete:
            prev_action[self.action[-1]] = 1
        elif self.action:
            prev_action = self.action[-1]
        prev_reward = float(np.float32(self.reward[-1])) if self.reward else 0.0
        self.shown.append((len(self.action), prev_action.tolist(), prev_reward))
        action = policy(len(self.action), prev_action, prev_reward, 0 if discrete else 2)
        inner = action_to_environment(action[None], space)[0]
        obs, reward, terminated, truncated, info = self.env.step(inner)
        self.obs.append(obs)
        self.action.append(int(action) if discrete else action)
        self.reward.append(reward)
        self.ends.append((terminated, truncated))
        if "success" in info:
            self.successes.append(info["success"])
            self.attempts.append(sum(self.reward) - sum(self.attempts))
        return bool(terminated or truncated)


def slow_collect(make: Make, environments: int, steps: int, seed: int) -> list[SlowTrajectory]:
    """Return finished trajectories in order, then the started ones."""
    begun = 0

    def begin(env: Any) -> SlowTrajectory:
        nonlocal begun
        seed_ = task_seed(seed, 0, begun)
        begun += 1
        obs, _ = env.reset(seed=seed_)
        return SlowTrajectory(env, seed_, [obs])

    started = [begin(make()) for _ in range(environments)]
    finished = []
    for _ in range(steps):
        ended = [index for index in range(environments) if started[index].step()]
        for index in ended:
            finished.append(started[index])
            started[index] = begin(started[index].env)
    return finished + started


def assert_same(trajectory: Trajectory, slow: SlowTrajectory) -> None:
    columns = trajectory.columns
    assert trajectory.seed == slow.seed
    assert columns["action"].tolist() == np.array(slow.action).tolist()
    assert columns["reward"].tolist() == np.array(slow.reward, np.float32).tolist()
    ends = list(zip(columns["terminated"].tolist(), columns["truncated"].tolist(), strict=True))
    assert ends == slow.ends
    seen = slow.obs if isinstance(slow.obs[0], dict) else [{"observation": obs} for obs in slow.obs]
    assert {name for name in columns if name.startswith("obs.")} == {f"obs.{key}" for key in seen[0]}
    for key in seen[0]:
        assert np.array_equal(columns[f"obs.{key}"], np.stack([obs[key] for obs in seen]))


@settings(max_examples=15, deadline=None)
@given(
    longest=st.integers(1, 9),
    environments=st.integers(1, 4),
    space=st.sampled_from([None, SHIFTED, BOX]),
    named=st.booleans(),
    truncates=st.booleans(),
)
def test_recorded_trajectories_always_equal_those_of_one_loop_per_environment(
    longest: int, environments: int, space: Any, named: bool, truncates: bool
) -> None:
    def make() -> Walk:
        return Walk(longest, action=space, named=named, truncates=truncates)

    fast = collector(make, environments)
    fast.start()
    trajectories, episodes = collect(fast, 15, parts=2)
    slow = slow_collect(make, environments, 30, seed=5)
    assert len(slow) == len(trajectories) + environments
    for trajectory, episode, expected in zip(trajectories, episodes, slow, strict=False):
        assert_same(trajectory, expected)
        assert (episode.seed, episode.length) == (expected.seed, len(expected.reward))
        assert episode.total == pytest.approx(sum(expected.reward), abs=1e-4)
        assert episode.successes.tolist() == expected.successes
        assert episode.attempt_returns.tolist() == pytest.approx(expected.attempts, abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(longest=st.integers(1, 6), space=st.sampled_from([SHIFTED, BOX]))
def test_the_agent_always_sees_the_previous_action_and_reward_of_its_own_task(
    longest: int, space: Any
) -> None:
    fast = collector(lambda: Walk(longest, action=space), environments=3)
    fast.start()
    collect(fast, 20)
    spy: Any = fast.agent
    slow = slow_collect(lambda: Walk(longest, action=space), 3, 20, seed=5)
    expected = sorted(
        (obs.tolist(), *shown, shown[0])  # The agent's own state counts the steps of the task too.
        for trajectory in slow
        for obs, shown in zip(trajectory.obs, trajectory.shown, strict=False)
    )
    seen = sorted(
        (
            one["obs.observation"][index].tolist(),
            int(one["time"][index]),
            one["prev_action"][index].tolist(),
            float(one["prev_reward"][index]),
            int(one["count"][index]),
        )
        for one in spy.shown
        for index in range(3)
    )
    assert seen == expected


def test_trajectories_longer_than_the_initial_capacity_are_recorded_whole() -> None:
    fast = collector(lambda: Walk(700), environments=2)
    fast.start()
    trajectories, _ = collect(fast, 900)
    slow = slow_collect(lambda: Walk(700), 2, 900, seed=5)
    assert max(trajectory.length for trajectory in trajectories) > 512
    for trajectory, expected in zip(trajectories, slow, strict=False):
        assert_same(trajectory, expected)


@pytest.mark.parametrize("space", [SHIFTED, BOX, SWITCHES, DIALS], ids=str)
def test_every_trajectory_has_its_own_seed_and_can_be_replayed_from_it(space: Any) -> None:
    fast = collector(lambda: Walk(action=space))
    fast.start()
    trajectories, _ = collect(fast, 40)
    assert len({trajectory.seed for trajectory in trajectories}) == len(trajectories)
    for trajectory in trajectories:
        env = Walk(action=space)
        obs, _ = env.reset(seed=trajectory.seed)
        assert np.array_equal(obs, trajectory.columns["obs.observation"][0])
        for time, action in enumerate(trajectory.columns["action"]):
            obs, reward, terminated, _, _ = env.step(action_to_environment(action[None], space)[0])
            assert np.array_equal(obs, trajectory.columns["obs.observation"][time + 1])
            assert np.float32(reward) == trajectory.columns["reward"][time]
        assert terminated


def test_nested_observations_are_recorded_by_flat_keys() -> None:
    fast = collector(lambda: Walk(nested=True))
    fast.start()
    trajectories, _ = collect(fast, 20)
    for trajectory, slow in zip(
        trajectories, slow_collect(lambda: Walk(nested=True), 3, 20, 5), strict=False
    ):
        columns = {
            name: column for name, column in trajectory.columns.items() if name.startswith("obs.")
        }
        assert sorted(columns) == ["obs.eye/cell", "obs.eye/pair/0", "obs.eye/pair/1"]
        for time, obs in enumerate(slow.obs):
            cell, pair = obs["eye"]["cell"], obs["eye"]["pair"]
            assert np.array_equal(columns["obs.eye/cell"][time], cell)
            assert np.array_equal(columns["obs.eye/pair/0"][time], pair[0])
            assert np.array_equal(columns["obs.eye/pair/1"][time], pair[1])


def test_other_runs_and_streams_have_other_task_seeds() -> None:
    seeds = {task_seed(run, stream, n) for run in range(3) for stream in (0, 1) for n in range(50)}
    assert len(seeds) == 300
    assert task_seed(0, 0, 0) == task_seed(0, 0, 0)
    assert all(0 <= seed < 2**31 for seed in seeds)


class Alternating:
    """Exploration in double precision: alternates in the first dimension, draws the others."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, list[int]]] = []
        self.flip = np.zeros(1)

    def __call__(
        self, action: np.ndarray, time_B: np.ndarray, step: int, rng: np.random.Generator
    ) -> np.ndarray:
        self.calls.append((step, time_B.tolist()))
        self.flip = 1 - self.flip
        drawn = rng.integers(0, 3, action.shape) / 3
        if action.ndim == 1:
            return 3 * drawn
        if action.dtype.kind == "i":
            return np.roll(action, 1, 0)
        drawn[:, 0] = (0.1 + 0.2) * self.flip[0] - 0.1
        return drawn

    def state(self) -> dict[str, np.ndarray]:
        return {"flip": self.flip}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.flip = np.array(state["flip"])


def test_exploration_chooses_the_final_action_and_receives_the_time() -> None:
    exploration = Alternating()
    fast = collector(lambda: Walk(1, action=BOX), environments=2, exploration=exploration)
    fast.start()
    trajectories, _ = collect(fast, 3)
    first = [float(trajectory.columns["action"][0, 0]) for trajectory in trajectories]
    assert first == pytest.approx([0.2, 0.2, -0.1, -0.1, 0.2, 0.2])
    assert exploration.calls == [(0, [0, 0]), (1, [0, 0]), (2, [0, 0])]


def test_the_recorded_action_is_the_one_the_environment_received() -> None:
    fast = collector(lambda: Walk(20, action=BOX), environments=1, exploration=Alternating())
    given: list[np.ndarray] = []
    vector: Any = fast.environments
    env: Any = vector.envs[0].unwrapped
    original = env.step
    env.step = lambda action: given.append(np.array(action)) or original(action)
    fast.start()
    collect(fast, 1)
    recorded = fast.recorder.actions(0)
    assert recorded.dtype == np.float32
    assert np.array_equal(action_to_environment(recorded, BOX), np.array(given))


class MaskSpy:
    """Exploration that records the masks it receives."""

    def __init__(self) -> None:
        self.masks: list[np.ndarray] = []

    def __call__(
        self, action: Any, time_B: Any, step: int, rng: Any, action_mask_BA: Any = None
    ) -> Any:
        self.masks.append(action_mask_BA)
        return action

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        pass


class Permissive(Choosy):
    """Shows masks that allow every action."""

    def _parts(self) -> list[np.ndarray]:
        return [np.ones_like(part) for part in super()._parts()]


def test_exploration_receives_the_mask_of_the_current_step() -> None:
    exploration = MaskSpy()
    fast = collector(lambda: Permissive(spaces.Discrete(3)), environments=2, exploration=exploration)
    fast.start()
    trajectories, _ = collect(fast, 10)
    for index, trajectory in enumerate(trajectories):
        shown = [mask_BA[index].astype(int).tolist() for mask_BA in exploration.masks]
        assert shown == trajectory.columns["obs.action_mask"][:10].tolist()
    assert exploration.masks[0].dtype == bool


def stored(collector: Collector) -> tuple[Any, Any]:
    """Return the collector's state as a checkpoint restores it."""
    tensors, facts = collector.state()
    return decode_tree(encode_tree(tensors)), facts  # type: ignore[arg-type]


@pytest.mark.parametrize("space", [SHIFTED, BOX, SWITCHES, DIALS], ids=str)
@pytest.mark.parametrize("before", [0, 1, 8, 30])
def test_a_collector_resumes_from_a_checkpoint_to_the_bit(space: Any, before: int) -> None:
    def fresh() -> Collector:
        rng = np.random.default_rng(3)
        return collector(
            lambda: Walk(12, action=space, nested=True), exploration=Alternating(), rng=rng
        )

    whole = fresh()
    whole.start()
    collect(whole, before)
    tensors, facts = stored(whole)
    expected, _ = collect(whole, 25)
    again = fresh()
    assert again.load_state(tensors, facts)
    trajectories, _ = collect(again, 25)
    assert len(trajectories) == len(expected) > 0
    for one, other in zip(trajectories, expected, strict=True):
        assert one.seed == other.seed
        for name, column in one.columns.items():
            assert np.array_equal(column, other.columns[name])
    assert again.steps == whole.steps == before + 25
    assert again.rng.bit_generator.state == whole.rng.bit_generator.state
    spies: tuple[Any, Any] = again.agent, whole.agent
    for seen, was in zip(spies[0].shown, spies[1].shown[before:], strict=True):
        assert all(np.array_equal(seen[name], was[name]) for name in was)


@pytest.mark.parametrize("longest", [4, 400])
def test_a_resume_begins_new_tasks_where_environments_are_not_reproducible(longest: int) -> None:
    """With short tasks the replay also runs past an end, with long ones only the noise differs."""
    before = collector(lambda: Forgetful(longest))
    before.start()
    collect(before, 30)
    tensors, facts = stored(before)
    again = collector(lambda: Forgetful(longest))
    assert again.load_state(tensors, facts) is False
    assert again.recorder.time_B.tolist() == [0, 0, 0]
    assert again.tasks.begun == facts["begun"] + 3
    assert again.steps == 30
    collect(again, 30)


class SilentlyForgetful(Forgetful):
    """Observations are constant; only the rewards show that the noise is another."""

    def _observe(self) -> Any:
        return np.zeros(2, np.float32)


def test_rewards_alone_reveal_an_environment_that_is_not_reproducible() -> None:
    before = collector(lambda: SilentlyForgetful(400), environments=1)
    before.start()
    while before.recorder.time_B[0] < 5:
        collect(before, 1)
    assert (
        collector(lambda: SilentlyForgetful(400), environments=1).load_state(*stored(before)) is False
    )


def test_a_restart_keeps_the_counters_and_begins_new_tasks() -> None:
    before = collector(lambda: Walk(50))
    before.start()
    collect(before, 10)
    _, facts = stored(before)
    again = collector(lambda: Walk(50))
    again.restart(facts)
    assert again.steps == 10
    assert again.tasks.number_B.tolist() == [facts["begun"] + i for i in range(3)]
    assert again.recorder.time_B.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("at", "how", "message"),
    [
        (3, "nan", "step 3 of its task: observation 'observation' is not finite: [0.5 nan]."),
        (0, "nan", "step 0 of its task: observation 'observation' is not finite: [0.5 nan]."),
        (2, "reward nan", "step 2 of its task: reward is not finite: nan."),
    ],
)
def test_a_value_that_is_not_finite_stops_collecting(at: int, how: str, message: str) -> None:
    broken = collector(lambda: Broken(at, how))

    def act() -> None:
        broken.start()
        collect(broken, 10)

    with pytest.raises(EnvironmentFault) as caught:
        act()
    assert str(caught.value) == f"environment walk, {message}"


class Scripted(Walk):
    """A walk of 50 steps with a given observation and reward at the third step."""

    def __init__(self, space: Any, fine: Any, wrong: Any, reward: float = 0.0) -> None:
        super().__init__()
        self.observation_space, self.fine, self.wrong, self.reward = space, fine, wrong, reward

    def reset(self, **settings: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**settings)
        self.length = 50
        return self.fine, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        super().step(action)
        third = self.time == 3
        return self.wrong if third else self.fine, self.reward * third, False, False, {}


@pytest.mark.parametrize(
    ("space", "fine", "wrong", "message"),
    [
        (spaces.Discrete(4), 3, 4, "is 4, which does not lie in Discrete(4)."),
        (spaces.Discrete(4), 0, -1, "is -1, which does not lie in Discrete(4)."),
        (spaces.Discrete(2, start=5), 6, 1, "is 1, which does not lie in Discrete(2, start=5)."),
        (
            spaces.MultiDiscrete([2, 3]),
            np.array([1, 2]),
            np.array([2, 0]),
            "is [2 0], which does not lie in MultiDiscrete([2 3]).",
        ),
        (
            spaces.MultiBinary(2),
            np.array([1, 0], np.int8),
            np.array([0, 2], np.int8),
            "is [0 2], which does not lie in MultiBinary(2).",
        ),
    ],
    ids=str,
)
def test_an_index_outside_its_space_stops_collecting(
    space: Any, fine: Any, wrong: Any, message: str
) -> None:
    broken = collector(lambda: Scripted(space, fine, wrong))
    broken.start()
    with pytest.raises(EnvironmentFault) as caught:
        collect(broken, 10)
    assert str(caught.value) == (
        f"environment walk, step 3 of its task: observation 'observation' {message}"
    )


def test_a_reward_too_large_for_single_precision_stops_collecting() -> None:
    broken = collector(lambda: Scripted(spaces.Discrete(4), 0, 0, 1e200))
    broken.start()
    with pytest.raises(EnvironmentFault) as caught:
        collect(broken, 10)
    assert str(caught.value) == (
        "environment walk, step 3 of its task: reward is too large for single precision: 1.e+200."
    )


def test_collecting_draws_nothing_from_global_generators() -> None:
    fast = collector(lambda: Walk(), exploration=Alternating())
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fast.start()
    collect(fast, 20)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def segments(length: int, jitter: float = 0.0) -> SegmentLengths:
    return SegmentLengths(length, jitter, np.random.default_rng(8))


def whole(parts: Sequence[Trajectory]) -> dict[str, np.ndarray]:
    """Return the columns of a trajectory that was handed over in segments."""
    columns = {}
    for name in parts[0].columns:
        ends = [part.columns[name] for part in parts]
        if name.startswith("obs."):
            for end, after in pairwise(ends):
                assert np.array_equal(end[-1], after[0])
            ends = [end[:-1] for end in ends[:-1]] + ends[-1:]
        columns[name] = np.concatenate(ends)
    return columns


@settings(max_examples=15, deadline=None)
@given(
    longest=st.integers(1, 30),
    length=st.integers(1, 9),
    jitter=st.sampled_from([0, 0.3, 0.9]),
    space=st.sampled_from([None, SHIFTED, BOX]),
)
def test_concatenated_segments_always_equal_the_whole_trajectory(
    longest: int, length: int, jitter: float, space: Any
) -> None:
    def make() -> Walk:
        return Walk(longest, action=space, named=True)

    cutting = collector(make, segments=segments(length, jitter))
    cutting.start()
    stored, episodes = collect(cutting, 60)
    uncut = collector(make)
    uncut.start()
    expected, expected_episodes = collect(uncut, 60)
    assert [vars(one).keys() for one in episodes] == [vars(one).keys() for one in expected_episodes]
    assert [(o.seed, o.total, o.length) for o in episodes] == [
        (o.seed, o.total, o.length) for o in expected_episodes
    ]
    for one in expected:
        parts = [part for part in stored if part.seed == one.seed]
        columns = whole(parts)
        starts = np.cumsum([0, *[part.length for part in parts]])
        for part, start in zip(parts, starts.tolist(), strict=False):
            same = one.slice(start, start + part.length)
            assert part.start_time == same.start_time == start
            assert part.prev_reward == same.prev_reward
            assert np.array_equal(part.prev_action, same.prev_action)  # type: ignore[arg-type]
            cut = part is not parts[-1]
            assert part.columns["truncated"].tolist() == [False] * (part.length - 1) + [cut]
            assert part.length <= length * (1 + jitter) + 1e-6
            assert not cut or part.length >= max(1, length * (1 - jitter) - 1e-6)
        for name, column in one.columns.items():
            if name != "truncated":
                assert np.array_equal(columns[name], column)


def test_a_task_that_ends_with_a_segment_is_not_truncated() -> None:
    cutting = collector(lambda: Walk(1), environments=1, segments=segments(1))
    cutting.start()
    stored, _ = collect(cutting, 2)
    assert [one.columns["terminated"].tolist() for one in stored] == [[True], [True]]
    assert [one.columns["truncated"].tolist() for one in stored] == [[False], [False]]


def capacity(collector: Collector) -> int:
    """Return the rows of a column per environment."""
    whole_column: Any = collector.recorder.trajectory(0, 0).columns["reward"].base
    return int(whole_column.shape[1])


class Endless(Walk):
    """A walk that never ends."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(seed=seed)
        self.length = 10**9
        return obs, info


def test_segments_of_an_endless_task_take_bounded_memory() -> None:
    cutting = collector(Endless, environments=2, segments=segments(60, 0.25))
    cutting.start()
    stored, episodes = collect(cutting, 1000)
    assert episodes == []
    assert sum(one.length for one in stored) > 2 * (1000 - 75)
    assert capacity(cutting) == 256


@pytest.mark.parametrize("before", [0, 7, 100])
def test_a_collector_in_the_middle_of_a_segment_resumes_from_a_checkpoint(before: int) -> None:
    def fresh() -> Collector:
        return collector(lambda: Walk(60, action=BOX, nested=True), segments=segments(8, 0.5))

    first = fresh()
    first.start()
    collect(first, before)
    tensors, facts = stored(first)
    expected, expected_episodes = collect(first, 80)
    again = fresh()
    assert again.load_state(tensors, facts)
    trajectories, episodes = collect(again, 80)
    assert len(trajectories) == len(expected) > 20
    for one, other in zip(trajectories, expected, strict=True):
        facts_of = [(x.seed, x.start_time, x.prev_reward, x.success) for x in (one, other)]
        assert facts_of[0] == facts_of[1]
        assert np.array_equal(one.prev_action, other.prev_action)  # type: ignore[arg-type]
        assert all(np.array_equal(one.columns[name], other.columns[name]) for name in one.columns)
    assert [o.total for o in episodes] == [o.total for o in expected_episodes]
    assert [o.successes.tolist() for o in episodes] == [o.successes.tolist() for o in expected_episodes]


def test_resuming_an_endless_task_takes_bounded_memory() -> None:
    def fresh() -> Collector:
        return collector(Endless, environments=1, segments=segments(60))

    first = fresh()
    first.start()
    collect(first, 1000)
    again = fresh()
    assert again.load_state(*stored(first))
    assert capacity(again) == 256
    assert again.recorder.start_B.tolist() == [960]


class Crashing(SyncEnvironments):
    """Environments that crash at some calls of ``step`` and of ``reset``, counted from 1."""

    def __init__(
        self, count: int, steps: Sequence[int] = (), resets: Sequence[int] = (), longest: int = 50
    ) -> None:
        super().__init__(make_checked(lambda: Walk(longest), "walk", count))
        self._crashes_at = {"step": set(steps), "reset": set(resets)}
        self._calls = {"step": 0, "reset": 0}

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        self._count("step")
        super().step(action, active_B)

    def reset(self, seeds: Sequence[int | None]) -> None:
        self._count("reset")
        super().reset(seeds)

    def restart(self) -> None:
        pass

    def _count(self, call: str) -> None:
        self._calls[call] += 1
        if self._calls[call] in self._crashes_at[call]:
            raise EnvironmentCrashed(f"environment walk: crashed in {call} {self._calls[call]}.")


def crashing(vector: Crashing, max_restarts: int = 3, **settings: Any) -> tuple[Collector, list[str]]:
    notes: list[str] = []
    settings = {"vector": vector, "max_restarts": max_restarts, "note": notes.append, **settings}
    return collector(Walk, vector.count, **settings), notes


def test_a_crash_restarts_the_environments_and_discards_unfinished_trajectories() -> None:
    fast, notes = crashing(Crashing(3, steps=[4]))
    fast.start()
    lengths = [vector_env.unwrapped.length for vector_env in fast.environments.envs]  # type: ignore[attr-defined]
    assert min(lengths) > 3, "pick another seed: a task ends before the crash"
    trajectories, _ = collect(fast, 60)
    assert (fast.steps, fast.restarts, fast.dropped) == (60, 1, 3)
    assert notes == [
        "environment walk: crashed in step 4. Restarting the environments (restart 1 of at most 3); "
        "unfinished trajectories discarded: 3"
    ]
    discarded = {task_seed(5, 0, number) for number in range(3)}
    assert discarded.isdisjoint(one.seed for one in trajectories)
    for one in trajectories:
        env = Walk(50)
        env.reset(seed=one.seed)
        assert one.length == env.length
    assert len(trajectories) > 2


def test_a_crash_before_the_first_step_discards_no_trajectory() -> None:
    fast, notes = crashing(Crashing(2, resets=[1]))
    fast.start()
    assert (fast.restarts, fast.dropped) == (1, 0)
    assert fast.tasks.number_B.tolist() == [2, 3]
    assert len(notes) == 1


def test_a_crash_during_a_restart_leads_to_another_restart() -> None:
    fast, notes = crashing(Crashing(2, steps=[3], resets=[2, 3]))
    fast.start()
    collect(fast, 5)
    assert (fast.steps, fast.restarts, fast.dropped) == (5, 3, 2)
    assert notes == [
        f"environment walk: crashed in {where}. Restarting the environments (restart {number} of at "
        f"most 3); unfinished trajectories discarded: {dropped}"
        for number, (where, dropped) in enumerate(
            [("step 3", 2), ("reset 2", 0), ("reset 3", 0)], start=1
        )
    ]


def test_after_the_last_restart_the_crash_itself_is_raised() -> None:
    fast, notes = crashing(Crashing(2, steps=[3, 6, 9]), max_restarts=2)
    fast.start()
    with pytest.raises(EnvironmentCrashed) as caught:
        collect(fast, 20)
    assert str(caught.value) == "environment walk: crashed in step 9."
    assert caught.traceback[-1].name == "_count"
    assert (len(notes), fast.restarts) == (2, 2)


def test_without_restarts_a_crash_ends_collecting() -> None:
    fast, notes = crashing(Crashing(2, steps=[3]), max_restarts=0)
    fast.start()
    with pytest.raises(EnvironmentCrashed):
        collect(fast, 20)
    assert notes == []


def test_with_repeats_the_interrupted_tasks_begin_again_after_a_crash() -> None:
    fast, _ = crashing(Crashing(2, steps=[4, 9]), repeats=True)
    fast.start()
    trajectories, _ = collect(fast, 200)
    undisturbed = collector(lambda: Walk(50), 2)
    undisturbed.start()
    expected, _ = collect(undisturbed, 200)
    recorded = {one.seed: one.columns["reward"].tolist() for one in trajectories}
    assert recorded.keys() >= {task_seed(5, 0, number) for number in range(6)}
    same = [one.columns["reward"].tolist() == recorded.get(one.seed) for one in expected]
    assert sum(same) >= 6


def test_restarts_and_discarded_trajectories_are_part_of_the_state() -> None:
    fast, _ = crashing(Crashing(2, steps=[3]))
    fast.start()
    collect(fast, 10)
    again, _ = crashing(Crashing(2))
    assert again.load_state(*stored(fast))
    assert (again.restarts, again.dropped) == (1, 2)
    other, _ = crashing(Crashing(2))
    other.restart(stored(fast)[1])
    assert (other.restarts, other.dropped) == (1, 2 + fast.started)


def test_a_crash_during_a_resume_begins_new_tasks() -> None:
    before, _ = crashing(Crashing(2))
    before.start()
    collect(before, 10)
    tensors, facts = stored(before)
    again, notes = crashing(Crashing(2, steps=[2]))
    assert again.load_state(tensors, facts) is False
    assert (again.restarts, again.dropped, again.steps) == (1, before.started, 10)
    assert again.tasks.number_B.tolist() == [facts["begun"], facts["begun"] + 1]
    assert len(notes) == 1
    collect(again, 20)


class ExitsOnce(Walk):
    """A walk of 50 steps that ends its process once, at the third step."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark

    def reset(self, **settings: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(**settings)
        self.length = 50
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.time == 2 and not self.mark.exists():
            self.mark.touch()
            os._exit(7)
        return super().step(action)


def test_collecting_continues_after_an_environment_process_crashed(tmp_path: Path) -> None:
    make = lambda: ExitsOnce(tmp_path / "mark")  # noqa: E731
    notes: list[str] = []
    vector = make_environments(make, "walk", 2, "async", processes=1)
    fast = collector(make, 2, vector=vector, max_restarts=1, note=notes.append)
    try:
        fast.start()
        trajectories, _ = collect(fast, 60)
    finally:
        vector.close()
    assert (fast.steps, fast.restarts, fast.dropped, len(notes)) == (60, 1, 2, 1)
    assert [one.seed for one in trajectories] == [task_seed(5, 0, number) for number in (2, 3)]


class SlowReset(SyncEnvironments):
    """Begins a task some steps after the last one ended; gymnasium's NEXT_STEP takes one step."""

    reproducible = False

    def __init__(self, make: Make, count: int, busy: int) -> None:
        super().__init__(make_checked(make, "walk", count))
        self._busy, self._pending = busy, dict[int, tuple[int, int]]()

    def reset(self, seeds: Sequence[int | None]) -> None:
        if None not in seeds:
            super().reset(seeds)
            return
        self.played_B[:] = self.began_B[:] = False
        self._pending |= {index: (seed, self._busy) for index, seed in enumerate(seeds) if seed}

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        assert active_B is None
        played_B = np.array([index not in self._pending for index in range(self.count)])
        super().step(action, played_B)
        begins: list[int | None] = [None] * self.count
        for index, (seed, left) in list(self._pending.items()):
            self._pending[index] = (seed, left - 1)
            if left == 1:
                del self._pending[index]
                begins[index] = seed
        super().reset(begins)
        self.played_B[:] = played_B
        self.reward_B[~played_B] = np.nan  # No step was taken: this must not be read.


@settings(max_examples=10, deadline=None)
@given(longest=st.integers(2, 9), length=st.sampled_from([None, 3]), busy=st.integers(1, 3))
def test_autoreset_environments_are_recorded_without_a_phantom_step(
    longest: int, length: int | None, busy: int
) -> None:
    def make() -> Walk:
        return Walk(longest, named=True)

    cut = {} if length is None else {"segments": segments(length)}
    slow = collector(make, 3, vector=SlowReset(make, 3, busy), **cut)
    prompt = collector(make, 3)
    for one in (slow, prompt):
        one.start()
    trajectories, episodes = collect(slow, 60)
    expected, expected_episodes = collect(prompt, 60)
    # Slow resets change which tasks are in one batch: compare by seed.
    by_seed = {one.seed: one for one in expected}
    totals = {one.seed: (one.total, one.length) for one in expected_episodes}
    assert len(episodes) > 5
    seeds = [episode.seed for episode in episodes if episode.seed in by_seed]
    assert len(set(seeds)) == len(seeds) > 5
    for episode in episodes:
        if episode.seed in by_seed:
            parts = [part for part in trajectories if part.seed == episode.seed]
            columns = whole(parts)
            assert (episode.total, episode.length) == totals[episode.seed]
            for name, column in by_seed[episode.seed].columns.items():
                if name != "truncated":
                    assert np.array_equal(columns[name], column), name


def test_a_trajectory_has_its_task_and_its_success() -> None:
    class Named(Walk):
        def reset(self, **settings: Any) -> tuple[Any, dict[str, Any]]:
            obs, _ = super().reset(**settings)
            return obs, {"task": f"of {self.length}"}

    fast = collector(lambda: Named(9))
    fast.start()
    trajectories, episodes = collect(fast, 60)
    assert {one.length for one in trajectories} == set(range(1, 10))
    for one, episode in zip(trajectories, episodes, strict=True):
        assert one.task == episode.task == f"of {one.length}"
        assert one.success == episode.success
        assert (one.success is None) == (one.length < 3)


def test_inputs_that_the_agent_keeps_are_not_changed_by_the_next_step() -> None:
    kept: list[Any] = []

    class Keeper(SpyAgent):
        def act(self, *shown: Any, **settings: Any) -> Any:
            kept.append((shown[0]["observation"], *shown[1:4]))
            return super().act(*shown, **settings)

    fast = collector(lambda: Walk(20))
    fast.agent = spy = Keeper()  # type: ignore[assignment]
    fast.start()
    collect(fast, 10)
    for tensors, was in zip(kept, spy.shown, strict=True):
        names = ("obs.observation", "prev_action", "prev_reward", "time")
        for tensor, name in zip(tensors, names, strict=True):
            assert np.array_equal(tensor.numpy(), was[name])


class Unseeded(SyncEnvironments):
    """Environments that declare that seeds do not determine tasks and that replays differ."""

    reproducible = seeded = False


def test_the_recorded_seed_is_0_where_seeds_do_not_determine_the_task() -> None:
    fast = collector(Walk, vector=Unseeded(make_checked(Walk, "walk", 3)))
    fast.start()
    trajectories, episodes = collect(fast, 20)
    assert len(trajectories) > 5
    assert {one.seed for one in trajectories} == {one.seed for one in episodes} == {0}


def test_actions_are_not_kept_where_they_cannot_be_replayed() -> None:
    vector = Unseeded(make_checked(Endless, "walk", 2))
    fast = collector(Endless, 2, vector=vector, segments=segments(5))
    fast.start()
    collect(fast, 43)
    tensors, facts = stored(fast)
    assert [len(tensors[f"actions-{index}"]) for index in range(2)] == [0, 0]
    again = collector(
        Endless, 2, vector=Unseeded(make_checked(Endless, "walk", 2)), segments=segments(5)
    )
    assert again.load_state(tensors, facts) is False
    assert again.steps == 43
