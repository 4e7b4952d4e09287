"""The benchmarks of the package, as tasks of several attempts."""

from __future__ import annotations

from functools import partial

import metaworld
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld_plays import make

from amago_metaworld.benchmarks import goals, task_names
from amago_metaworld.names import TASKS
from amago_metaworld.task import WIDTH, MetaworldTask
from amago_registry.testing.arrays import global_randomness

STILL = np.zeros(4, np.float32)


def test_every_task_of_the_package_has_its_name() -> None:
    assert sorted(TASKS) == sorted(ALL_V3_ENVIRONMENTS)


@pytest.mark.parametrize(
    ("benchmark", "split", "count"),
    [
        ("ML10", "train", 10),
        ("ML10", "test", 5),
        ("ML25", "train", 25),
        ("ML25", "test", 5),
        ("ML45", "train", 45),
        ("ML45", "test", 5),
        ("MT10", "train", 10),
        ("MT25", "train", 25),
        ("MT50", "train", 50),
    ],
)
def test_a_benchmark_has_the_tasks_of_the_package(benchmark: str, split: str, count: int) -> None:
    names = task_names(benchmark, None, split)
    assert len(names) == count
    assert set(names) <= set(TASKS)


@pytest.mark.parametrize("benchmark", ["ML10", "ML45"])
def test_no_task_is_both_trained_on_and_held_out(benchmark: str) -> None:
    assert not set(task_names(benchmark, None, "train")) & set(task_names(benchmark, None, "test"))


def test_goals_are_those_of_the_package_and_held_out_ones_are_others() -> None:
    train, test = (goals("ML1", "reach-v3", split, 0) for split in ("train", "test"))
    package = metaworld.ML1("reach-v3", seed=0)
    assert [list(train), list(test)] == [package.train_tasks, package.test_tasks]
    assert len(set(train)) == len(set(test)) == 50
    assert not set(train) & set(test)


def test_another_seed_of_the_run_has_other_goals() -> None:
    assert not set(goals("ML1", "reach-v3", "train", 0)) & set(goals("ML1", "reach-v3", "train", 5))
    assert _target(make(0, task="reach-v3"), 1) != _target(make(5, task="reach-v3"), 1)


def test_tasks_have_one_of_the_fifty_goals_each() -> None:
    env, arm = make(task="reach-v3"), ALL_V3_ENVIRONMENTS["reach-v3"]()
    fifty = {tuple(_goal(arm, task)) for task in goals("ML1", "reach-v3", "train", 0)}
    assert len(fifty) == 50
    # A goal that is drawn evenly is missed by so many seeds once in 400.
    assert {tuple(_target(env, seed)) for seed in range(300)} == fifty


def _target(env: MetaworldTask, seed: int) -> list[float]:
    env.reset(seed=seed)
    return env._arm._target_pos.tolist()


def test_drawing_goals_leaves_global_generators_alone() -> None:
    goals.cache_clear()
    with global_randomness(0) as touched:
        goals("ML1", "reach-v3", "train", 0)
        assert not touched()


def test_attempts_have_fixed_steps_a_success_and_a_mark_at_their_start() -> None:
    env = make(task="reach-v3", attempt_steps=4)
    obs, info = env.reset(seed=0)
    assert env.horizon == 12
    assert info == {"task": "reach-v3"}
    marks, infos, ends = [obs[WIDTH]], [], []
    for _ in range(12):
        obs, _, terminated, truncated, info = env.step(STILL)
        assert not truncated
        marks.append(obs[WIDTH])
        infos.append(info)
        ends.append(terminated)
    assert marks == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]
    assert [info for info in infos if info] == [
        {"attempt": index, "success": 0.0} for index in range(3)
    ]
    assert ends == [False] * 11 + [True]


def test_every_attempt_begins_at_the_same_place_with_the_same_goal() -> None:
    env = make(task="push-v3", attempt_steps=3)
    first, _ = env.reset(seed=4)
    target = env._arm._target_pos.copy()
    for _ in range(3):
        again, *_ = env.step(np.ones(4, np.float32))
    assert again.tolist() == first.tolist()
    assert env._arm._target_pos.tolist() == target.tolist()


def test_rewards_and_observations_are_the_packages() -> None:
    env = make(task="reach-v3", attempt_steps=10)
    choose = np.random.default_rng(1)
    obs, _ = env.reset(seed=7)
    arm = ALL_V3_ENVIRONMENTS["reach-v3"]()
    drawn = goals("ML1", "reach-v3", "train", 0)
    (task,) = [task for task in drawn if _goal(arm, task) == env._arm._target_pos.tolist()]
    arm.set_task(task)
    raw, _ = arm.reset()
    for _ in range(9):
        assert obs[:WIDTH].tolist() == raw.astype(np.float32).tolist()
        action = choose.uniform(-1, 1, 4).astype(np.float32)
        obs, reward, *_ = env.step(action)
        raw, expected, *_ = arm.step(action)
        assert reward == expected


def _goal(arm, task) -> list[float]:
    arm.set_task(task)
    arm.reset()
    return arm._target_pos.tolist()


def test_the_goal_is_hidden_in_ml_and_shown_in_mt() -> None:
    hidden, shown = make(task="reach-v3"), make(benchmark="MT1", task="reach-v3")
    assert hidden.reset(seed=0)[0][36:39].tolist() == [0, 0, 0]
    obs, _ = shown.reset(seed=0)
    assert obs[36:39].tolist() == shown._arm._target_pos.astype(np.float32).tolist()


def test_a_one_hot_shows_the_task_of_multi_task_benchmarks() -> None:
    env = make(benchmark="MT10", attempt_steps=5)
    assert env.observation_space.shape == (39 + 1 + 10,)
    assert env.attempts == 1
    seen = set()
    for seed in range(4):
        obs, info = env.reset(seed=seed)
        assert obs[40:].tolist() == np.eye(10)[env.tasks.index(info["task"])].tolist()
        seen.add(info["task"])
    assert len(seen) > 1


def test_which_task_it_is_is_not_shown_where_it_is_to_be_found_out() -> None:
    env = make(benchmark="ML10")
    assert env.observation_space.shape == (40,)
    assert (env.attempts, env.horizon) == (3, 1500)


@pytest.mark.filterwarnings("ignore:Constant.s. may be too high")  # The scripts ask for more than 1.
@pytest.mark.parametrize("name", ["reach-v3", "drawer-close-v3", "button-press-topdown-v3"])
def test_a_scripted_policy_succeeds(name: str) -> None:
    env = make(benchmark="MT1", task=name)
    infos = _played_by_script(env, name)
    assert infos[-1] == {"attempt": 0, "success": 1.0}


def test_an_attempt_in_which_nothing_is_done_fails() -> None:
    env = make(benchmark="MT1", task="reach-v3", attempt_steps=50)
    env.reset(seed=0)
    assert [env.step(STILL)[-1] for _ in range(50)][-1] == {"attempt": 0, "success": 0.0}


def _played_by_script(env: MetaworldTask, name: str) -> list[dict]:
    policy = ENV_POLICY_MAP[name]()
    obs, _ = env.reset(seed=0)
    infos, over = [], False
    while not over:
        action = np.clip(policy.get_action(obs[:WIDTH].astype(np.float64)), -1, 1)
        obs, _, over, _, info = env.step(action.astype(np.float32))
        infos.append(info)
    return infos


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_was_used_is_as_a_fresh_one(name: str) -> None:
    env, fresh = make(task=name, attempt_steps=20), make(task=name, attempt_steps=20)
    _trajectory(env, 0)
    assert _trajectory(env, 1) == _trajectory(fresh, 1)


def test_cached_simulations_behave_like_fresh_ones_after_another_task() -> None:
    env = make(benchmark="MT10", attempt_steps=20)
    first, kept = [], []
    for seed in (0, 1):
        first.append(_trajectory(env, seed))
        kept.append((env._index, env._arm))
    assert kept[0][0] != kept[1][0]
    for seed, (_, arm) in enumerate(kept):
        assert _trajectory(env, seed) == first[seed]
        assert env._arm is arm


@pytest.mark.parametrize(("benchmark", "kept"), [("ML10", 2), ("ML25", 1)])
def test_of_more_than_ten_tasks_one_arm_is_kept_and_every_arm_is_closed(
    benchmark: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make(benchmark=benchmark)
    built, closed = [], []
    for seed in (0, 1):
        env.reset(seed=seed)
        built.append(env._arm)
        monkeypatch.setattr(env._arm, "close", partial(closed.append, env._arm))
    assert built[0] is not built[1]
    assert closed == built[: 2 - kept]
    env.close()
    assert closed == built


def _trajectory(env: MetaworldTask, seed: int) -> list[list[float]]:
    choose = np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    rows, over = [obs.tolist()], False
    while not over:
        obs, reward, over, _, info = env.step(choose.uniform(-1, 1, 4).astype(np.float32))
        rows.append([*obs.tolist(), reward, *info.values()])
    return rows
