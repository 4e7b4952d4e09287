"""What can go wrong with relabelling.

AmagoError
`-- RelabelerError    the environment, or what was recorded there, lacks what a relabeler needs
"""

from __future__ import annotations

from amago_registry.errors import AmagoError


class RelabelerError(AmagoError):
    """Relabelling that cannot work as it was asked for."""
