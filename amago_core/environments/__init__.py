"""Vectorized environments: many environments that are stepped together behind one interface.

* :mod:`.interface`: the protocol :class:`VectorEnvironments`, which the collector steps.
* :mod:`.sync`: steps environments one after the other in this process.
* :mod:`.subprocess_envs`: steps environments in parallel, in subprocesses that run
  :mod:`.subprocess_main`.
* :mod:`.gymnasium_vector`: steps a gymnasium ``VectorEnv``, such as one on a GPU.
* :mod:`.make`: makes one of these from a function that makes one environment.
* :mod:`.checked`: a wrapper that checks what one environment returns against its spaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.environments.checked import CheckedEnv, MakeEnvironment, make_checked, step_budget
    from amago_core.environments.environment_errors import (
        EnvironmentCrashed,
        EnvironmentFault,
        check_finite,
    )
    from amago_core.environments.gymnasium_vector import GymnasiumVectorEnvironments
    from amago_core.environments.interface import VectorEnvironments
    from amago_core.environments.make import make_environments
    from amago_core.environments.subprocess_envs import SubprocessEnvironments
    from amago_core.environments.sync import SyncEnvironments

__all__ = [
    "CheckedEnv",
    "EnvironmentCrashed",
    "EnvironmentFault",
    "GymnasiumVectorEnvironments",
    "MakeEnvironment",
    "SubprocessEnvironments",
    "SyncEnvironments",
    "VectorEnvironments",
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
        "EnvironmentCrashed": "environment_errors",
        "EnvironmentFault": "environment_errors",
        "check_finite": "environment_errors",
        "make_environments": "make",
        "GymnasiumVectorEnvironments": "gymnasium_vector",
        "SubprocessEnvironments": "subprocess_envs",
        "SyncEnvironments": "sync",
        "VectorEnvironments": "interface",
    },
)


def __dir__() -> list[str]:
    return __all__
