"""Build one part of a spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amago_core.errors import part_errors

if TYPE_CHECKING:
    from amago_registry.options import Part


def build_part(kind: str, part: Part[Any], context: Any) -> Any:
    """Build a part of a spec.

    Args:
        kind: Its kind, such as ``backbone``.
        part: Its name and options.
        context: The context of its kind, passed to it.

    Raises:
        AmagoError: If the part's code raises; the message names the part.
    """
    with part_errors(kind, part.use, "building it"):
        return part.build(context)
