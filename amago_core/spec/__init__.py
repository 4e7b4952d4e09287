"""Spec of a run: schema, YAML files, overrides, merging and validation.

Nothing here imports torch, so that a spec is checked fast, also on a machine without a GPU stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_core.spec.load import load_spec
    from amago_core.spec.schema import AgentSpec, RunSpec
    from amago_core.spec.yaml_files import dump_spec, spec_yaml

__all__ = ["AgentSpec", "RunSpec", "dump_spec", "load_spec", "spec_yaml"]


__getattr__ = lazy_exports(
    __name__,
    {
        "AgentSpec": "schema",
        "RunSpec": "schema",
        "dump_spec": "yaml_files",
        "load_spec": "load",
        "spec_yaml": "yaml_files",
    },
)


def __dir__() -> list[str]:
    return __all__
