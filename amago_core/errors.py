"""What can go wrong in the engine, as one tree.

AmagoError          base of all, shared with plugins: catch this
|-- CatalogError    something about parts and plugins; see amago_registry.errors
`-- SpecError       a spec that cannot be used; lists every problem at once
"""

from __future__ import annotations

from amago_registry.errors import AmagoError, CatalogError


class SpecError(AmagoError):
    """A spec that cannot be used; its text lists every problem."""


__all__ = ["AmagoError", "CatalogError", "SpecError"]
