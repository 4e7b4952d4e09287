"""Laws of this room's environments, beside those of all environments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.passive_env_checker import env_render_passive_checker
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import rollout

import amago_standard.environments as room
from amago_registry.contexts import EnvironmentContext
from amago_standard.environments import options
from amago_standard.environments.bandit import Bandit, BanditPart
from amago_standard.environments.dark_key_to_door import DarkKeyToDoor, DarkKeyToDoorPart
from amago_standard.environments.dark_room import DarkRoom, DarkRoomPart
from amago_standard.environments.frozen_lake import MetaFrozenLake, MetaFrozenLakePart
from amago_standard.environments.t_maze import TMaze, TMazePart

MAKERS: dict[str, Callable[..., Any]] = {
    "t-maze": lambda **kw: TMaze(length=4, **kw),
    "active": lambda **kw: TMaze(length=4, active=True, **kw),
    "bandit": lambda **kw: Bandit(pulls=7, **kw),
    "gaussian": lambda **kw: Bandit(pulls=7, gaussian=True, **kw),
    "room": lambda **kw: DarkRoom(size=3, attempts=2, attempt_limit=4, **kw),
    "door": lambda **kw: DarkKeyToDoor(size=2, horizon=20, attempt_limit=6, **kw),
    "lit": lambda **kw: DarkKeyToDoor(size=2, horizon=20, light=True, shuffle_actions=True, **kw),
    "lake": lambda **kw: MetaFrozenLake(size=3, attempts=2, **kw),
    "recover": lambda **kw: MetaFrozenLake(size=3, attempts=2, recover=True, **kw),
    "hard": lambda **kw: MetaFrozenLake(size=3, attempts=2, hard=True, **kw),
}
every_task = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def trajectory(env: Any, seed: int, choices: list[int]) -> list[Any]:
    """Everything seen on one trajectory, whose actions repeat ``choices``."""
    obs, info = env.reset(seed=seed)
    seen: list[Any] = [(obs.tobytes(), info)]
    for time in range(env.horizon):
        action = choices[time % len(choices)] % int(env.action_space.n)
        obs, reward, terminated, truncated, info = env.step(action)
        seen.append((obs.tobytes(), reward, terminated, truncated, info))
        if terminated:
            break
    return seen


seeds = st.integers(0, 2**31)
actions = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@every_task
@given(seed=seeds, choices=actions)
@settings(max_examples=10, deadline=None)
def test_trajectories_always_end_terminated_within_the_horizon(
    make: Callable[..., Any], seed: int, choices: list[int]
) -> None:
    steps = trajectory(make(), seed, choices)[1:]
    assert [terminated for _, _, terminated, _, _ in steps] == [False] * (len(steps) - 1) + [True]
    assert not any(truncated for _, _, _, truncated, _ in steps)


@pytest.mark.parametrize("name", ["bandit", "gaussian", "room", "lake", "recover", "hard"])
@given(seed=seeds, choices=actions)
@settings(max_examples=10, deadline=None)
def test_every_attempt_is_always_made_and_the_last_ends_the_trajectory(
    name: str, seed: int, choices: list[int]
) -> None:
    infos = [info for *_, info in trajectory(MAKERS[name](), seed, choices)[1:]]
    attempts = [info["attempt"] for info in infos if info]
    assert attempts == list(range(7 if name in {"bandit", "gaussian"} else 2))
    assert all(type(info["success"]) is float for info in infos if info)
    assert infos[-1]


@every_task
def test_without_a_seed_the_next_task_is_another(make: Callable[..., Any]) -> None:
    env = make()
    env.reset(seed=0)
    states = set()
    for _ in range(20):
        env.reset()
        hidden = [getattr(env, name, None) for name in ("_goal", "_mean_K", "_door", "_holes")]
        states.add(str(hidden))
    assert len(states) > 1


@every_task
def test_a_picture_is_drawn_only_on_demand(make: Callable[..., Any]) -> None:
    drawn, plain = make(render_mode="rgb_array"), make()
    drawn.reset(seed=0)
    plain.reset(seed=0)
    assert env_render_passive_checker(drawn).dtype == np.uint8
    assert env_render_passive_checker(plain) is None


def test_an_unknown_render_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^render_mode is 'human'; choose None or 'rgb_array'$"):
        TMaze(render_mode="human")


@pytest.mark.parametrize(
    ("part", "model"),
    [
        (TMazePart, options.TMazeOptions),
        (BanditPart, options.BanditOptions),
        (DarkRoomPart, options.DarkRoomOptions),
        (DarkKeyToDoorPart, options.DarkKeyToDoorOptions),
        (MetaFrozenLakePart, options.MetaFrozenLakeOptions),
    ],
)
def test_a_part_makes_what_the_class_makes_by_default(part: Any, model: Any) -> None:
    made = part(EnvironmentContext(), model()).make()
    plain = type(made)()
    made.reset(seed=1)
    plain.reset(seed=1)
    hidden = {key: value for key, value in vars(made).items() if not key.startswith("_np_random")}
    assert hidden == {name: getattr(plain, name) for name in hidden}


def test_options_reach_the_environment() -> None:
    env = TMazePart(EnvironmentContext(), options.TMazeOptions(length=7, active=True)).make()
    assert (env.unwrapped.horizon, env.length, env.active) == (10, 7, True)


def test_success_on_the_last_step_only_in_the_t_maze() -> None:
    _, infos = rollout(TMaze(length=2), lambda obs: 0, seed=0)
    assert infos == [{}, {}, {"success": 0.0}]


def test_the_room_exports_its_public_names_without_torch_or_gymnasium() -> None:
    assert [getattr(room, name).__name__ for name in room.__all__] == room.__all__
    code = (
        "import sys, amago_standard.environments, amago_standard.environments.options;"
        "print([m for m in ('torch', 'gymnasium') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
