"""Minari datasets, made by Minari itself on this machine."""

from __future__ import annotations

from typing import Any

import gymnasium
import minari
import numpy as np
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer


class Nested(gymnasium.Env[Any, Any]):
    """Three steps with nested observations, which show the number of the step."""

    observation_space = spaces.Dict(
        eye=spaces.Dict(image=spaces.Box(0, 255, (2, 3), np.uint8)),
        limbs=spaces.Tuple([spaces.Box(-9, 9, (2,), np.float64), spaces.Discrete(4)]),
    )
    action_space = spaces.MultiDiscrete([3, 4], start=[1, 0])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self._observe(), float(self.time), False, self.time == 3, {}

    def _observe(self) -> Any:
        image = np.full((2, 3), self.time, np.uint8)
        return {"eye": {"image": image}, "limbs": (np.full(2, -self.time, np.float64), self.time)}


def record(env: gymnasium.Env[Any, Any], dataset_id: str, episodes: int, steps: int = 40) -> None:
    """Play at random and store what happens as a Minari dataset; episodes are cut after some steps."""
    env.action_space.seed(0)
    # Not Minari's collector, which needs jax.
    played = [play(env, seed, steps) for seed in range(episodes)]
    minari.create_dataset_from_buffers(
        dataset_id,
        played,
        env=env if env.spec is not None else None,
        observation_space=env.observation_space,
        action_space=env.action_space,
    )


def play(env: gymnasium.Env[Any, Any], seed: int, steps: int) -> EpisodeBuffer:
    """Return an episode as Minari wants it."""
    seen, moments = [env.reset(seed=seed)[0]], []
    for _ in range(steps):
        action = env.action_space.sample()
        obs, reward, terminated, truncated, _ = env.step(action)
        seen.append(obs)
        moments.append((action, float(reward), terminated, truncated))
        if terminated or truncated:
            break
    actions, rewards, terminated_T, truncated_T = map(list, zip(*moments, strict=True))
    truncated_T[-1] = not terminated_T[-1]
    return EpisodeBuffer(
        seed=seed,
        observations=together(seen),
        actions=actions,
        rewards=rewards,
        terminations=terminated_T,
        truncations=truncated_T,
    )


def together(observations: list[Any]) -> Any:
    """Return observations as one, nested as each of them, with lists in their place."""
    first = observations[0]
    if isinstance(first, dict):
        return {key: together([obs[key] for obs in observations]) for key in first}
    if isinstance(first, tuple):
        return tuple(together([obs[place] for obs in observations]) for place in range(len(first)))
    return observations
