"""Options of the backbones."""

from __future__ import annotations

from amago_registry import Field, Options


class TracesOptions(Options):
    """Options of ``use: traces``."""

    width: int = Field(64, ge=1, description="Features of each trace.")
    traces: int = Field(
        4, ge=1, description="Time constants 1, 4, 16, ... steps; more remember longer."
    )
