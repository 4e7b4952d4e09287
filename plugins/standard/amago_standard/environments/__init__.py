"""Environments: memory tasks, meta-RL tasks, mixtures, and any environment registered in gymnasium."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.environments.bandit import Bandit
    from amago_standard.environments.dark_key_to_door import DarkKeyToDoor
    from amago_standard.environments.dark_room import DarkRoom
    from amago_standard.environments.errors import (
        EnvironmentMakeError,
        GoalsError,
        UnknownEnvironmentError,
    )
    from amago_standard.environments.frozen_lake import MetaFrozenLake
    from amago_standard.environments.half_cheetah_velocity import HalfCheetahVelocity
    from amago_standard.environments.maze_runner import MazeRunner
    from amago_standard.environments.mixture import MixedTask, Mixture
    from amago_standard.environments.package_delivery import PackageDelivery
    from amago_standard.environments.registered import RegisteredEnvironment
    from amago_standard.environments.t_maze import TMaze

__all__ = [
    "Bandit",
    "DarkKeyToDoor",
    "DarkRoom",
    "EnvironmentMakeError",
    "GoalsError",
    "HalfCheetahVelocity",
    "MazeRunner",
    "MetaFrozenLake",
    "MixedTask",
    "Mixture",
    "PackageDelivery",
    "RegisteredEnvironment",
    "TMaze",
    "UnknownEnvironmentError",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Bandit": "bandit",
        "DarkKeyToDoor": "dark_key_to_door",
        "DarkRoom": "dark_room",
        "EnvironmentMakeError": "errors",
        "GoalsError": "errors",
        "HalfCheetahVelocity": "half_cheetah_velocity",
        "MazeRunner": "maze_runner",
        "MetaFrozenLake": "frozen_lake",
        "MixedTask": "mixture",
        "Mixture": "mixture",
        "PackageDelivery": "package_delivery",
        "RegisteredEnvironment": "registered",
        "TMaze": "t_maze",
        "UnknownEnvironmentError": "errors",
    },
)
