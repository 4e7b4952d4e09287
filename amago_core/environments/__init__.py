"""Environments: checked, and side by side in this process, in others, or in a form of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.environments.checked import CheckedEnv, MakeEnvironment, make_checked, step_budget
    from amago_core.environments.faults import EnvironmentFault, EnvironmentLost, check_finite
    from amago_core.environments.making import make_environments
    from amago_core.environments.native import NativeEnvironments
    from amago_core.environments.processes import ProcessEnvironments
    from amago_core.environments.sync import SyncEnvironments
    from amago_core.environments.vector import Environments

__all__ = [
    "CheckedEnv",
    "EnvironmentFault",
    "EnvironmentLost",
    "Environments",
    "MakeEnvironment",
    "NativeEnvironments",
    "ProcessEnvironments",
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
        "EnvironmentLost": "faults",
        "check_finite": "faults",
        "make_environments": "making",
        "NativeEnvironments": "native",
        "ProcessEnvironments": "processes",
        "SyncEnvironments": "sync",
        "Environments": "vector",
    },
)


def __dir__() -> list[str]:
    return __all__
