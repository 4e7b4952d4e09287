"""From a function that makes one environment to environments side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from gymnasium.vector import VectorEnv

from amago_core.environments.checked import MakeEnvironment, make_checked
from amago_core.environments.errors import EnvironmentFault
from amago_core.environments.gymnasium_vector import GymnasiumVectorEnvironments, make_gymnasium_vector
from amago_core.environments.interface import VectorEnvironments
from amago_core.environments.subprocess_envs import SubprocessEnvironments
from amago_core.environments.sync import SyncEnvironments

Vectorization = Literal["sync", "async", "native"]

MakeVector = Callable[[int], VectorEnv[Any, Any, Any]]


def make_environments(
    make: MakeEnvironment,
    name: str,
    count: int,
    vectorization: Vectorization = "sync",
    *,
    processes: Literal["auto"] | int = "auto",
    step_timeout: float | None = None,
) -> VectorEnvironments:
    """Return ``count`` environments that are stepped together.

    Args:
        make: Makes one; under ``native`` the method of a part that also has ``make_vector``.
        name: What users call it.
        count: B.
        vectorization: Where they run; see ``collector.vectorization`` in the spec.
        processes: See ``collector.processes`` in the spec.
        step_timeout: See ``collector.step_timeout`` in the spec.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, two are one, or they cannot run as
            asked.
        EnvironmentLost: If the process of one ends before it is made.
    """
    match vectorization:
        case "sync":
            return SyncEnvironments(make_checked(make, name, count))
        case "async":
            return SubprocessEnvironments(
                make, name, count, processes=processes, step_timeout=step_timeout
            )
        case "native":
            return GymnasiumVectorEnvironments(
                make_gymnasium_vector(_vector_form(make, name), make, name, count), name
            )


def _vector_form(make: MakeEnvironment, name: str) -> MakeVector:
    """Return ``make_vector`` of the part whose ``make`` this is."""
    found: MakeVector | None = getattr(getattr(make, "__self__", None), "make_vector", None)
    if found is None:
        raise EnvironmentFault(
            f"environment {name} has no vector form of its own, which collector.vectorization=native "
            "needs: write collector.vectorization=sync, or async for slow ones."
        )
    return found
