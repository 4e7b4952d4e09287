"""A part, built from its spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amago_core.errors import part_errors

if TYPE_CHECKING:
    from amago_registry.options import Part


def build_part(kind: str, part: Part[Any], context: Any) -> Any:
    """Build a part of a spec.

    Raises:
        AmagoError: If its code raises anything; the message names the part.
    """
    with part_errors(kind, part.use, "building it"):
        return part.build(context)
