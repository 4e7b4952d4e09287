"""Components of this plugin."""

from __future__ import annotations

from collections.abc import Iterable

from amago_memory_zoo.options import TracesOptions
from amago_registry import Component, hookimpl


@hookimpl
def amago_register_backbones() -> Iterable[Component]:
    """Backbones."""
    return [
        Component(
            "traces",
            "amago_memory_zoo.traces:Traces",
            TracesOptions,
            "leaky averages of the past at several time scales",
        )
    ]
