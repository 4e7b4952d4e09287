"""Make vectorized environments from a function that makes one environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from gymnasium.vector import VectorEnv

from amago_core.environments.checked import MakeEnvironment, make_checked
from amago_core.environments.environment_errors import EnvironmentFault
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
    """Make ``count`` environments that are stepped together.

    Args:
        make: Makes one environment; under ``native`` a method of a part with ``make_vector``.
        name: Name of the environment, for errors.
        count: B.
        vectorization: Where environments run; see ``collector.vectorization`` in the spec.
        processes: See ``collector.processes`` in the spec.
        step_timeout: See ``collector.step_timeout`` in the spec.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, two calls return the same one, or the
            vectorization is not supported.
        EnvironmentCrashed: If a process ends before its environments are made.
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
    """Return the ``make_vector`` of the part that ``make`` is a method of."""
    found: MakeVector | None = getattr(getattr(make, "__self__", None), "make_vector", None)
    if found is None:
        raise EnvironmentFault(
            f"environment {name} has no vector form of its own, which collector.vectorization=native "
            "needs: write collector.vectorization=sync, or async for slow ones."
        )
    return found
