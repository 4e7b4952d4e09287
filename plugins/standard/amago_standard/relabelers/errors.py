"""Errors of relabelling.

AmagoError
`-- RelabelerError    the environment, or its recorded columns, lack what a relabeler needs
"""

from __future__ import annotations

from amago_registry.errors import AmagoError


class RelabelerError(AmagoError):
    """Relabelling that cannot work as it was asked for."""
