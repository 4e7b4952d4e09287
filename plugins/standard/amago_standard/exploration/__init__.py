"""Exploration: what happens to the policy's actions while collecting."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amago_standard.exploration.bilevel import Bilevel
    from amago_standard.exploration.corridor import Corridor
    from amago_standard.exploration.epsilon_greedy import EpsilonGreedy
    from amago_standard.exploration.errors import ExplorationError
    from amago_standard.exploration.none import NoExploration

__all__ = ["Bilevel", "Corridor", "EpsilonGreedy", "ExplorationError", "NoExploration"]

_MODULES = {
    "Bilevel": "bilevel",
    "Corridor": "corridor",
    "EpsilonGreedy": "epsilon_greedy",
    "ExplorationError": "errors",
    "NoExploration": "none",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
