"""Errors of making an environment and of asking it for goals.

AmagoError
|-- EnvironmentMakeError            it could not be made
|   `-- UnknownEnvironmentError     no installed package registers that id
`-- GoalsError                      goals that no task of this environment has
"""

from __future__ import annotations

from amago_registry.errors import AmagoError


class EnvironmentMakeError(AmagoError):
    """An environment that could not be made; the cause is chained."""


class UnknownEnvironmentError(EnvironmentMakeError):
    """A gymnasium id that no installed package registers."""


class GoalsError(AmagoError):
    """Goals that no task of this environment has."""
