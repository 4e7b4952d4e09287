"""What can go wrong with exploration.

AmagoError
`-- ExplorationError    it lacks the horizon it needs, or a stored state does not fit
"""

from __future__ import annotations

from amago_registry.errors import AmagoError


class ExplorationError(AmagoError):
    """Exploration that cannot work as it was asked for."""
