"""Errors of exploration.

AmagoError
`-- ExplorationError    the horizon is missing, or a stored state does not fit
"""

from __future__ import annotations

from amago_registry.errors import AmagoError


class ExplorationError(AmagoError):
    """Exploration that cannot work as it was asked for."""
