"""Gymnasium vector environments in every autoreset mode behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from toys import Walk

from amago_core.environments import EnvironmentFault, GymnasiumVectorEnvironments, make_environments
from amago_core.environments.gymnasium_vector import make_gymnasium_vector
from amago_registry.contexts import EnvironmentContext

MODES = list(AutoresetMode)
AUTORESET = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


class Counting(gymnasium.Env[Any, Any]):
    """Observes [number of its task, time]; its tasks take ``first``, ``first + 1`` ... steps.

    Pays the time; success is the task's number, at its end. Tasks are named after their number.
    """

    def __init__(self, first: int, shape: str = "bare") -> None:
        self.first, self.shape, self.number = first, shape, -1
        box = spaces.Box(0, 99, (2,), np.float32)
        self.observation_space: spaces.Space[Any] = box
        if shape == "named":
            self.observation_space = spaces.Dict(seen=box, clock=spaces.Discrete(99))
        if shape == "pair":
            self.observation_space = spaces.Tuple([box, spaces.Discrete(99)])
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seed, self.time, self.number = seed, 0, self.number + 1
        return self._observe(), {"task": f"task {self.number}"}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.time == self.first + self.number
        info = {"success": float(self.number)} if over else {}
        ends = (over, False) if self.number % 2 else (False, over)
        return self._observe(), float(self.time), *ends, info

    def _observe(self) -> Any:
        seen = np.array([self.number, self.time], np.float32)
        if self.shape == "bare":
            return seen
        if self.shape == "named":
            return {"seen": seen, "clock": self.time}
        return seen, self.time


class CountingPart:
    """A part whose environments differ in their first length: 2, 3 ..."""

    def __init__(self, mode: AutoresetMode, shape: str = "bare") -> None:
        self.mode, self.shape = mode, shape

    def make(self) -> gymnasium.Env[Any, Any]:
        return Counting(2, self.shape)

    def make_vector(self, number: int) -> VectorEnv[Any, Any, Any]:
        firsts = [partial(Counting, 2 + index, self.shape) for index in range(number)]
        return SyncVectorEnv(firsts, autoreset_mode=self.mode)


def native(part: Any, number: int) -> GymnasiumVectorEnvironments:
    environments = make_environments(part.make, "counting", number, "native")
    assert isinstance(environments, GymnasiumVectorEnvironments)
    return environments


Trajectory = dict[str, Any]


def recorded(environments: Any, steps: int) -> list[list[Trajectory]]:
    """Return the whole trajectories of each environment, as a collector would record them."""
    seeds, size = count(100), environments.count
    done: list[list[Trajectory]] = [[] for _ in range(size)]
    open_: list[Trajectory] = [{} for _ in range(size)]

    def begin() -> None:
        for index in np.flatnonzero(environments.began_B):
            first = {key: x[index].tolist() for key, x in environments.obs.items()}
            task = environments.task_B[index]
            open_[index] = {"obs": [first], "reward": [], "end": None, "success": None, "task": task}

    environments.reset([next(seeds) for _ in range(size)])
    begin()
    for _ in range(steps):
        environments.step(np.zeros(size, np.int64))
        for index in np.flatnonzero(environments.played_B):
            trajectory = open_[index]
            trajectory["obs"].append({key: x[index].tolist() for key, x in environments.obs.items()})
            trajectory["reward"].append(environments.reward_B[index])
            if not np.isnan(environments.success_B[index]):
                trajectory["success"] = float(environments.success_B[index])
        begin()
        terminated_B, truncated_B = environments.terminated_B, environments.truncated_B
        ended_B = (terminated_B | truncated_B) & environments.played_B
        for index in np.flatnonzero(ended_B):
            open_[index]["end"] = "terminated" if terminated_B[index] else "truncated"
            done[index].append(open_[index])
        if ended_B.any():
            environments.reset([next(seeds) if ended else None for ended in ended_B])
            begin()
    return done


def expected(first: int, number: int, shape: str) -> Trajectory:
    """Return the trajectory of a task, worked out by hand."""
    length = first + number
    keys: dict[str, Callable[[int], dict[str, Any]]] = {
        "bare": lambda time: {"observation": [number, time]},
        "named": lambda time: {"clock": time, "seen": [number, time]},
        "pair": lambda time: {"0": [number, time], "1": time},
    }
    return {
        "obs": [keys[shape](time) for time in range(length + 1)],
        "reward": list(range(1, length + 1)),
        "end": "terminated" if number % 2 else "truncated",
        "success": float(number),
        "task": f"task {number}",
    }


@pytest.mark.parametrize("shape", ["bare", "named", "pair"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_trajectories_are_whole_and_without_phantom_steps(mode: AutoresetMode, shape: str) -> None:
    environments = native(CountingPart(mode, shape), 3)
    found = recorded(environments, 40)
    environments.close()
    for index, trajectories in enumerate(found):
        assert len(trajectories) >= 5
        assert trajectories == [expected(2 + index, k, shape) for k in range(len(trajectories))]


def test_the_autoreset_step_of_next_step_is_not_played_and_begins_a_task() -> None:
    environments = native(CountingPart(AutoresetMode.NEXT_STEP), 2)
    environments.reset([1, 2])
    rows = []
    for _ in range(4):
        environments.step(np.zeros(2, np.int64))
        ended_B = environments.terminated_B | environments.truncated_B
        rows.append(
            [
                x.tolist()
                for x in (environments.played_B, environments.began_B, ended_B, environments.reward_B)
            ]
        )
        environments.reset([7 if ended else None for ended in ended_B])
    yes, no = True, False
    assert rows == [
        [[yes, yes], [no, no], [no, no], [1, 1]],
        [[yes, yes], [no, no], [yes, no], [2, 2]],
        [[no, yes], [yes, no], [no, yes], [0, 3]],
        [[yes, no], [no, yes], [no, no], [1, 0]],
    ]


def test_before_its_autoreset_step_an_environment_has_not_begun_a_task() -> None:
    environments = native(CountingPart(AutoresetMode.NEXT_STEP), 2)
    environments.reset([1, 2])
    for _ in range(2):
        environments.step(np.zeros(2, np.int64))
    environments.reset([5, None])
    assert environments.began_B.tolist() == [False, False]
    assert environments.played_B.tolist() == [False, True]
    assert environments.obs["observation"].tolist() == [[0, 2], [0, 2]]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_reset_of_all_passes_on_each_seed(mode: AutoresetMode) -> None:
    environments = native(CountingPart(mode), 2)
    environments.reset([7, 8])
    environments.step(np.zeros(2, np.int64))
    environments.reset([9, 10])
    inner: Any = environments._vector
    assert [env.seed for env in inner.envs] == [9, 10]
    assert environments.began_B.tolist() == [True, True]
    assert environments.obs["observation"].tolist() == [[1, 0], [1, 0]]


def test_a_masked_reset_passes_on_the_seeds_of_ended_tasks() -> None:
    environments = native(CountingPart(AutoresetMode.DISABLED), 3)
    environments.reset([7, 8, 9])
    environments.reset([None, 5, None])
    inner: Any = environments._vector
    assert [env.seed for env in inner.envs] == [7, 5, 9]
    assert environments.began_B.tolist() == [False, True, False]


def test_with_autoreset_disabled_results_equal_those_of_sync_environments() -> None:
    class Part:
        make = staticmethod(partial(Walk, nested=True))

        def make_vector(self, number: int) -> VectorEnv[Any, Any, Any]:
            return SyncVectorEnv([self.make] * number, autoreset_mode=AutoresetMode.DISABLED)

    part = Part()
    environments = GymnasiumVectorEnvironments(part.make_vector(3), "walk")
    alone = make_environments(part.make, "walk", 3)
    for side in (alone, environments):
        side.reset([1, 2, 3])
    seeds = count(4)
    for _ in range(100):
        for side in (alone, environments):
            side.step(np.array([0, 1, 2]))
        for key, values in alone.obs.items():
            assert np.array_equal(environments.obs[key], values)
            assert environments.obs[key].dtype == values.dtype
        for name in ("reward_B", "terminated_B", "truncated_B", "success_B"):
            np.testing.assert_array_equal(getattr(environments, name), getattr(alone, name))
        ended_B = alone.terminated_B | alone.truncated_B
        fresh = [next(seeds) if ended else None for ended in ended_B]
        for side in (alone, environments):
            side.reset(fresh)


def test_the_first_seed_determines_the_resets_of_cartpoles_vector_form() -> None:
    from amago_core.spec import load_spec

    spec = load_spec({"environment": {"use": "gymnasium", "id": "CartPole-v1"}})
    assert spec.environment is not None
    part = spec.environment.build(EnvironmentContext())
    lengths = []
    for seeds in ([1, 2, 3], [1, 5, 6], [2, 2, 3]):
        environments = native(part, 3)
        assert type(environments._vector).__name__ == "CartPoleVectorEnv"
        assert environments.reproducible is False
        environments.reset(seeds)
        assert environments.began_B.all()
        lengths.append(environments.obs["observation"].copy())
        environments.close()
    assert np.array_equal(lengths[0], lengths[1])
    assert not np.array_equal(lengths[0], lengths[2])
    trajectories = recorded(native(part, 3), 60)
    for one in (one for each in trajectories for one in each):
        assert one["end"] == "terminated"
        x, _, angle, _ = one["obs"][-1]["observation"]
        assert abs(x) > 2.4 or abs(angle) > 12 * np.pi / 180
        assert all(abs(row["observation"][2]) <= 12 * np.pi / 180 for row in one["obs"][:-1])
        assert one["reward"] == [1.0] * (len(one["obs"]) - 1)
        assert np.abs(one["obs"][0]["observation"]).max() <= 0.05


@pytest.mark.parametrize("mode", AUTORESET, ids=lambda mode: mode.name)
def test_a_running_task_cannot_be_cut_with_autoreset(
    mode: AutoresetMode,
) -> None:
    environments = native(CountingPart(mode), 2)
    environments.reset([1, 2])
    environments.step(np.zeros(2, np.int64))
    with pytest.raises(EnvironmentFault) as caught:
        environments.reset([None, 3])
    assert str(caught.value) == (
        "environment counting: its vector form resets by itself (autoreset), so a task cannot be cut "
        "before it ends. Leave out the limit on its steps, or write collector.vectorization=sync."
    )


def test_final_observations_may_be_one_batch() -> None:
    class Batched(VectorWrapper):
        def step(self, actions: Any) -> Any:
            obs, reward, terminated, truncated, infos = self.env.step(actions)
            if "final_obs" in infos:
                final = np.zeros((2, 2), np.float32)
                for index in np.flatnonzero(infos["_final_obs"]):
                    final[index] = infos["final_obs"][index]
                infos["final_obs"] = final
            return obs, reward, terminated, truncated, infos

    inner = CountingPart(AutoresetMode.SAME_STEP).make_vector(2)
    for index, trajectories in enumerate(
        recorded(GymnasiumVectorEnvironments(Batched(inner), "c"), 20)
    ):
        assert trajectories == [expected(2 + index, k, "bare") for k in range(len(trajectories))]


class Wrong(VectorWrapper):
    """Misbehaves in the way ``how`` names."""

    def __init__(self, env: Any, how: str) -> None:
        super().__init__(env)
        self.how = how

    def reset(self, **words: Any) -> Any:
        if self.how == "reset raises":
            raise RuntimeError("the simulator is gone")
        return self.env.reset(**words)

    def step(self, actions: Any) -> Any:
        if self.how == "step raises":
            raise RuntimeError("the simulator is gone")
        obs, reward, terminated, truncated, infos = self.env.step(actions)
        wrong: dict[str, tuple[Any, ...]] = {
            "shape": (obs[:, :1], reward, terminated, truncated, infos),
            "keys": ({"seen": obs}, reward, terminated, truncated, infos),
            "type": (obs.astype(complex), reward, terminated, truncated, infos),
            "reward": (obs, 1.0, terminated, truncated, infos),
            "end": (obs, reward, terminated[:1], truncated, infos),
            "reward text": (obs, ["a", "b"], terminated, truncated, infos),
            "reward complex": (obs, reward * 1j, terminated, truncated, infos),
            "ragged": ([[1.0, 2.0], [1.0]], reward, terminated, truncated, infos),
            "four": (obs, reward, terminated, truncated),
            "info": (obs, reward, terminated, truncated, 7),
            "success one": (obs, reward, terminated, truncated, {"success": 0.5}),
            "success few": (obs, reward, terminated, truncated, {"success": np.zeros(1)}),
            "success zero": (obs, reward, terminated, truncated, {"success": np.array(0.5)}),
            "success text": (obs, reward, terminated, truncated, {"success": ["won", "lost"]}),
            "success inf": (obs, reward, terminated, truncated, {"success": [1.0, np.inf]}),
            "success mask": (
                obs,
                reward,
                terminated,
                truncated,
                {"success": np.zeros(2), "_success": np.ones(3)},
            ),
            "final": (obs, reward, ~terminated, truncated, {}),
            "final shape": (obs, reward, ~terminated, truncated, {"final_obs": obs[:1]}),
        }
        return wrong[self.how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("reset raises", "reset raised RuntimeError: the simulator is gone"),
        ("step raises", "step raised RuntimeError: the simulator is gone"),
        ("shape", "the observation 'observation' has shape (2, 1), not (2, 2)"),
        ("keys", "the observation has the keys ['seen'], its space ['observation']"),
        ("type", "the observation 'observation' is of type complex128, its space of float32"),
        ("reward", "reward has shape (), not (2,)"),
        ("end", "terminated has shape (1,), not (2,)"),
        ("reward text", "reward is of type <U1 instead of being numbers"),
        ("reward complex", "reward is of type complex128 instead of being numbers"),
        ("ragged", "the observation 'observation' is not an array: [[1.0, 2.0], [1.0]]"),
        ("four", "step raised ValueError: not enough values to unpack (expected 5, got 4)"),
        ("info", "the info is 7 instead of being a dictionary"),
        ("success one", "info['success'] is 0.5 instead of a value for each environment"),
        ("success few", "info['success'] is array([0.]) instead of a value for each environment"),
        ("success zero", "info['success'] is array(0.5) instead of a value for each environment"),
        ("success text", "info['success'] is 'won' instead of being one number"),
        ("success inf", "info['success'] is inf, which is too large"),
        ("success mask", "info['_success'] has shape (3,), not (2,)"),
        ("final", "a task ended, and the info has no 'final_obs', its last observation"),
        ("final shape", "the observation 'observation' has shape (1, 2), not (2, 2)"),
    ],
)
def test_an_error_of_a_vector_form_names_what_is_wrong(how: str, message: str) -> None:
    mode = AutoresetMode.SAME_STEP if "final" in how else AutoresetMode.DISABLED
    vector = Wrong(CountingPart(mode).make_vector(2), how)
    environments = GymnasiumVectorEnvironments(vector, "counting")

    def act() -> None:
        environments.reset([1, 2])
        environments.step(np.zeros(2, np.int64))

    with pytest.raises(EnvironmentFault) as caught:
        act()
    assert str(caught.value) == f"environment counting, in its vector form: {message}."


def test_an_environment_without_a_vector_form_is_an_error_that_says_what_to_type() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        make_environments(Walk, "walk", 2, "native")
    assert str(caught.value) == (
        "environment walk has no vector form of its own, which collector.vectorization=native needs: "
        "write collector.vectorization=sync, or async for slow ones."
    )


class Odd(CountingPart):
    """A part whose vector form differs from its single environments."""

    def __init__(self, how: str) -> None:
        super().__init__(AutoresetMode.DISABLED)
        self.how = how

    def make_vector(self, number: int) -> VectorEnv[Any, Any, Any]:
        if self.how == "raises":
            raise OSError("no GPU")
        vector = super().make_vector(number + (self.how == "number"))
        if self.how == "seen":
            vector.single_observation_space = spaces.Discrete(2)
        if self.how == "done":
            vector.single_action_space = spaces.Discrete(3)
        if self.how == "silent":
            del vector.metadata["autoreset_mode"]
        return vector


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", "its vector form could not be constructed: OSError: no GPU."),
        ("number", "the number of its vector form is 3 instead of 2."),
        (
            "seen",
            "the observation space of its vector form is Discrete(2) instead of "
            "Box(0.0, 99.0, (2,), float32).",
        ),
        ("done", "the action space of its vector form is Discrete(3) instead of Discrete(2)."),
        (
            "silent",
            "its vector form does not declare its autoreset mode: set metadata['autoreset_mode'] to a "
            "gymnasium.vector.AutoresetMode, it is None.",
        ),
    ],
)
def test_a_vector_form_that_differs_from_one_environment_is_refused(how: str, message: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        native(Odd(how), 2)
    assert str(caught.value) == f"environment counting: {message}"


def test_a_vector_form_cannot_be_restarted() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        native(CountingPart(AutoresetMode.DISABLED), 2).restart()
    assert str(caught.value) == (
        "environment counting runs in this process and cannot be restarted; with "
        "collector.vectorization=async it can."
    )


def test_a_vector_form_may_be_closed_twice() -> None:
    environments = native(CountingPart(AutoresetMode.DISABLED), 2)
    environments.close()
    environments.close()


class Repeating(VectorWrapper):
    """Repeats reward and ends of the last step in the autoreset step."""

    over: Any = None

    def step(self, actions: Any) -> Any:
        obs, reward, terminated, truncated, infos = self.env.step(actions)
        if self.over is not None:
            before, over_B = self.over
            now = (reward, terminated, truncated)
            reward, terminated, truncated = (
                np.where(over_B, old, new) for old, new in zip(before, now, strict=True)
            )
        over_B = (terminated | truncated) & ~(self.over[1] if self.over is not None else False)
        self.over = (reward, terminated, truncated), over_B
        return obs, reward, terminated, truncated, infos


def test_reward_and_ends_of_an_autoreset_step_are_ignored() -> None:
    inner = CountingPart(AutoresetMode.NEXT_STEP).make_vector(2)
    environments = GymnasiumVectorEnvironments(Repeating(inner), "counting")
    for index, trajectories in enumerate(recorded(environments, 20)):
        assert len(trajectories) >= 3
        assert trajectories == [expected(2 + index, k, "bare") for k in range(len(trajectories))]


def test_an_error_in_close_of_a_vector_form_is_logged_and_hides_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class CloseRaises(VectorWrapper):
        def close(self, **words: Any) -> None:
            raise RuntimeError("the window is gone")

    vector = CloseRaises(CountingPart(AutoresetMode.DISABLED).make_vector(2))
    GymnasiumVectorEnvironments(vector, "counting").close()
    warning = "environment counting: close raised RuntimeError: the window is gone."
    assert caplog.messages == [warning]
    with pytest.raises(EnvironmentFault) as caught:
        make_gymnasium_vector(lambda _: vector, partial(Counting, 2), "counting", 3)
    assert str(caught.value) == "environment counting: the number of its vector form is 2 instead of 3."
    assert caplog.messages == [warning, warning]


class OneSeed(VectorWrapper):
    """Accepts one seed, but no list of seeds."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if isinstance(seed, list):
            raise TypeError("one seed for all")
        return self.env.reset(seed=seed, options=options)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_tasks_are_seeded_where_each_begins_with_its_own_seed(mode: AutoresetMode) -> None:
    environments = native(CountingPart(mode), 2)
    environments.reset([1, 2])
    assert environments.seeded == (mode is AutoresetMode.DISABLED)
    one_for_all = GymnasiumVectorEnvironments(OneSeed(CountingPart(mode).make_vector(2)), "counting")
    one_for_all.reset([1, 2])
    assert one_for_all.seeded is False
