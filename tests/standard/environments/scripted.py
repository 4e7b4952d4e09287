"""Scripted policies that solve each task, some with access to its hidden state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from amago_standard.environments import Bandit, DarkKeyToDoor, DarkRoom, MetaFrozenLake, TMaze
from amago_standard.environments.grids import MOVES

Policy: TypeAlias = Callable[[np.ndarray], int]
FORWARD, UP, BACK, DOWN = range(4)


def rollout(env: Any, policy: Policy, seed: int) -> tuple[list[float], list[dict[str, Any]]]:
    """Return rewards and infos of one trajectory."""
    obs, _ = env.reset(seed=seed)
    rewards, infos, over = [], [], False
    while not over:
        obs, reward, terminated, truncated, info = env.step(policy(obs))
        rewards.append(reward)
        infos.append(info)
        over = terminated or truncated
    return rewards, infos


def t_maze(env: TMaze) -> Policy:
    """Sees what an agent sees: remembers the one cue, and turns at the junction."""
    cues: list[float] = []

    def act(obs: np.ndarray) -> int:
        at_the_end, signal = obs
        if at_the_end:
            return UP if cues[0] > 0 else DOWN
        if signal:
            cues.append(signal)
        return FORWARD if cues else BACK

    return act


def bandit(env: Bandit) -> Policy:
    """Knows the best arm."""
    return lambda obs: int(np.argmax(env._mean_K))


def dark_room(env: DarkRoom) -> Policy:
    """Knows the goal: goes there, then stays."""
    return lambda obs: _towards(env._position, env._goal)


def dark_key_to_door(env: DarkKeyToDoor) -> Policy:
    """Knows key, door and what the actions do: fetches the key, then goes to the door."""

    def act(obs: np.ndarray) -> int:
        wanted = MOVES[_towards(env._position, env._door if env._has_key else env._key)]
        return env._moves.index(wanted)

    return act


def _towards(here: tuple[int, int], there: tuple[int, int]) -> int:
    """The action of a shortest way where nothing is in it; sideways first."""
    away = there[0] - here[0], there[1] - here[1]
    move = (int(np.sign(away[0])), 0) if away[0] else (0, int(np.sign(away[1])))
    return MOVES.index(move)


def frozen_lake(env: MetaFrozenLake) -> Policy:
    """Knows the map and the meaning of the actions: the shortest way by breadth-first search."""
    return lambda obs: _first_step(env)


def _first_step(env: MetaFrozenLake) -> int:
    goal = (env.size - 1, env.size - 1)
    frontier = deque([(env._position, -1)])
    seen = {env._position} | env._holes | env._cracks
    while frontier:
        (x, y), first = frontier.popleft()
        if (x, y) == goal:
            return first
        for action, (move_x, move_y) in enumerate(env._moves):
            cell = (x + move_x, y + move_y)
            if cell not in seen and min(cell) >= 0 and max(cell) < env.size:
                seen.add(cell)
                frontier.append((cell, action if first < 0 else first))
    raise AssertionError("the lake has no way across")
