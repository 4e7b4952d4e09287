"""Environments: checked, and side by side in this process or in others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.environments.checked import CheckedEnv, MakeEnvironment, make_checked, step_budget
    from amago_core.environments.faults import EnvironmentFault, check_finite
    from amago_core.environments.making import make_environments
    from amago_core.environments.sync import SyncEnvironments
    from amago_core.environments.vector import Environments

__all__ = [
    "CheckedEnv",
    "EnvironmentFault",
    "Environments",
    "MakeEnvironment",
    "SyncEnvironments",
    "check_finite",
    "make_checked",
    "make_environments",
    "step_budget",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "CheckedEnv": "checked",
        "MakeEnvironment": "checked",
        "make_checked": "checked",
        "step_budget": "checked",
        "EnvironmentFault": "faults",
        "check_finite": "faults",
        "make_environments": "making",
        "SyncEnvironments": "sync",
        "Environments": "vector",
    },
)


def __dir__() -> list[str]:
    return __all__
