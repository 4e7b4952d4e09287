"""Running at a hidden velocity: rewards from the physics of gymnasium's HalfCheetah."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import rollout

from amago_registry.contexts import EnvironmentContext
from amago_registry.errors import UnavailableError
from amago_standard.environments import HalfCheetahVelocity
from amago_standard.environments.half_cheetah_velocity import HalfCheetahVelocityPart, _half_cheetah
from amago_standard.environments.options import HalfCheetahVelocityOptions

needs_mujoco = pytest.mark.skipif(
    find_spec("mujoco") is None, reason="needs mujoco: pip install -e './plugins/standard[mujoco]'"
)
STILL = np.zeros(6, np.float32)


def play(env: HalfCheetahVelocity, seed: int) -> list[tuple[Any, ...]]:
    """Return observations, rewards, ends and infos under actions that are always the same."""
    rng = np.random.default_rng(0)
    obs, info = env.reset(seed=seed)
    steps: list[tuple[Any, ...]] = [(obs, 0.0, False, info)]
    while not steps[-1][2]:
        obs, reward, terminated, truncated, info = env.step(rng.uniform(-1, 1, 6).astype(np.float32))
        assert not truncated
        steps.append((obs, reward, terminated, info))
    return steps


@needs_mujoco
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63 - 1))
def test_a_step_always_costs_the_error_of_the_velocity_and_the_torques(seed: int) -> None:
    env, rng = HalfCheetahVelocity(attempts=2, attempt_limit=5), np.random.default_rng(0)
    steps = play(env, seed)
    draws = np.random.Generator(np.random.PCG64(seed))
    velocity = 3 * draws.random()
    cheetah = _half_cheetah(None)
    cheetah.reset(seed=int(draws.integers(2**31)))
    for time, (_, reward, _, _) in enumerate(steps[1:]):
        if time == 5:
            cheetah.reset()
        before = cheetah.data.qpos[0]
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        cheetah.step(action)
        moved = (cheetah.data.qpos[0] - before) / 0.05
        torques = sum(float(torque) ** 2 for torque in action)
        assert reward == pytest.approx(-abs(moved - velocity) - 0.05 * torques)


@needs_mujoco
def test_the_observation_is_that_of_half_cheetah_and_whether_an_attempt_begins() -> None:
    env, cheetah = HalfCheetahVelocity(), _half_cheetah(None)
    seen, _ = env.reset(seed=0)
    shown, _ = cheetah.reset(seed=env._cheetah.np_random_seed)
    assert env.observation_space.shape == (18,)
    assert seen.tolist() == [*shown.astype(np.float32).tolist(), 1.0]
    assert env.step(STILL)[0].tolist() == [*cheetah.step(STILL)[0].astype(np.float32).tolist(), 0.0]


@needs_mujoco
def test_a_trajectory_is_3_attempts_of_200_steps_each() -> None:
    env = HalfCheetahVelocity()
    steps = play(env, seed=1)
    assert [time for time, (obs, *_) in enumerate(steps) if obs[-1]] == [0, 200, 400, 600]
    assert {time: info["attempt"] for time, (*_, info) in enumerate(steps) if info} == {
        200: 0,
        400: 1,
        600: 2,
    }
    assert steps[-1][2]
    assert env.horizon == 600


@needs_mujoco
def test_every_attempt_starts_elsewhere_and_near_the_same_place() -> None:
    starts = [obs for obs, *_ in play(HalfCheetahVelocity(attempt_limit=3), seed=0) if obs[-1]]
    first, second, *_ = starts
    assert (first != second)[:-1].all()
    assert np.abs(np.array(starts)[:, :8]).max() <= 0.1


@needs_mujoco
def test_success_is_the_share_of_steps_near_the_velocity() -> None:
    env = HalfCheetahVelocity(attempts=1, attempt_limit=50, control_cost=0.0)
    rewards, infos = rollout(env, lambda obs: env.action_space.high, seed=3)
    share = sum(reward >= -0.5 for reward in rewards) / 50
    assert 0 < share < 1
    assert infos[-1] == {"attempt": 0, "success": share}


@needs_mujoco
def test_velocities_are_drawn_evenly_up_to_the_fastest() -> None:
    env = HalfCheetahVelocity()
    env.reset(seed=0)
    drawn = []
    for _ in range(1000):
        env.reset()
        drawn.append(env._velocity)
    # A third in each third: 333, standard deviation 15.
    thirds = np.histogram(drawn, bins=3, range=(0, 3))[0]
    assert sum(thirds) == 1000
    assert all(abs(count - 333) < 60 for count in thirds)


@needs_mujoco
def test_moving_at_random_earns_less_than_any_published_agent() -> None:
    env = HalfCheetahVelocity()
    returns = [sum(reward for _, reward, *_ in play(env, seed)) for seed in range(5)]
    assert np.mean(returns) < -155


@needs_mujoco
def test_a_cheetah_that_should_stand_earns_most_by_doing_nothing() -> None:
    env = HalfCheetahVelocity(max_velocity=0.0)
    still, _ = rollout(env, lambda obs: STILL, seed=0)
    assert sum(still) > sum(reward for _, reward, *_ in play(env, seed=0)) / 10


@needs_mujoco
def test_the_options_make_what_the_class_makes_by_default() -> None:
    made = HalfCheetahVelocityPart(EnvironmentContext(), HalfCheetahVelocityOptions()).make()
    plain = HalfCheetahVelocity()
    names = ("attempts", "attempt_limit", "max_velocity", "control_cost", "tolerance", "horizon")
    assert [getattr(made, name) for name in names] == [getattr(plain, name) for name in names]


@needs_mujoco
def test_a_picture_is_what_the_simulation_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    env = HalfCheetahVelocity(render_mode="rgb_array")
    picture = np.zeros((2, 2, 3), np.uint8)
    monkeypatch.setattr(env._cheetah, "render", lambda: picture)
    assert env._cheetah.render_mode == "rgb_array"
    assert env.render() is picture


@needs_mujoco
def test_a_film_of_it_is_as_fast_as_the_simulation() -> None:
    env = HalfCheetahVelocity()
    assert env.metadata["render_fps"] == env._cheetah.metadata["render_fps"] == 20
    assert env.metadata["render_modes"] == ["rgb_array"]


@needs_mujoco
def test_making_the_environment_prints_and_writes_nothing(tmp_path: Path) -> None:
    code = (
        "import mujoco; from amago_standard.environments import HalfCheetahVelocity\n"
        "mujoco.set_mju_user_warning(print); HalfCheetahVelocity().reset(seed=0)\n"
        "assert mujoco.get_mju_user_warning() is print"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr, list(tmp_path.iterdir())) == (0, "", "", [])


def test_mujoco_that_cannot_be_imported_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UnavailableError) as raised:
        HalfCheetahVelocityPart(EnvironmentContext(), HalfCheetahVelocityOptions()).make()
    assert str(raised.value) == (
        "the environment half-cheetah-velocity needs the package mujoco, which cannot be imported "
        "here: ModuleNotFoundError: import of mujoco halted; None in sys.modules. Install it: "
        "pip install 'gymnasium[mujoco]>=1.1'"
    )
