"""The spec of a run: its schema, and the way from a file and overrides to a validated object.

Nothing here imports torch: a spec is checked on a machine that could never run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.spec.dumping import dump_spec, spec_yaml
    from amago_core.spec.loading import load_spec
    from amago_core.spec.schema import AgentSpec, RunSpec

__all__ = ["AgentSpec", "RunSpec", "dump_spec", "load_spec", "spec_yaml"]


__getattr__ = lazy_exports(
    __name__,
    {
        "AgentSpec": "schema",
        "RunSpec": "schema",
        "dump_spec": "dumping",
        "load_spec": "loading",
        "spec_yaml": "dumping",
    },
)


def __dir__() -> list[str]:
    return __all__
