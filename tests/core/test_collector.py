"""Acting in many environments at once, compared with one obvious loop per environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Broken, Choosy, Forgetful, SpyAgent, Walk, policy

from amago_core.collector import Collector, Tasks, task_seed
from amago_core.environments import EnvironmentFault, make_environments
from amago_core.recording import Outcome
from amago_core.replay.trajectory import stored_copy
from amago_core.tensor_trees import decode_tree, encode_tree
from amago_registry.spaces import action_to_environment
from amago_registry.trajectories import Trajectory

Make = Callable[[], gymnasium.Env[Any, Any]]

SHIFTED = spaces.Discrete(3, start=-1)
BOX = spaces.Box(np.array([0, -2], np.float32), np.array([1, 2], np.float32))
SWITCHES = spaces.MultiBinary([2, 2])
DIALS = spaces.MultiDiscrete([[3], [300]], start=[[-1], [5]])


def collector(make: Make, environments: int = 3, seed: int = 5, **settings: Any) -> Collector:
    vector = make_environments(make, "walk", environments)
    space = vector.action_space
    width = 2 if isinstance(space, spaces.Box) else 0
    sizes = {spaces.MultiBinary: [2] * 4, spaces.MultiDiscrete: [3, 300]}.get(type(space), [])
    tasks = Tasks(seed, 0, np.zeros(environments, np.int64))
    settings = {"sample": True, **settings}
    return Collector(SpyAgent(width, sizes), vector, "walk", tasks, **settings)  # type: ignore[arg-type]


def collect(collector: Collector, steps: int, parts: int = 1) -> tuple[list[Trajectory], list[Outcome]]:
    trajectories: list[Trajectory] = []
    outcomes: list[Outcome] = []
    for _ in range(parts):
        collector.run(steps, lambda one: trajectories.append(stored_copy(one)), outcomes)
    return trajectories, outcomes


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
def test_what_is_recorded_is_always_what_one_loop_per_environment_sees(
    longest: int, environments: int, space: Any, named: bool, truncates: bool
) -> None:
    def make() -> Walk:
        return Walk(longest, action=space, named=named, truncates=truncates)

    fast = collector(make, environments)
    fast.start()
    trajectories, outcomes = collect(fast, 15, parts=2)
    slow = slow_collect(make, environments, 30, seed=5)
    assert len(slow) == len(trajectories) + environments
    for trajectory, outcome, expected in zip(trajectories, outcomes, slow, strict=False):
        assert_same(trajectory, expected)
        assert (outcome.seed, outcome.length) == (expected.seed, len(expected.reward))
        assert outcome.total == pytest.approx(sum(expected.reward), abs=1e-4)
        assert outcome.successes.tolist() == expected.successes
        assert outcome.attempt_returns.tolist() == pytest.approx(expected.attempts, abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(longest=st.integers(1, 6), space=st.sampled_from([SHIFTED, BOX]))
def test_the_agent_always_sees_what_led_to_the_present_step_of_its_own_task(
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


def test_trajectories_longer_than_the_columns_are_recorded_whole() -> None:
    fast = collector(lambda: Walk(700), environments=2)
    fast.start()
    trajectories, _ = collect(fast, 900)
    slow = slow_collect(lambda: Walk(700), 2, 900, seed=5)
    assert max(trajectory.length for trajectory in trajectories) > 512
    for trajectory, expected in zip(trajectories, slow, strict=False):
        assert_same(trajectory, expected)


@pytest.mark.parametrize("space", [SHIFTED, BOX, SWITCHES, DIALS], ids=str)
def test_every_trajectory_has_a_seed_of_its_own_and_can_be_replayed_from_it(space: Any) -> None:
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


def test_tasks_of_other_runs_and_streams_are_others() -> None:
    seeds = {task_seed(run, stream, n) for run in range(3) for stream in (0, 1) for n in range(50)}
    assert len(seeds) == 300
    assert task_seed(0, 0, 0) == task_seed(0, 0, 0)
    assert all(0 <= seed < 2**31 for seed in seeds)


class Contrary:
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


def test_exploration_has_the_last_word_and_is_told_the_time() -> None:
    exploration = Contrary()
    fast = collector(lambda: Walk(1, action=BOX), environments=2, exploration=exploration)
    fast.start()
    trajectories, _ = collect(fast, 3)
    first = [float(trajectory.columns["action"][0, 0]) for trajectory in trajectories]
    assert first == pytest.approx([0.2, 0.2, -0.1, -0.1, 0.2, 0.2])
    assert exploration.calls == [(0, [0, 0]), (1, [0, 0]), (2, [0, 0])]


def test_what_the_environment_was_given_is_what_was_recorded() -> None:
    fast = collector(lambda: Walk(20, action=BOX), environments=1, exploration=Contrary())
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


class Shown:
    """Exploration that remembers the masks it was shown."""

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
    """Shows masks and lets everything pass."""

    def _parts(self) -> list[np.ndarray]:
        return [np.ones_like(part) for part in super()._parts()]


def test_exploration_sees_the_mask_of_the_present_step() -> None:
    exploration = Shown()
    fast = collector(lambda: Permissive(spaces.Discrete(3)), environments=2, exploration=exploration)
    fast.start()
    trajectories, _ = collect(fast, 10)
    for index, trajectory in enumerate(trajectories):
        shown = [mask_BA[index].astype(int).tolist() for mask_BA in exploration.masks]
        assert shown == trajectory.columns["obs.action_mask"][:10].tolist()
    assert exploration.masks[0].dtype == bool


def stored(collector: Collector) -> tuple[Any, Any]:
    """Return the state as a checkpoint would give it back."""
    tensors, facts = collector.state()
    return decode_tree(encode_tree(tensors)), facts  # type: ignore[arg-type]


@pytest.mark.parametrize("space", [SHIFTED, BOX, SWITCHES, DIALS], ids=str)
@pytest.mark.parametrize("before", [0, 1, 8, 30])
def test_a_collector_goes_on_from_its_state_as_if_nothing_had_happened(space: Any, before: int) -> None:
    def fresh() -> Collector:
        rng = np.random.default_rng(3)
        return collector(lambda: Walk(12, action=space, nested=True), exploration=Contrary(), rng=rng)

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
def test_an_environment_that_is_not_reproducible_begins_new_tasks(longest: int) -> None:
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
    """Observations say nothing; only the rewards betray that the noise is another."""

    def _observe(self) -> Any:
        return np.zeros(2, np.float32)


def test_rewards_alone_betray_an_environment_that_is_not_reproducible() -> None:
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


def test_collecting_draws_nothing_from_global_generators() -> None:
    fast = collector(lambda: Walk(), exploration=Contrary())
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fast.start()
    collect(fast, 20)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
