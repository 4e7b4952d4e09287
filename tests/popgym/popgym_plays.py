"""Test helpers: environments by id, and whole games."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from amago_popgym.hooks import amago_register_environments
from amago_popgym.task import PopgymPart, PopgymTask
from amago_registry import Component
from amago_registry.contexts import EnvironmentContext

(POPGYM,) = amago_register_environments()
COMPONENT: Component = POPGYM


def make(name: str, **options: Any) -> PopgymTask:
    part = PopgymPart(EnvironmentContext(), COMPONENT.options(id=name, **options))
    return part.make()


def play(env: PopgymTask, policy: Callable[[np.ndarray], Any], seed: int = 0) -> list[float]:
    """Return the rewards of a game; its end is a termination."""
    obs, _ = env.reset(seed=seed)
    rewards, over = [], False
    while not over:
        obs, reward, over, truncated, _ = env.step(policy(obs))
        assert not truncated
        rewards.append(reward)
    return rewards
