"""What can go wrong between the processes of a run."""

from __future__ import annotations

from amago_registry.errors import AmagoError


class LostProcessError(AmagoError):
    """A learner or collector process that died, and is not started again."""


class ClusterError(AmagoError):
    """A Ray cluster that cannot be joined, or on which collectors cannot work."""
