"""From a function that makes one environment to environments side by side."""

from __future__ import annotations

from amago_core.environments.checked import MakeEnvironment, make_checked
from amago_core.environments.sync import SyncEnvironments
from amago_core.environments.vector import Environments


def make_environments(
    make: MakeEnvironment, name: str, count: int, vectorization: str = "sync"
) -> Environments:
    """Return ``count`` environments that are stepped together.

    Args:
        make: Makes one.
        name: What users call it.
        count: B.
        vectorization: Where they run; see ``collector.vectorization`` in the spec.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, or two are one.
    """
    del vectorization  # One way so far.
    return SyncEnvironments(make_checked(make, name, count))
