"""Errors of the replay buffer, as one tree.

AmagoError
`-- ReplayError              base of all
    |-- TrajectoryError      a trajectory cannot be stored
    |-- DamagedShardError    a shard is corrupt
    |-- TrajectoryGoneError  a trajectory was evicted, or its shard is damaged
    `-- NothingStoredError   there is no trajectory to sample
"""

from amago_registry.errors import AmagoError


class ReplayError(AmagoError):
    """Base of every error of the replay."""


class TrajectoryError(ReplayError):
    """A trajectory cannot be stored: its columns do not fit together, or do not fit the ones before."""


class DamagedShardError(ReplayError):
    """A shard is corrupt: its file is not what was written."""


class TrajectoryGoneError(ReplayError):
    """A trajectory was evicted or is damaged; draw another one."""


class NothingStoredError(ReplayError):
    """The replay has no trajectory to sample."""
