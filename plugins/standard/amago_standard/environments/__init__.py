"""Environments: memory, adaptation, mixtures of both, and whatever gymnasium has registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.environments.bandit import Bandit
    from amago_standard.environments.errors import EnvironmentMakeError, UnknownEnvironmentError
    from amago_standard.environments.frozen_lake import MetaFrozenLake
    from amago_standard.environments.mixture import MixedTask, Mixture
    from amago_standard.environments.registered import RegisteredEnvironment
    from amago_standard.environments.t_maze import TMaze

__all__ = [
    "Bandit",
    "EnvironmentMakeError",
    "MetaFrozenLake",
    "MixedTask",
    "Mixture",
    "RegisteredEnvironment",
    "TMaze",
    "UnknownEnvironmentError",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Bandit": "bandit",
        "EnvironmentMakeError": "errors",
        "MetaFrozenLake": "frozen_lake",
        "MixedTask": "mixture",
        "Mixture": "mixture",
        "RegisteredEnvironment": "registered",
        "TMaze": "t_maze",
        "UnknownEnvironmentError": "errors",
    },
)
