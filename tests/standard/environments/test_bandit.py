from __future__ import annotations

import numpy as np
import pytest
from scripted import bandit, rollout

from amago_standard.environments import Bandit


def test_it_has_10_arms_and_the_gaussian_variant_5() -> None:
    arms = [Bandit().arms, Bandit(gaussian=True).arms, Bandit(arms=3, gaussian=True).arms]
    assert arms == [10, 5, 3]


def test_a_random_policy_earns_half_a_reward_per_pull() -> None:
    env, rng = Bandit(), np.random.default_rng(0)
    rewards = [sum(rollout(env, lambda obs: int(rng.integers(10)), seed)[0]) for seed in range(300)]
    assert np.mean(rewards) == pytest.approx(50, abs=1.5)


def test_the_best_of_k_arms_pays_k_over_k_plus_1() -> None:
    env = Bandit(arms=4)
    rewards = [sum(rollout(env, bandit(env), seed)[0]) for seed in range(300)]
    assert np.mean(rewards) == pytest.approx(80, abs=3)


def test_each_arm_pays_as_often_as_its_mean_says() -> None:
    env = Bandit(arms=3, pulls=6000)
    turn = iter(range(6000))
    rewards, _ = rollout(env, lambda obs: next(turn) % 3, seed=0)
    assert np.reshape(rewards, (-1, 3)).mean(0) == pytest.approx(np.array(env._mean_K), abs=0.04)


def test_every_pull_is_an_attempt_whose_success_is_its_reward() -> None:
    rewards, infos = rollout(Bandit(pulls=20), lambda obs: 0, seed=0)
    assert infos == [{"attempt": pull, "success": reward} for pull, reward in enumerate(rewards)]
    assert set(rewards) == {0.0, 1.0}


def test_gaussian_rewards_scatter_around_the_mean_and_success_is_the_best_arm() -> None:
    env = Bandit(gaussian=True, pulls=4000)
    rewards, infos = rollout(env, bandit(env), seed=0)
    assert np.mean(rewards) == pytest.approx(max(env._mean_K), abs=0.03)
    assert np.std(rewards) == pytest.approx(0.3, abs=0.02)
    assert {info["success"] for info in infos} == {1.0}
    _, infos = rollout(env, lambda obs: int(np.argmin(env._mean_K)), seed=0)
    assert {info["success"] for info in infos} == {0.0}


def test_the_picture_has_a_bar_per_arm_and_marks_the_last_pull() -> None:
    env = Bandit(arms=4, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (20 * 16, 4 * 16, 3)
    env.step(2)
    assert env.render()[-1, 2 * 16].tolist() == [48, 116, 214]


def test_skew_makes_good_arms_rare() -> None:
    bandit = Bandit(arms=10, skew=3.0)
    plain = Bandit(arms=10)
    for seed in range(20):
        bandit.reset(seed=seed)
        plain.reset(seed=seed)
        assert bandit._mean_K == pytest.approx([mean**3 for mean in plain._mean_K])
