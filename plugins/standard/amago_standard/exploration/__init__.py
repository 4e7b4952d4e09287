"""Exploration: noise added to the policy's actions while collecting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_standard.exploration.bilevel import Bilevel
    from amago_standard.exploration.corridor import Corridor
    from amago_standard.exploration.epsilon_greedy import EpsilonGreedy
    from amago_standard.exploration.errors import ExplorationError
    from amago_standard.exploration.none import NoExploration

__all__ = ["Bilevel", "Corridor", "EpsilonGreedy", "ExplorationError", "NoExploration"]

__getattr__ = lazy_exports(
    __name__,
    {
        "Bilevel": "bilevel",
        "Corridor": "corridor",
        "EpsilonGreedy": "epsilon_greedy",
        "ExplorationError": "errors",
        "NoExploration": "none",
    },
)
