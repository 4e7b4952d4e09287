"""Synchronous vectorized environments, and checks of what environments return."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from toys import Broken, Fragile, Walk

from amago_core.environments import (
    CheckedEnv,
    EnvironmentFault,
    check_finite,
    make_environments,
    step_budget,
)


@pytest.mark.parametrize(
    ("at", "how", "message"),
    [
        (2, "shape", "the observation 'observation' has shape (3,), its space (2,)."),
        (0, "shape", "the observation 'observation' has shape (3,), its space (2,)."),
        (1, "keys", "the observation has the keys ['seen'], its space ['cell', 'seen']."),
        (3, "raise", "step raised RuntimeError: the simulator is gone."),
        (0, "raise", "reset raised RuntimeError: the simulator is gone."),
        (1, "reward shape", "the reward has shape (2,) instead of being one number."),
        (2, "reward none", "the reward is None instead of being one number."),
        (2, "end shape", "terminated has shape (2,) instead of being true or false."),
        (2, "cut shape", "truncated has shape (2,) instead of being true or false."),
        (1, "success none", "info['success'] is None instead of being one number."),
        (1, "success shape", "info['success'] has shape (2,) instead of being one number."),
        (1, "info none", "the info is None instead of being a dictionary."),
        (0, "info none", "the info is None instead of being a dictionary."),
        (2, "kind", "the observation 'observation' is of type complex64, its space of float32."),
    ],
)
def test_an_error_names_environment_step_and_field(at: int, how: str, message: str) -> None:
    env = CheckedEnv(Broken(at, how), "walk")

    def act() -> None:
        env.reset(seed=0)
        for _ in range(5):
            env.step(0)

    with pytest.raises(EnvironmentFault) as caught:
        act()
    assert str(caught.value) == f"environment walk, step {at} of its task: {message}"


class Odd(Walk):
    """A walk that misbehaves in the way ``how`` names."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def reset(self, **words: Any) -> Any:
        if self.how == "reset exits":
            sys.exit("no licence")
        return super().reset(**words)

    def step(self, action: Any) -> Any:
        if self.how == "step exits":
            sys.exit("no licence")
        obs, reward, *ends, info = super().step(action)
        return {
            "success": (obs, reward, *ends, {"success": -1e200}),
            "complex": (obs, np.complex128(1j), *ends, info),
            "huge": (obs, 10**400, *ends, info),
            "ragged": ([1.0, [2.0]], reward, *ends, info),
        }[self.how]


@pytest.mark.parametrize(
    ("at", "how", "message"),
    [
        (0, "reset exits", "reset raised SystemExit: no licence."),
        (1, "step exits", "step raised SystemExit: no licence."),
        (1, "success", "info['success'] is -1e+200, which is too large."),
        (1, "complex", "the reward is np.complex128(1j) instead of being one number."),
        (1, "huge", f"the reward is 1{400 * '0'} instead of being one number."),
        (1, "ragged", "the observation 'observation' is not an array: [1.0, [2.0]]."),
    ],
)
def test_exits_and_values_beyond_any_type_are_environment_faults(
    at: int, how: str, message: str
) -> None:
    env = CheckedEnv(Odd(how), "walk")

    def act() -> None:
        env.reset(seed=0)
        env.step(0)

    with pytest.raises(EnvironmentFault) as caught:
        act()
    assert str(caught.value) == f"environment walk, step {at} of its task: {message}"


def test_an_exit_during_construction_names_the_environment() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        sys.exit("no licence")

    with pytest.raises(EnvironmentFault) as caught:
        make_environments(make, "doom", 1)
    assert str(caught.value) == "environment doom could not be constructed: SystemExit: no licence."


@pytest.mark.parametrize(
    "ones", [(1, 1), (True, True), (np.float32(1), np.bool_(True)), (np.array(1), np.array(1))]
)
def test_numbers_and_booleans_of_any_type_become_those_of_python(ones: tuple[Any, Any]) -> None:
    class Loose(Walk):
        def step(self, action: Any) -> Any:
            obs, *_ = super().step(action)
            return obs, ones[0], ones[1], ones[1], {"success": ones[0], "other": object()}

    env = CheckedEnv(Loose(), "walk")
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(0)
    assert (type(reward), reward) == (float, 1.0)
    assert terminated is truncated is True
    assert info == {"success": 1.0}


@pytest.mark.parametrize("given", [np.float64, np.float16, np.int8])
def test_an_observation_of_a_compatible_dtype_is_converted(given: Any) -> None:
    class Other(Walk):
        def _observe(self) -> Any:
            return np.array([self.time, -1], given)

    vector = make_environments(Other, "walk", 1)
    vector.reset([0])
    vector.step(np.array([0]))
    assert vector.obs["observation"].dtype == np.float32
    assert vector.obs["observation"].tolist() == [[1, -1]]


def test_the_name_of_a_task_is_read_from_its_info() -> None:
    vector = make_environments(Fragile, "walk", 3)
    assert vector.task_B == ["", "", ""]
    vector.reset([1, 2, None])
    assert vector.task_B == ["odd", "even", ""]


def test_a_task_name_that_is_not_text_is_ignored() -> None:
    class Numbered(Walk):
        def reset(self, **words: Any) -> Any:
            return super().reset(**words)[0], {"task": 3}

    vector = make_environments(Numbered, "walk", 1)
    vector.reset([1])
    assert vector.task_B == [""]


def test_success_is_only_that_of_the_last_step() -> None:
    vector = make_environments(lambda: Broken(-1, "never"), "walk", 1)
    vector.reset([0])
    known = []
    for _ in range(4):
        vector.step(np.array([0]))
        known.append(not np.isnan(vector.success_B[0]))
    assert known == [False, False, True, False]


def test_sync_environments_cannot_be_restarted() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        make_environments(Walk, "walk", 1).restart()
    assert str(caught.value) == (
        "environment walk runs in this process and cannot be restarted; with "
        "collector.vectorization=async it can."
    )


def test_the_step_in_an_error_counts_from_the_last_reset() -> None:
    env = CheckedEnv(Broken(2, "shape"), "walk")
    env.reset(seed=0)
    env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(EnvironmentFault, match="step 2 of its task"):
        env.step(0)


def test_a_construction_error_names_the_environment() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        raise OSError("no display")

    with pytest.raises(EnvironmentFault) as caught:
        make_environments(make, "doom", 2)
    assert str(caught.value) == "environment doom could not be constructed: OSError: no display."


def test_an_object_that_is_not_an_environment_is_refused() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        make_environments(lambda: "oops", "doom", 1)  # type: ignore[arg-type, return-value]
    assert str(caught.value) == (
        "environment doom could not be constructed: TypeError: "
        "Expected env to be a `gymnasium.Env` but got <class 'str'>."
    )


def test_finite_values_and_whole_numbers_pass() -> None:
    check_finite("walk", np.array([1, 2]), reward=np.zeros(2), cell=np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_an_error_names_the_step_of_a_value_that_is_not_finite(bad: float, shown: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        check_finite("walk", np.array([4, 7]), reward=np.array([1.0, bad]))
    assert str(caught.value) == (
        f"environment walk, step 7 of its task: reward is not finite: {shown}."
    )


def test_an_error_shows_the_whole_observation_that_is_not_finite() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        check_finite("walk", np.array([3, 3]), obs=np.array([[0.5, np.nan], [0.0, 0.0]]))
    assert str(caught.value) == ("environment walk, step 3 of its task: obs is not finite: [0.5 nan].")


def test_a_reset_does_not_touch_environments_without_a_seed() -> None:
    vector: Any = make_environments(lambda: Broken(-1, "never"), "walk", 3)
    vector.reset([1, 2, 3])
    vector.step(np.array([0, 0, 0]))
    before = vector.obs["observation"].copy()
    vector.reset([None, 9, None])
    after = vector.obs["observation"]
    assert [env.unwrapped.time for env in vector.envs] == [1, 0, 1]
    assert vector.began_B.tolist() == [False, True, False]
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    fresh, _ = Broken(-1, "never").reset(seed=9)
    assert np.array_equal(after[1], fresh)


def test_the_step_budget_is_the_horizon_or_the_registered_limit() -> None:
    walk = Walk()
    assert step_budget(walk) is None
    walk.horizon = 30  # type: ignore[attr-defined]
    assert step_budget(CheckedEnv(walk, "walk")) == 30
    assert step_budget(gymnasium.make("CartPole-v1")) == 500


class Nested(Walk):
    """A walk whose nested observation is wrong in the way ``how`` names."""

    def __init__(self, how: str) -> None:
        super().__init__(nested=True)
        self.how = how

    def _observe(self) -> Any:
        obs = super()._observe()
        cell, (seen, counts) = obs["eye"]["cell"], obs["eye"]["pair"]
        wrong = {
            "less": {"eye": {"cell": cell, "pair": (seen,)}},
            "flat": {"eye": cell},
            "shape": {"eye": {"cell": cell, "pair": (seen, counts[:1])}},
            "bare": seen,
        }
        return wrong.get(self.how, obs)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "less",
            "the observation has the keys ['eye/cell', 'eye/pair/0'], "
            "its space ['eye/cell', 'eye/pair/0', 'eye/pair/1'].",
        ),
        (
            "flat",
            "the observation has the keys ['eye'], its space ['eye/cell', 'eye/pair/0', 'eye/pair/1'].",
        ),
        ("shape", "the observation 'eye/pair/1' has shape (1,), its space (2,)."),
        (
            "bare",
            "the observation has the keys ['observation'], "
            "its space ['eye/cell', 'eye/pair/0', 'eye/pair/1'].",
        ),
    ],
)
def test_an_error_names_a_nested_observation_by_its_flat_key(how: str, message: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        CheckedEnv(Nested(how), "walk").reset(seed=0)
    assert str(caught.value) == f"environment walk, step 0 of its task: {message}"


def test_nested_observations_are_batched_by_flat_keys() -> None:
    vector = make_environments(lambda: Walk(9, nested=True), "walk", 3)
    vector.reset([1, 2, 3])
    assert vector.obs["eye/cell"].shape == (3, 2, 2)
    assert vector.obs["eye/pair/1"].tolist() == [[0, 1]] * 3


def test_a_function_that_returns_the_same_environment_twice_is_refused() -> None:
    only = Walk()
    make_environments(lambda: only, "walk", 1).close()
    with pytest.raises(EnvironmentFault) as caught:
        make_environments(lambda: only, "walk", 2)
    assert str(caught.value) == (
        "environment walk: making it 2 times gave the same object twice; each call must return a new "
        "environment, because they are stepped together."
    )


def test_an_error_names_the_step_of_a_number_too_large_for_float32() -> None:
    check_finite("walk", np.array([4, 7]), reward=np.array([1.0, -3.4e38]))
    with pytest.raises(EnvironmentFault) as caught:
        check_finite("walk", np.array([4, 7]), reward=np.array([1.0, -1e200]))
    assert str(caught.value) == (
        "environment walk, step 7 of its task: reward is too large for single precision: -1.e+200."
    )


class CloseRaises(Walk):
    """A walk whose ``close`` raises; counts the open ones."""

    opened: list[int] = []

    def __init__(self) -> None:
        super().__init__()
        self.opened.append(id(self))

    def close(self) -> None:
        self.opened.remove(id(self))
        raise RuntimeError("the window is gone")


def test_an_error_in_close_is_logged_and_the_others_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    CloseRaises.opened.clear()
    environments = make_environments(CloseRaises, "walk", 2)
    environments.close()
    assert CloseRaises.opened == []
    assert caplog.messages == ["environment walk: close raised RuntimeError: the window is gone."] * 2


def test_made_environments_are_closed_if_a_later_one_fails() -> None:
    opened: list[int] = []

    class Third(Walk):
        def __init__(self) -> None:
            if len(opened) == 2:
                raise OSError("no display")
            super().__init__()
            opened.append(id(self))

        def close(self) -> None:
            opened.remove(id(self))

    with pytest.raises(EnvironmentFault) as caught:
        make_environments(Third, "doom", 4)
    assert str(caught.value) == "environment doom could not be constructed: OSError: no display."
    assert opened == []
