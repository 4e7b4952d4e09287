"""Environments: tasks of memory and of adaptation, and whatever gymnasium has registered."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amago_standard.environments.bandit import Bandit
    from amago_standard.environments.errors import EnvironmentMakeError, UnknownEnvironmentError
    from amago_standard.environments.frozen_lake import MetaFrozenLake
    from amago_standard.environments.registered import RegisteredEnvironment
    from amago_standard.environments.t_maze import TMaze

__all__ = [
    "Bandit",
    "EnvironmentMakeError",
    "MetaFrozenLake",
    "RegisteredEnvironment",
    "TMaze",
    "UnknownEnvironmentError",
]

_MODULES = {
    "Bandit": "bandit",
    "EnvironmentMakeError": "errors",
    "MetaFrozenLake": "frozen_lake",
    "RegisteredEnvironment": "registered",
    "TMaze": "t_maze",
    "UnknownEnvironmentError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
