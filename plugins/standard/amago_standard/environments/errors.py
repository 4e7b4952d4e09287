"""What can go wrong when an environment is made.

AmagoError
`-- EnvironmentMakeError            it could not be made
    `-- UnknownEnvironmentError     no installed package registers that id
"""

from __future__ import annotations

from amago_registry.errors import AmagoError


class EnvironmentMakeError(AmagoError):
    """An environment that could not be made; the cause is chained."""


class UnknownEnvironmentError(EnvironmentMakeError):
    """A gymnasium id that no installed package registers."""
