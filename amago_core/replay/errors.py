"""What can go wrong with a replay, as one tree.

AmagoError
`-- ReplayError              base of all
    |-- TrajectoryError      what was handed over cannot be stored
    |-- DamagedShardError    a file is not what was written
    |-- TrajectoryGoneError  it was stored once, and is no longer there or no longer whole
    `-- NothingStoredError   there is nothing to sample
"""

from amago_registry.errors import AmagoError


class ReplayError(AmagoError):
    """Base of every error of the replay."""


class TrajectoryError(ReplayError):
    """A trajectory whose columns do not fit together, or do not fit the ones before."""


class DamagedShardError(ReplayError):
    """A file of the replay that is not what was written."""


class TrajectoryGoneError(ReplayError):
    """A trajectory that is no longer there or no longer whole; draw another one."""


class NothingStoredError(ReplayError):
    """A replay in which no trajectory can be sampled."""
