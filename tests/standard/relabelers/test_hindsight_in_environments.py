"""Hindsight relabeling equals what the environment records under the new goals, step by step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from amago_registry import EnvironmentContext, RelabelerContext
from amago_registry.goals import GOALS
from amago_registry.testing.arrays import frozen
from amago_standard.hooks import amago_register_environments
from amago_standard.relabelers import Hindsight
from amago_standard.relabelers.options import HindsightOptions

PARTS = {component.name: component for component in amago_register_environments()}
TASKS: dict[str, dict[str, Any]] = {
    "maze-runner": {"size": 9, "time_limit": 60, "shuffle_actions": True},
    "package-delivery": {"length": 20, "time_limit": 100},
}
COUNT = 1000
OPTIONS: list[dict[str, Any]] = [
    {},
    {"goals": "all"},
    {"goals": "all", "strategy": "future"},
    {"strategy": "final"},
    {"goals": "all", "candidates": "changed", "rarity": 4.0},
]


def played(
    env: Any, seed: int, actions: Iterable[int], options: dict[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Play until the trajectory ends or the actions do."""
    obs, info = env.reset(seed=seed, options=options)
    seen, achieved, steps = [obs], [info["achieved"]], []
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        seen.append(obs)
        achieved.append(info["achieved"])
        steps.append((action, reward, terminated, truncated))
        if terminated or truncated:
            break
    taken, rewards, terminations, truncations = zip(*steps, strict=True)
    return {
        "obs.obs": np.stack([obs["obs"] for obs in seen]),
        GOALS: np.stack([obs["goals"] for obs in seen]),
        "achieved": np.stack(achieved),
        "action": np.array(taken, np.uint8),
        "reward": np.array(rewards, np.float32),
        "terminated": np.array(terminations),
        "truncated": np.array(truncations),
    }


def read_only(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As they come from the replay."""
    for column in columns.values():
        column.flags.writeable = False
    return columns


@pytest.mark.parametrize("name", TASKS)
def test_a_relabelled_recording_is_that_of_its_actions_under_its_goals(name: str) -> None:
    component = PARTS[name]
    factory = component.load()(EnvironmentContext(), component.options(**TASKS[name]))
    context = RelabelerContext(with_goals=factory.with_goals, environment=name)
    relabelers = [Hindsight(context, HindsightOptions(**options)) for options in OPTIONS]
    env, rng, changed = factory.make(), np.random.default_rng(0), 0
    for seed in range(COUNT):
        actions = rng.integers(env.action_space.n, size=200).tolist()
        recording = read_only(played(env, seed, actions))
        stored = frozen(recording)
        columns = relabelers[seed % len(relabelers)](recording, np.random.default_rng(seed))
        assert frozen(recording) == stored
        if columns is recording:
            continue
        changed += 1
        again = played(env, seed, actions, {"goals": columns[GOALS][0]})
        assert frozen(columns) == frozen(again)
        assert columns["reward"].sum() > recording["reward"].sum()
    assert changed > COUNT // 2
